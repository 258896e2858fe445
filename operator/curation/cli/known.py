"""What `why` knows: everything about one job that this user may read, gathered in one go."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from curation.api.approval import ApprovalDecision, CurationApproval
from curation.api.job import CurationJob
from curation.api.module import CurationModule
from curation.api.names import ConditionType, Phase, Reason, Trigger
from curation.api.reading import Unreadable, read
from curation.authz.decision import CallContext, Decision, call_shown
from curation.cli.access import Cluster, unreadable_line
from curation.cli.errors import Forbidden
from curation.cli.visible_policies import VisiblePolicies, read_policies
from curation.cluster.answers import Document
from curation.cluster.resources import MODULES, ResourceKind
from curation.lifecycle.conditions import find

# The core form of an Event: the role `view` has it, and it is the same object as the events.k8s.io one.
CORE_EVENTS: Final = ResourceKind("Event", "events", "", "v1")
MAX_EVENTS: Final = 5
MAX_REQUESTS: Final = 3


@dataclass(frozen=True)
class Happening:
    """One Event."""

    at: datetime | None
    reason: str
    message: str
    warning: bool
    count: int


@dataclass(frozen=True)
class Evaluated:
    """A denied request of the job, its approval, and what the gate says about it now."""

    approval: CurationApproval
    decision: Decision


@dataclass(frozen=True)
class Known:
    """The job and what surrounds it."""

    job: CurationJob
    now: datetime
    module: CurationModule | None
    modules: tuple[str, ...]
    """Where the job's module does not exist: those that do."""
    requests: tuple[Evaluated, ...]
    """Denied requests of this job that have an approval; those that the job's own status names first."""
    waited: Decision | None
    """What the gate says now about status.approval.request, whether or not its approval exists."""
    events: tuple[Happening, ...]
    unread: tuple[str, ...]
    invalid: tuple[str, ...]
    """Policies that count here and are invalid, with why."""

    @property
    def approval(self) -> CurationApproval | None:
        """The approval that the job waits for, if it is there to be seen."""
        waited = self.job.status.approval
        name = waited.name if waited is not None else None
        return next(
            (evaluated.approval for evaluated in self.requests if evaluated.approval.metadata.name == name), None
        )

    @property
    def denial(self) -> CurationApproval | None:
        """The approval whose denial failed the job, if it is there to be seen and is still Denied."""
        return next(
            (
                evaluated.approval
                for evaluated in self.requests
                if evaluated.approval.spec.decision is ApprovalDecision.DENIED
                and _failed_by(self.job, evaluated.approval)
            ),
            None,
        )

    @property
    def flag(self) -> str:
        """`` -n NAMESPACE`` of commands to copy."""
        return f" -n {self.job.metadata.namespace}"


async def gather(cluster: Cluster, job: CurationJob) -> Known:
    """Read all that surrounds the job; nothing of it must be readable."""
    unread: list[str] = []
    module, events, visible = await asyncio.gather(
        _module(cluster, job, unread), events_of(cluster, job.metadata.uid, unread), read_policies(cluster)
    )
    waited = job.status.approval
    return Known(
        job=job,
        now=cluster.now(),
        module=module,
        modules=await _others(cluster) if module is None else (),
        requests=requests_of(job, visible),
        waited=visible.authorize(waited.request, _context(job, waited.request.trigger)) if waited is not None else None,
        events=events,
        unread=(*unread, *visible.unread, *visible.going),
        invalid=visible.invalid,
    )


def requests_of(job: CurationJob, visible: VisiblePolicies) -> tuple[Evaluated, ...]:
    """What `Known.requests` holds."""
    own = [a for a in visible.approvals if _names(job, a) or job.metadata.name in a.status.jobs]
    own.sort(key=lambda approval: not _names(job, approval))
    return tuple(
        Evaluated(approval, visible.authorize(approval.spec.request, _context(job, approval.spec.request.trigger)))
        for approval in own[:MAX_REQUESTS]
    )


def _names(job: CurationJob, approval: CurationApproval) -> bool:
    """Whether the job's own status speaks of this approval."""
    waited = job.status.approval
    if waited is not None and waited.name == approval.metadata.name:
        return True
    return _failed_by(job, approval) or _last_observation_denied(job, approval)


def _failed_by(job: CurationJob, approval: CurationApproval) -> bool:
    # The write that fails the job clears status.approval: after it only the message says which one it was.
    status = job.status
    denied = status.phase is Phase.FAILED and status.reason == Reason.APPROVAL_DENIED
    return denied and approval.metadata.name in status.message.split()


def _last_observation_denied(job: CurationJob, approval: CurationApproval) -> bool:
    # An approval lists 10 jobs of perhaps hundreds, and a Running job does not name its approval: it says the call.
    run, asked = job.status.run, approval.spec.request
    authorized = find(job.status.conditions, ConditionType.AUTHORIZED)
    if job.status.phase is not Phase.RUNNING or run is None or authorized is None or authorized.status != "False":
        return False
    module = (asked.module, asked.module_digest) == (run.module.name, run.module.digest)
    return module and asked.trigger is Trigger.OBSERVE and f" {call_shown(asked)}" in f" {authorized.message}"


def _context(job: CurationJob, trigger: Trigger) -> CallContext:
    """Whose call it would be: a Submit that was denied is asked again by the next attempt, the rest by this one."""
    run = job.status.run
    generation, attempt = (run.generation, run.attempt) if run is not None else (job.metadata.generation, 0)
    if trigger is Trigger.SUBMIT or attempt == 0:
        attempt += 1
    return CallContext(job.metadata.name, job.metadata.labels, generation, attempt)


async def _module(cluster: Cluster, job: CurationJob, unread: list[str]) -> CurationModule | None:
    try:
        document = await cluster.find(MODULES, job.spec.module_ref.name)
    except Forbidden:
        unread.append("you may not get curationmodules: whether the module is ready is not shown")
        return None
    try:
        return read(CurationModule, document) if document is not None else None
    except Unreadable as error:
        unread.append(unreadable_line(CurationModule, document or {}, str(error), "no run of it is started"))
        return None


async def _others(cluster: Cluster) -> tuple[str, ...]:
    try:
        return tuple(sorted(document["metadata"]["name"] for document in await cluster.list(MODULES)))
    except Forbidden:
        return ()


async def events_of(cluster: Cluster, uid: str, unread: list[str]) -> tuple[Happening, ...]:
    """The last Events of an object."""
    try:
        found = await cluster.list(CORE_EVENTS, field_selector=f"involvedObject.uid={uid}")
    except Forbidden:
        unread.append("you may not list events: they are not shown")
        return ()
    return tuple(sorted(map(_happening, found), key=lambda event: event.at or cluster.now())[-MAX_EVENTS:])


def _happening(document: Document) -> Happening:
    series: dict[str, Any] = document.get("series") or {}
    at = series.get("lastObservedTime") or document.get("lastTimestamp") or document.get("eventTime")
    return Happening(
        at=_time(at) or _time(document["metadata"].get("creationTimestamp")),
        reason=document.get("reason") or "",
        message=document.get("message") or "",
        warning=document.get("type") == "Warning",
        count=series.get("count") or document.get("count") or 1,
    )


def _time(text: object) -> datetime | None:
    """The time of an Event, which others write too: one that says none, such as one in the year 0, has none."""
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None
