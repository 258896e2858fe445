"""What `decide` is given and what it answers: the facts beyond the object, and the step that is next."""

from dataclasses import dataclass, field
from datetime import datetime

from curation.api.approval import ApprovalDecision
from curation.api.job import JobStatus, Run
from curation.api.names import Reason
from curation.api.references import Frozen
from curation.lifecycle.event import Event
from curation.lifecycle.outcome import Liveness


@dataclass(frozen=True, slots=True)
class Problem:
    """What keeps a job where it is, and is not the job's own doing."""

    reason: Reason
    message: str
    warn: bool = False
    """An Event says it too."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the reconciler knows beyond the object, at the time of the decision."""

    now: datetime
    """The API server's time."""
    holder: str
    """This process: <identity>/<random>."""
    module_digest: str | None = None
    """Digest of the job's module if it is Ready."""
    module_message: str = ""
    """Why the module is not Ready."""
    module_unusable: bool = False
    """Only another spec of the module can help, nothing that may come by itself or be applied beside it."""
    executor_problem: str = ""
    """Why the executor that the spec names is not to be had, and what helps; empty if it is."""
    module_config: dict[str, str] = field(default_factory=dict)
    """The module's own configuration; the job's keys win."""
    frozen: Frozen | None = None
    """What inputFrom and configFrom of the job name, read for this decision; None if it was not read, or cannot be."""
    frozen_problem: str = ""
    """Why it cannot be read; empty if it was not tried."""
    slot: bool = True
    """A run can be launched now."""
    slot_message: str = ""
    """Why not, if it is not the number of runs."""
    liveness: Liveness = Liveness.UNKNOWN
    """Of the current run: whether anybody executes it, as far as is known (rule 3)."""
    waits: str = ""
    """Why the current run, whose guest is in a pod, has not begun, if it says so."""
    request_allowed: bool = False
    """The gate now allows the request that the job waits for, in the context of its next attempt."""
    approval: ApprovalDecision | None = None
    """The decision of the approval that the job waits for."""
    approval_problem: Problem | None = None
    """Why there is no approval that could free the job."""
    finalizer_refused: str = ""
    """What the API server said when it refused the finalizer, without which nothing is claimed."""
    cleaned: frozenset[str] = frozenset()
    """Abandoned runs that are cleaned, or were given up."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to do about a job now. At most one of a status write, a finalizer change and a deletion."""

    status: JobStatus
    """The status to write, if it differs from the job's."""
    launch: Run | None = None
    """The run to launch once the write has succeeded, and only then."""
    freeze: bool = False
    """Nothing but what inputFrom and configFrom name is wanting for a claim: read it, and decide again."""
    add_finalizer: bool = False
    remove_finalizer: bool = False
    delete: bool = False
    wake_at: datetime | None = None
    """When to decide again if nothing happens."""
    events: tuple[Event, ...] = ()
