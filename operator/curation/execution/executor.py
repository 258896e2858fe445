"""The seam between the reconciler and whatever executes modules: what goes in, what can be done, what comes out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from curation.api.approval import EvaluatedRequest
from curation.api.schema import JsonObject
from curation.authz.gate import CallContext, Decision
from curation.egress.client import OutboundRequest, OutboundResponse
from curation.execution.origin_credentials import OriginCredential
from curation.lifecycle.log_fields import run_fields
from curation.lifecycle.outcome import Calls, Report, RunKey, SessionRef, Trigger
from curation.wasm.limits import Limits
from curation.wasm.store import Fetch


@dataclass(frozen=True, slots=True)
class ModuleBuild:
    """Which build of which module, what a run of it may use, and where its bytes are if it is not loaded."""

    name: str
    digest: str
    limits: Limits = field(default_factory=Limits)
    fetch: Fetch | None = None


@dataclass(frozen=True, slots=True)
class Invocation:
    """One execution of a module: for which run, why, and with what."""

    trigger: Trigger
    run: RunKey
    namespace: str
    job: str
    """Name of the job; its uid is the run's."""
    module: ModuleBuild
    labels: Mapping[str, str] = field(default_factory=dict)
    input: JsonObject = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    session: SessionRef | None = None
    credentials: tuple[OriginCredential, ...] = ()

    @property
    def log_fields(self) -> dict[str, object]:
        """The fields of a log line about it."""
        return run_fields(self.namespace, self.job, self.run, self.trigger)


class Execution(Protocol):
    """A started invocation. For the event loop that started it."""

    @property
    def invocation(self) -> Invocation:
        """What was started."""
        ...

    @property
    def dead(self) -> bool:
        """Its fence died while it ran; that cannot be undone."""
        ...

    @property
    def calls(self) -> Calls:
        """Its calls so far."""
        ...

    def kill(self, reason: str) -> None:
        """The run has stopped being current: no further request of it leaves (docs/fence.md, rule 6).

        One that has not left is stopped; one on the wire is awaited and answered to the module, which may then return.
        A module that spins is interrupted. Does nothing to a Cancel execution, nor to one that has ended.
        """
        ...

    async def report(self) -> Report:
        """The one completion. Never raises; a caller that is cancelled does not cancel the execution."""
        ...


class Executor(Protocol):
    """What starts invocations."""

    def start(self, invocation: Invocation) -> Execution:
        """Starts at once or as soon as a slot is free. On the event loop; never raises."""
        ...

    async def close(self, grace: float) -> None:
        """Kills everything, awaits requests on the wire for at most `grace` seconds, then cuts them and ends."""
        ...


class ExecutionObserver(Protocol):
    """Notified of what happens, on the event loop, for metrics and logs. What it raises is logged and ignored."""

    def on_start(self, invocation: Invocation) -> None:
        """An execution was started."""
        ...

    def on_call(
        self, invocation: Invocation, decision: Literal["allowed", "denied", "none"], code: str, seconds: float
    ) -> None:
        """A call ended: what the gate said (none: not asked), and the HTTP status or the error code of the contract."""
        ...

    def on_end(self, invocation: Invocation, report: Report, seconds: float) -> None:
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
