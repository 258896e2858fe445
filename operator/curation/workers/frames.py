"""What the operator and a worker say to each other."""

from dataclasses import dataclass, field
from typing import Final

from curation.egress.reach import Reach
from curation.isolation.frames import Frame, Wire

MAX_ID: Final = 1024
MAX_POLICY_BYTES: Final = 256 << 10
MAX_REQUEST_BYTES: Final = 3 << 20
"""An execution that is asked for: an object of Kubernetes has 1.5 MiB at most, its ConfigMap as well."""
MAX_WORD_BYTES: Final = 1 << 20
"""What is said of an execution: a module's result is cut to 32 KiB, a request that was denied has less."""
MAX_AUTHORITIES_BYTES: Final = 4 << 20
MAX_LOG_BYTES: Final = 16 << 10
MAX_URL: Final = 2048
"""Characters of a call's URL."""
MAX_POLICIES: Final = 16
"""That have decided about a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello(Frame):
    """The first frame: whose worker it is, and what it may reach.

    The descriptors are the fence page and the channel to its guest host; the payload is the authorities that it trusts
    beside the system's.
    """

    NAME = "hello"
    MAX_HEADER = 1 << 20
    MAX_PAYLOAD = MAX_AUTHORITIES_BYTES
    MAX_DESCRIPTORS = 2
    namespace: str
    reach: Reach
    max_concurrent: int
    log_level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(Frame):
    """A policy object that is in force; the payload is its text, which is valid."""

    NAME = "policy"
    MAX_HEADER = 16 << 10
    MAX_PAYLOAD = MAX_POLICY_BYTES
    cluster: bool
    name: str
    count: int
    cancel_only: bool
    forbids_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyGone(Frame):
    """A policy object that is in force no more."""

    NAME = "policyGone"
    cluster: bool
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw(Frame):
    """A policy object that does not count as it is written: the payload says why; empty: it does."""

    NAME = "flaw"
    MAX_PAYLOAD = 64 << 10
    cluster: bool
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PutGrant(Frame):
    """A grant that is in force; the payload is JSON."""

    NAME = "grant"
    MAX_PAYLOAD = 256 << 10
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantGone(Frame):
    """A grant that is in force no more."""

    NAME = "grantGone"
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision(Frame):
    """All of this revision was said; said again as a question whether the worker still hears."""

    NAME = "revision"
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PutArtifact(Frame):
    """A compiled module; the descriptor is a file that nobody can change."""

    NAME = "artifact"
    MAX_DESCRIPTORS = 1
    digest: str
    size_bytes: int
    start_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactGone(Frame):
    """A compiled module that is not needed any more."""

    NAME = "artifactGone"
    digest: str


@dataclass(frozen=True, slots=True)
class CredentialPlace:
    """Where a credential goes."""

    scheme: str
    host: str
    port: int
    header: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PutCredential(Frame):
    """A credential of the execution that is started next; the payload is its value."""

    NAME = "credential"
    MAX_HEADER = 16 << 10
    MAX_PAYLOAD = 64 << 10
    execution: str
    place: CredentialPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Frame):
    """An execution; the payload is what is asked for, as `execution.wire` writes it."""

    NAME = "start"
    MAX_PAYLOAD = MAX_REQUEST_BYTES
    slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Frame):
    """No further request of it leaves: see `seam.Executor.stop`."""

    NAME = "stop"
    MAX_HEADER = 16 << 10
    execution: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined(Frame):
    """The pod of an execution is at the other end of this descriptor: see `pods.guests`."""

    NAME = "joined"
    MAX_DESCRIPTORS = 1
    execution: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lose(Frame):
    """The pod of an execution is gone, and will not come again."""

    NAME = "lose"
    MAX_HEADER = 16 << 10
    execution: str
    cause: str
    over_limit: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled(Frame):
    """It is forgotten."""

    NAME = "settled"
    execution: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain(Frame):
    """The operator stops: see `seam.Executor.drain`."""

    NAME = "drain"
    grace: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewTrust(Frame):
    """The authorities that it trusts beside the system's have changed, or the system's have."""

    NAME = "renewTrust"
    MAX_PAYLOAD = MAX_AUTHORITIES_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied(Frame):
    """All up to this revision counts here."""

    NAME = "applied"
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Said(Frame):
    """What is said of an execution, as `execution.wire` writes it.

    That a call leaves is in the channel whole before its first byte leaves: after any crash it can still be read.
    """

    NAME = "said"
    MAX_PAYLOAD = MAX_WORD_BYTES
    execution: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Called(Frame):
    """A call ended: see `seam.ExecutionObserver.on_call`, with what the egress decision log has of it."""

    NAME = "called"
    MAX_HEADER = 32 << 10
    execution: str
    decision: str
    code: str
    seconds: float
    decided: tuple[float, ...] = ()
    """Seconds that each decision of the gate took."""
    number: int = 0
    method: str = ""
    url: str = ""
    """Canonical, without its query."""
    policies: tuple[str, ...] = field(default=())
    """What decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parted(Frame):
    """It was told to drain, and no pod is joined with it any more."""

    NAME = "parted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged(Frame):
    """A line of the worker's log; the payload is JSON."""

    NAME = "log"
    MAX_PAYLOAD = MAX_LOG_BYTES
    level: int
    logger: str


TO_WORKER: Final = Wire(
    Hello,
    Policy,
    PolicyGone,
    Flaw,
    PutGrant,
    GrantGone,
    Revision,
    PutArtifact,
    ArtifactGone,
    PutCredential,
    Start,
    Stop,
    Joined,
    Lose,
    Settled,
    Drain,
    RenewTrust,
)
FROM_WORKER: Final = Wire(Applied, Said, Called, Parted, Logged)
