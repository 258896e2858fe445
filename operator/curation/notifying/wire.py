"""What the operator and the process that sends say to each other, as frames."""

from dataclasses import dataclass
from typing import ClassVar, Final

from curation.egress.reach import Reach
from curation.isolation.frames import Frame, Wire
from curation.notifying.notice import MAX_KEY_BYTES

MAX_BODY_BYTES: Final = 64 << 10
MAX_ERROR: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver(Frame):
    """Where to send, and with which key, the payload. The last one counts."""

    NAME: ClassVar[str] = "receiver"
    MAX_HEADER: ClassVar[int] = 65_536
    MAX_PAYLOAD: ClassVar[int] = MAX_KEY_BYTES

    url: str
    reach: Reach


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver(Frame):
    """Send this CloudEvent, the payload."""

    NAME: ClassVar[str] = "deliver"
    MAX_PAYLOAD: ClassVar[int] = MAX_BODY_BYTES

    number: int
    id: str
    namespace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled(Frame):
    """That CloudEvent was accepted, or was given up."""

    NAME: ClassVar[str] = "settled"

    number: int
    result: str
    """``delivered``, ``refused`` (the receiver will never take it) or ``given_up`` (after all tries)."""
    error: str = ""


TO_SENDER: Final = Wire(Receiver, Deliver)
FROM_SENDER: Final = Wire(Settled)
