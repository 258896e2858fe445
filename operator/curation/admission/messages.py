"""What the listener and the operator say to each other, as frames."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from curation.isolation import tls_server
from curation.isolation.frames import Frame, Wire
from curation.isolation.tls_server import Shown


class Fact(StrEnum):
    """What the listener asks the operator about."""

    MODULE = "module"
    """Does this CurationModule exist?"""
    SECRET = "secret"  # noqa: S105 - the name of a kind
    """May the operator read this Secret?"""


class Known(StrEnum):
    """What the operator answers."""

    YES = "yes"
    ABSENT = "absent"
    FORBIDDEN = "forbidden"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve(tls_server.Serve):
    """See `tls_server`."""

    MAX_DESCRIPTORS: ClassVar[int] = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate(tls_server.Certificate):
    """See `tls_server`."""

    MAX_PAYLOAD: ClassVar[int] = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Frame):
    """What the operator knows."""

    NAME: ClassVar[str] = "answer"

    number: int
    known: Known


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask(Frame):
    """What does the operator know about an object?"""

    NAME: ClassVar[str] = "ask"

    number: int
    fact: Fact
    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed(Frame):
    """An object was reviewed; for the metrics."""

    NAME: ClassVar[str] = "reviewed"

    kind: str
    verdict: str


TO_LISTENER: Final = Wire(Serve, Certificate, Answer)
FROM_LISTENER: Final = Wire(Shown, Ask, Reviewed)
