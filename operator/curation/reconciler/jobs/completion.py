"""Completion by compare-and-set (docs/fence.md, rules 4 and 5): the only writer of outcomes.

Ask the fence about the newest known object. If the run is current, write the new status, conditioned on exactly that
object. Whatever the API server answers, begin again with what is there now, until the outcome has landed or is stale.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from curation.api.approval import EvaluatedRequest
from curation.api.job import CurationJob, JobStatus, status_to_wire
from curation.api.names import EventReason
from curation.api.reading import Unreadable, read
from curation.cluster.answers import Conflict, Document, Gone, Refused, Throttled, Unknown, Written
from curation.lifecycle.complete import Moment, Ruling, Verdict, complete, unreadable
from curation.lifecycle.event import Event
from curation.lifecycle.outcome import Report, Trigger
from curation.reconciler.jobs.orders import Order
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.regarding import regarding
from curation.reconciler.runtime.unreadable import job_of

log = logging.getLogger(__name__)

# A write that keeps losing to other writers of the object gives its worker back after this many tries in a row.
WRITE_ATTEMPTS = 5


@dataclass(slots=True)
class Pending:
    """An execution that has ended and whose completion is still to be applied or dropped."""

    report: Report
    order: Order
    """What was executed."""
    planned: JobStatus | None = None
    """What a write would have made of the status whose answer does not say whether it has landed."""
    events: tuple[Event, ...] = ()
    """The Events of that write."""
    ask: EvaluatedRequest | None = None
    """The request whose approval is to be asked for once it has landed."""
    before: CurationJob | None = None
    """The job that it was computed from."""
    execution: str = ""
    """Which one it was."""

    def plan(self, verdict: Verdict, job: CurationJob) -> None:
        """Note a write of which only the job itself can tell whether it has landed."""
        self.planned, self.events, self.ask, self.before = verdict.status, verdict.events, verdict.ask, job


@dataclass(frozen=True, slots=True)
class Settled:
    """The completion is over: applied or dropped."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Later:
    """The completion could not be written yet; nothing is lost."""

    seconds: float | None = None
    """When to try again; None: with backoff."""


