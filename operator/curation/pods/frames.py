"""What a carrier says to the door and to its worker, and what they say to it.

A pod may be in a stranger's hands: all that comes from it is bounded, typed, and read as a stranger's. Once the door
has let it in, its peer is the worker, and the door hands bytes on and reads none of them.
"""

from dataclasses import dataclass
from typing import Final

from curation.guests.frames import MAX_ANSWER_BYTES, Ended, Run, Stop
from curation.isolation import tls_server
from curation.isolation.frames import Frame, Wire
from curation.isolation.tls_server import Shown
from curation.pods.variables import MAX_TOKEN_BYTES
from curation.wasm.limits import MAX_REQUEST_BYTES

ONLY_RUN: Final = 1
"""A pod has one run, which has this number."""
PART_BYTES: Final = 256 << 10
MAX_MODULE_BYTES: Final = 256 << 20
"""Of a compiled module."""
MAX_WHY: Final = 512
"""Characters of why somebody is turned away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knock(Frame):
    """The first frame of a carrier: for which execution it comes. The payload is its token."""

    NAME = "knock"
    MAX_PAYLOAD = MAX_TOKEN_BYTES
    execution: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Frame):
    """The door's answer: not in. If it is final, it is no use to come again."""

    NAME = "refused"
    why: str
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome(Frame):
    """The door's other answer: from now on its worker listens."""

    NAME = "welcome"


@dataclass(frozen=True, slots=True, kw_only=True)
class Here(Frame):
    """The carrier's first frame to its worker: what it holds."""

    NAME = "here"
    started: bool
    """Whether the guest was started."""
    last_call: int = 0
    """The number of the guest's last call; 0: it has made none."""
    connection: int = 1
    """How often the carrier was let in, this time included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Frame):
    """The guest calls, and waits; the payload is the document of its request. Its numbers rise.

    A call is `repeated` if it was said on a connection that has ended since, and no answer has come.
    """

    NAME = "call"
    MAX_PAYLOAD = MAX_REQUEST_BYTES
    number: int
    repeated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HostEnded(Frame):
    """The guest host has ended: nobody will say what became of the guest."""

    NAME = "hostEnded"
    MAX_HEADER = 16 << 10
    how: str
    over_limit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModulePart(Frame):
    """The next bytes of the compiled module: the first of them begin it anew, the last ones complete it."""

    NAME = "modulePart"
    MAX_PAYLOAD = PART_BYTES
    digest: str
    offset: int
    size: int
    """Of the whole module, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Frame):
    """The answer to the call with this number: a response or an error."""

    NAME = "answer"
    MAX_PAYLOAD = MAX_ANSWER_BYTES
    number: int
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving(Frame):
    """The worker is about to end: no further call is to be said on this connection, which the carrier closes once it
    has the answer to the last one."""

    NAME = "leaving"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged(Frame):
    """What was said of the end is settled: the carrier has nothing more to do."""

    NAME = "acknowledged"


KNOCKS: Final = Wire(Knock)
ANSWERS_OF_DOOR: Final = Wire(Refused, Welcome)
FROM_POD: Final = Wire(Here, Call, Ended, HostEnded)
TO_POD: Final = Wire(ModulePart, Run, Answer, Stop, Leaving, Acknowledged)
TO_CARRIER: Final = Wire(*ANSWERS_OF_DOOR.kinds, *TO_POD.kinds)
FROM_CARRIER: Final = Wire(*KNOCKS.kinds, *FROM_POD.kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve(tls_server.Serve):
    """See `tls_server`."""

    MAX_DESCRIPTORS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate(tls_server.Certificate):
    """See `tls_server`."""

    MAX_PAYLOAD = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Admit(Frame):
    """Whoever knocked by this connection may in: the descriptor is where its worker listens."""

    NAME = "admit"
    MAX_DESCRIPTORS = 1
    connection: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse(Frame):
    """Whoever knocked by this connection may not in."""

    NAME = "refuse"
    connection: int
    why: str
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Knocked(Frame):
    """Somebody knocks, and waits for the answer; the payload is the token."""

    NAME = "knocked"
    MAX_PAYLOAD = MAX_TOKEN_BYTES
    connection: int
    execution: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnockerGone(Frame):
    """Who knocked by this connection has gone, or has waited too long."""

    NAME = "knockerGone"
    connection: int


TO_DOOR: Final = Wire(Serve, Certificate, Admit, Refuse)
FROM_DOOR: Final = Wire(Shown, Knocked, KnockerGone)
