"""How an execution of a module ended: what the execution layer reports to the lifecycle."""

from dataclasses import dataclass
from enum import StrEnum

from curation.api.approval import EvaluatedRequest
from curation.api.names import FailureClass, Trigger
from curation.api.schema import JsonObject

__all__ = [
    "Calls",
    "Cancelled",
    "Completed",
    "Denied",
    "Failed",
    "FailureClass",
    "Liveness",
    "Report",
    "Result",
    "RunKey",
    "SessionFailed",
    "SessionRef",
    "SessionSpawned",
    "StillRunning",
    "Trigger",
]


@dataclass(frozen=True, slots=True)
class RunKey:
    """What a run is annotated with, and what the fence compares."""

    uid: str
    id: str
    generation: int
    attempt: int
    template_digest: str


class Liveness(StrEnum):
    """Whether a run goes on, as far as is known at once."""

    ALIVE = "Alive"
    """Its report is still to come, or to be settled."""
    GONE = "Gone"
    """Nobody executes it, and nobody will say what it came to."""
    UNKNOWN = "Unknown"
    """Neither is known: it is not abandoned, and no other is started in its place; timeouts go on."""


@dataclass(frozen=True, slots=True)
class SessionRef:
    """A session at the session service."""

    id: str
    url: str | None = None


@dataclass(frozen=True, slots=True)
class SessionSpawned:
    """Submit started a session."""

    session: SessionRef


@dataclass(frozen=True, slots=True)
class Completed:
    """Submit needed no session, or the observed session has completed."""

    output: JsonObject
    left_out: str = ""
    """Why the session's output is not here: a sentence; empty if it is."""


@dataclass(frozen=True, slots=True)
class StillRunning:
    """The observed session goes on."""

    progress: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class SessionFailed:
    """The observed session has failed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Whatever was to be cancelled is cancelled, has ended, or is unknown to the service."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The execution failed for a reason other than a denial."""

    failure_class: FailureClass
    message: str
    absent: bool = False
    """What it needed does not exist or may not be read: unlike a failed read, no mere retry mends that."""
    over_limit: bool = False
    """Of an interrupted one: a limit has ended the process that executed it."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The execution failed on a denied call; `request` is the last one denied."""

    request: EvaluatedRequest
    message: str


Result = SessionSpawned | Completed | StillRunning | SessionFailed | Cancelled | Failed | Denied


@dataclass(frozen=True, slots=True)
class Calls:
    """The outbound requests of one execution."""

    left: int = 0
    """Requests that left this process."""
    answered: int = 0
    """Requests whose answer was seen."""
    allowed: int = 0
    """Requests that the gate allowed."""
    last_denied: EvaluatedRequest | None = None
    """The last request that the gate denied."""


@dataclass(frozen=True, slots=True)
class Report:
    """The one completion of one execution."""

    trigger: Trigger
    run: RunKey
    result: Result
    calls: Calls = Calls()
    log: str = ""
    dead: bool = False
    """The fence of this execution died while it ran: no error or denial of it may be applied, ever."""