class Completion:
    """Settles the completions of one process."""

    def __init__(
        self,
        context: Context,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        sample: Callable[[], float] = random.random,
    ) -> None:
        """`pause` waits for seconds; `sample` is a number in [0, 1), for jitter."""
        self._context = context
        self._pause = pause
        self._sample = sample

    async def settle(self, key: Key, pending: Pending, freed_for: str) -> Settled | Later:
        """Bring one completion to its end, or say when to try again."""
        context, report = self._context, pending.report
        for attempt in range(WRITE_ATTEMPTS):
            await self._pause(attempt * 0.02 * self._sample())  # none at first
            stored = context.cache(key).get(key.namespace, key.name)
            job, fault = job_of(stored) if stored is not None else (None, None)
            if job is not None and fault is not None:
                return self._settled(pending, job, unreadable(job, report, str(fault)))
            if job is not None and _landed(job, pending):
                landed = Verdict(Ruling.APPLIED, pending.planned, ask=pending.ask, events=pending.events)
                return self._settled(pending, job, landed, pending.before)
            moment = Moment(context.clock.now(), self._sample(), freed_for)
            verdict = complete(job, report, moment)
            if verdict.ruling is not Ruling.APPLIED:
                return self._settled(pending, job, verdict)
            if verdict.status is None or job is None or stored is None:
                return self._settled(pending, job, verdict)
            answer = await context.write_status(
                key, stored.resource_version, status_to_wire(job.status), status_to_wire(verdict.status)
            )
            match answer:
                case None:
                    return self._settled(pending, job, verdict)
                case Written(obj):
                    return self._settled(pending, self._written(obj, job), verdict, job)
                case Conflict():
                    # The context has read it anew. Somebody between may have sent it twice, as nginx does with a PUT
                    # whose answer was lost: then what it shows is this very write.
                    pending.plan(verdict, job)
                case Gone():
                    continue
                case Throttled(retry_after):
                    return Later(retry_after)
                case Unknown(message):
                    log.warning("the answer to a status write was lost: %s", message, extra=pending.order.log_fields)
                    pending.plan(verdict, job)
                    if not await context.refresh(key):
                        return Later()
                case Refused() as refused:
                    self._complain(key, pending, job, refused)
                    await context.refresh(key)
                    return Later()
        return Later()

    def _written(self, obj: Document, job: CurationJob) -> CurationJob:
        try:
            return read(CurationJob, obj)
        except Unreadable:
            return job  # others write too: what matters is that the write landed

    def _settled(
        self, pending: Pending, job: CurationJob | None, verdict: Verdict, before: CurationJob | None = None
    ) -> Settled:
        context, report = self._context, pending.report
        context.refusals.ended(pending.order.key, _outcome(pending))
        if report.trigger is Trigger.SUBMIT:
            context.metrics.completions.labels(verdict=verdict.ruling.value).inc()
        if verdict.ruling in (Ruling.STALE, Ruling.GONE):
            because = verdict.objection.message if verdict.objection is not None else "it is stale"
            result = type(report.result).__name__
            current = job.status.run.id if job is not None and job.status.run is not None else "none"
            log.info(
                "dropped a stale completion: run %s ended with %s, but %s",
                report.run.id,
                result,
                because,
                extra={**pending.order.log_fields, "current_run_id": current, "objection": because_of(verdict)},
            )
            if job is not None and report.trigger is Trigger.SUBMIT:
                message = f"Run {report.run.id} ended late with {result}; dropped: {because}."
                self._record_event(job, pending, Event(EventReason.STALE_COMPLETION_DROPPED, message))
        elif job is not None:
            for event in verdict.events:
                self._record_event(job, pending, event)
            if verdict.status is not None and before is not None:
                context.phase_changed(before, verdict.status)
        return Settled(verdict)

    def _complain(self, key: Key, pending: Pending, job: CurationJob, refused: Refused) -> None:
        """A refused outcome is reported once, loudly, and kept."""
        what = _outcome(pending)
        self._context.refusals.report(key, regarding(job), what, refused, pending.order.log_fields)

    def _record_event(self, job: CurationJob, pending: Pending, event: Event) -> None:
        self._context.record_event(regarding(job), event, pending.order.log_fields)


def _outcome(pending: Pending) -> str:
    """What of a job would be written: see `Refusals`."""
    return f"the outcome of run {pending.report.run.id}"


def because_of(verdict: Verdict) -> str:
    """The fence's reason for dropping a completion; empty if it was not dropped."""
    return verdict.objection.reason if verdict.objection is not None else ""


def _landed(job: CurationJob, pending: Pending) -> bool:
    """Whether the write that was planned has been applied: compare run id, phase and session id."""
    planned, before, status = pending.planned, pending.before, job.status
    if planned is None or before is None:
        return False
    if job.metadata.uid != pending.report.run.uid or status.run is None or planned.run is None:
        return False
    if planned.phase == before.status.phase:
        return status == planned  # an observation changes no phase, so the whole status is compared
    # Trap: the ends of earlier runs are in each of the three histories.
    if any(entry in status.history for entry in planned.history if entry not in before.status.history):
        return True
    ids = [s.session.id if s.session else None for s in (planned, status)]
    return (status.run.id, status.phase) == (planned.run.id, planned.phase) and ids[0] == ids[1]


def orphaned(verdict: Verdict, report: Report) -> bool:
    """Whether an execution has left something to be cancelled from here: its session, or all that its run made."""
    # The status that would name this run to be cleaned is gone: what it had created, known or not, goes now.
    unknown = verdict.ruling is Ruling.GONE and report.trigger is Trigger.SUBMIT and report.calls.left > 0
    return verdict.orphan is not None or unknown
