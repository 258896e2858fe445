"""The seam between the reconciler and whatever executes modules: what is asked for, what can be done, what is heard.

Nobody awaits an execution. It is started under an id of its own and says what becomes of it to a sink, until what it
said is settled. So what executes modules may be this process, another one, or one that outlives this; what it says may
come late, twice, or in another order, and does no harm. Everything here can be sent as bytes (see `wire`).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from curation.api.approval import EvaluatedRequest
from curation.api.module import Credential
from curation.api.schema import JsonObject
from curation.authz.decision import CallContext, Decision
from curation.egress.client import OutboundRequest, OutboundResponse
from curation.execution.origin_credentials import OriginCredential
from curation.lifecycle.log_fields import run_fields
from curation.lifecycle.outcome import Calls, Liveness, Report, RunKey, SessionRef, Trigger
from curation.wasm.limits import Limits


def execution_id(run_id: str, trigger: Trigger, number: int) -> str:
    """The id of one execution: a run is submitted once, observed and cancelled many times."""
    return f"{run_id}/{trigger}/{number}"


@dataclass(frozen=True, slots=True)
class ModuleBuild:
    """Which build of which module, and what an execution of it may use."""

    name: str
    digest: str
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class ExecutionRequest:
    """One execution that is asked for: of which run, why, and with what.

    It holds references (a digest, the name of a Secret) and budgets in seconds, never a value that is secret,
    a function or an instant. Waiting counts against none of its budgets.
    """

    trigger: Trigger
    run: RunKey
    namespace: str
    job: str
    """Name of the job; its uid is the run's."""
    module: ModuleBuild
    number: int = 1
    """Of the executions of this run with this trigger; of Submit it is 1."""
    labels: Mapping[str, str] = field(default_factory=dict)
    input: JsonObject = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    session: SessionRef | None = None
    credentials: tuple[Credential, ...] = ()
    in_pod: bool = False
    """Whether its guest runs in a pod of its own."""
    resumed: bool = False
    """Whether its guest may be under way already, started for a worker that is gone. Only of one in a pod."""

    @property
    def execution(self) -> str:
        """Its id, under which it is executed once."""
        return execution_id(self.run.id, self.trigger, self.number)

    @property
    def log_fields(self) -> dict[str, object]:
        """The fields of a log line about it."""
        return run_fields(self.namespace, self.job, self.run, self.trigger)


@dataclass(frozen=True, slots=True)
class Accepted:
    """It is going to be executed here."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """It is accepted and cannot begin yet."""

    reason: str
    """Empty: it waits no more."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It is not executed, and nothing of it was."""

    reason: str
    retryable: bool
    """Whether the same may be asked again, with nothing changed."""


@dataclass(frozen=True, slots=True)
class Left:
    """The bytes of a call are about to leave; said before they do.

    With what the decision log has of it, for a process that ends before the call does.
    """

    number: int
    method: str = field(default="", compare=False)
    url: str = field(default="", compare=False)
    """Canonical, without its query."""
    policies: tuple[str, ...] = field(default=(), compare=False)
    """What has allowed it."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a call was seen."""

    number: int


@dataclass(frozen=True, slots=True)
class Ended:
    """It has ended, with its one report. Said again until it is settled."""

    report: Report


@dataclass(frozen=True, slots=True)
class Lost:
    """It has ended, and what it came to is not known. Said again until it is settled."""

    cause: str
    calls: Calls | None = None
    """None: nobody knows, so that something may have left and was not answered."""
    over_limit: bool = False
    """A limit of the process that executed it has ended that process, for which this run may be the reason."""


Word = Accepted | Waiting | Refused | Left | Answered | Ended | Lost
"""What is said of an execution."""

Sink = Callable[[str, Word], None]
"""Hears, on the event loop, what is said of the execution with this id. It must not raise."""


@dataclass(frozen=True, slots=True)
class Held:
    """A Submit execution that a job's status says is going on, as far as the reconciler knows."""

    execution: str
    own: bool
    """This very process has claimed its run."""
    inherited: bool
    """It was there before this process began to lead: the process that led before is gone."""
    unchanged: float
    """Seconds for which this process has seen no change of the job."""
    longest: float
    """Seconds that a run of its module can take."""
    in_pod: bool = False
    """Whether its guest runs in a pod, which does not end with this process."""


def process_liveness(held: Held, known: Liveness) -> Liveness:
    """The holder rule (docs/fence.md, rule 3), for executors whose executions end with the process that claimed them.

    `known` is what the executor of this process knows of it. The holder of a later run counts as gone only once the
    run has not changed for longer than it can take, so that two operators without a lease do not chase each other.
    """
    if known is not Liveness.UNKNOWN:
        return known
    if held.own or held.inherited:
        return Liveness.GONE  # of its own this process would know
    return Liveness.GONE if held.unchanged >= held.longest else Liveness.UNKNOWN


class Executor(Protocol):
    """What executes modules. All of it is for the event loop, none of it waits but `drain`, and none of it raises.

    Every executor passes the same suite: tests/conformance.
    """

    def start(self, request: ExecutionRequest, sink: Sink) -> None:
        """Execute it as soon as there is room.

        Started again under the same id it is not executed again: the sink takes the place of the one before, and hears
        the end again. One that was stopped before ends at once, without a call.
        """
        ...

    def attach(self, request: ExecutionRequest, sink: Sink) -> None:
        """Hear of an execution that another process may have started. An unknown one is resumed if its guest has not
        ended with that process; else what is heard is that it is lost."""
        ...

    def stop(self, execution: str, why: str) -> None:
        """Its run has stopped being current: no further request of it leaves (docs/fence.md, rule 6).

        A call that has not left is stopped; one on the wire is awaited and answered to the module, which may then
        return. A module that spins is interrupted. May come before the start, and again and again. Does nothing to a
        Cancel execution, nor to one that has ended.
        """
        ...

    def settled(self, execution: str) -> None:
        """What was said of its end has been dealt with: it is forgotten, and not to be started again.

        Said of one that has not ended it changes nothing; whoever stopped one and does not start it says it too.
        """
        ...

    def liveness(self, held: Held) -> Liveness:
        """Whether it goes on, from what is known: the holder rule is the executor's (see `process_liveness`)."""
        ...

    async def drain(self, grace: float) -> None:
        """End those that die with this process: awaits what is on the wire for at most `grace` seconds, then cuts it.

        Whatever is started after that ends at once.
        """
        ...


class Unsupplied(Exception):
    """Something that a request refers to cannot be had: which, and what helps."""

    def __init__(self, message: str, *, absent: bool = False) -> None:
        super().__init__(message)
        self.absent = absent
        """It does not exist or may not be read; else it is a passing failure, or what it holds is no use."""


class Supplies(Protocol):
    """What requests refer to, for an executor that is about to carry one out."""

    async def wasm(self, request: ExecutionRequest) -> bytes:
        """The bytes of the module. Raises ModuleLoadError or ModuleUnreadable."""
        ...

    async def credentials(self, request: ExecutionRequest) -> tuple[OriginCredential, ...]:
        """The credentials with their values. Raises Unsupplied."""
        ...


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How one call of a module ended."""

    number: int
    decision: Literal["allowed", "denied", "none"]
    """What the gate said; none: it was not asked."""
    code: str
    """The HTTP status, or the error code of the contract, timeout, or lost: whatever made it ended before it did."""
    seconds: float
    method: str = ""
    url: str = ""
    """Canonical, without its query; empty if it is none."""
    policies: tuple[str, ...] = ()
    """The policies and approvals that decided, by their origin."""


class ExecutionObserver(Protocol):
    """Notified of what happens, on the event loop, for metrics and logs. What it raises is logged and ignored."""

    def on_start(self, request: ExecutionRequest) -> None:
        """An execution was started."""
        ...

    def on_call(self, request: ExecutionRequest, call: CallEnd) -> None:
        """A call ended."""
        ...

    def on_end(self, request: ExecutionRequest, report: Report, seconds: float) -> None:
        """An execution ended."""
        ...


class Authorizer(Protocol):
    """Decides about a request: `authz.gate.Gate`."""

    def authorize(self, namespace: str, request: EvaluatedRequest, context: CallContext) -> Decision:
        """Decide one request. Never raises."""
        ...

    def is_still_valid(self, namespace: str, request: EvaluatedRequest, decision: Decision) -> bool:
        """Whether `authorize` would decide this request in the same way again, as far as that is known at once."""
        ...


class Fence(Protocol):
    """What is asked in the last line before the bytes of a call leave, beside `Executor.stop`.

    For an executor that hears later than others decide.
    """

    @property
    def alive(self) -> bool:
        """Whether anything of the execution may leave."""
        ...

    @property
    def behind(self) -> bool:
        """Whether the gate lacks a policy or a grant that counts already: it is to be asked again once it has it."""
        ...

    async def caught_up(self) -> None:
        """Wait until it is not behind."""
        ...


class Loaded(Protocol):
    """A module that is compiled: `wasm.store.LoadedModule`."""

    @property
    def path(self) -> Path:
        """Its artifact: each run opens it for itself."""
        ...

    @property
    def digest(self) -> str:
        """Of its WebAssembly."""
        ...


class Modules(Protocol):
    """Compiled modules: `wasm.store.ModuleStore`."""

    def has(self, digest: str) -> bool:
        """Whether the module is compiled, as far as is known at once."""
        ...

    async def load(self, digest: str, fetch: Callable[[], Awaitable[bytes]], namespace: str) -> Loaded:
        """The module with this digest; `fetch` gives its bytes. Raises ModuleLoadError, and what `fetch` raises."""
        ...

    def forget(self, digest: str) -> None:
        """Its artifact is gone: the next load looks for it anew."""
        ...


class Sender(Protocol):
    """Sends a request that may leave: `egress.client.EgressClient`."""

    async def send(
        self,
        request: OutboundRequest,
        *,
        timeout: float,  # noqa: ASYNC109 - the client's own signature
        max_response_bytes: int,
        on_departure: Callable[[], None] | None = None,
    ) -> OutboundResponse:
        """Send it and read the response; `on_departure` is called on an open connection, and may raise to stop."""
        ...
