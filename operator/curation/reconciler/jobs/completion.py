"""Completion by compare-and-set (docs/fence.md, rules 4 and 5): the only writer of outcomes.

Ask the fence about the newest known object. If the run is current, write the new status, conditioned on exactly that
object. Whatever the API server answers, begin again with what is there now, until the outcome has landed or is stale.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from curation.api.job import CurationJob, status_to_wire
from curation.api.names import EventReason
from curation.cluster.cache import Stored
from curation.lifecycle.complete import Moment, Ruling, Verdict, complete, unreadable
from curation.lifecycle.event import Event
from curation.lifecycle.landed import landed
from curation.lifecycle.outcome import Report, Trigger
from curation.reconciler.jobs.orders import Order
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.regarding import regarding
from curation.reconciler.runtime.result import RETRY, Effect, Moved, Result, Say
from curation.reconciler.runtime.unreadable import job_of
from curation.reconciler.runtime.writes import settle

log = logging.getLogger(__name__)

# A write that keeps losing to other writers of the object gives its worker back after this many tries in a row.
WRITE_ATTEMPTS = 5


@dataclass(slots=True)
class Pending:
    """An execution that has ended and whose completion is still to be applied or dropped."""

    report: Report
    order: Order
    """What was executed."""
    execution: str = ""
    """Which one it was."""
    plans: tuple["Plan", ...] = ()
    """The writes of it of which only the job can tell whether they have landed."""

    def plan(self, verdict: Verdict, job: CurationJob) -> "Plan":
        """Note a write. One that was computed from another version of the job can land no more."""
        plan, version = Plan(job, verdict), job.metadata.resource_version
        others = [other for other in self.plans if other.before.metadata.resource_version == version]
        self.plans = (*others[1 - WRITE_ATTEMPTS :], plan)
        return plan

    def landed(self, job: CurationJob) -> "Plan | None":
        """The write that the job shows to have landed, if any has."""
        return next((plan for plan in self.plans if plan.has_landed(job)), None)


@dataclass(frozen=True, slots=True)
class Plan:
    """A write that was sent: what it is computed from, and what follows if it has landed."""

    before: CurationJob
    verdict: Verdict

    def has_landed(self, job: CurationJob) -> bool:
        """Whether the job shows it."""
        return self.verdict.status is not None and landed(self.before, self.verdict.status, job)


@dataclass(frozen=True, slots=True)
class Settled:
    """The completion is over: applied or dropped."""

    verdict: Verdict
    effects: tuple[Effect, ...] = ()
    """What follows from it beside its status."""


@dataclass(frozen=True, slots=True)
class Later:
    """The completion could not be written yet; nothing is lost."""

    result: Result = RETRY
    """When to try again."""


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
            earlier = pending.landed(job) if job is not None else None
            if earlier is not None:
                return self._settled(pending, job, earlier.verdict, earlier.before)
            moment = Moment(context.clock.now(), self._sample(), freed_for)
            verdict = complete(job, report, moment)
            if verdict.ruling is not Ruling.APPLIED or verdict.status is None or job is None or stored is None:
                return self._settled(pending, job, verdict)
            old, new = status_to_wire(job.status), status_to_wire(verdict.status)
            plan = pending.plan(verdict, job)
            answer = await context.write_status(key, stored.resource_version, old, new)
            if answer is None:
                return self._settled(pending, job, verdict)
            what, fields = _outcome(pending), pending.order.log_fields
            outcome = await settle(context, key, answer, what, partial(_shows, plan), log_fields=fields)
            if outcome.landed:
                newest = context.cache(key).get(key.namespace, key.name)
                return self._settled(pending, job_of(newest)[0] if newest is not None else job, verdict, job)
            if not outcome.at_once:
                return Later(outcome.result)
        return Later()

    def _settled(
        self, pending: Pending, job: CurationJob | None, verdict: Verdict, before: CurationJob | None = None
    ) -> Settled:
        context, report, effects = self._context, pending.report, list[Effect]()
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
                effects.append(_say(job, pending, Event(EventReason.STALE_COMPLETION_DROPPED, message)))
        elif job is not None:
            effects += (_say(job, pending, event) for event in verdict.events)
            if verdict.status is not None and before is not None:
                effects.append(Moved(before, verdict.status))
        return Settled(verdict, tuple(effects))


def _say(job: CurationJob, pending: Pending, event: Event) -> Say:
    return Say(regarding(job), event, pending.order.log_fields)


def _outcome(pending: Pending) -> str:
    """What of a job would be written: see `Refusals`."""
    return f"the outcome of run {pending.report.run.id}"


def because_of(verdict: Verdict) -> str:
    """The fence's reason for dropping a completion; empty if it was not dropped."""
    return verdict.objection.reason if verdict.objection is not None else ""


def _shows(plan: Plan, newest: Stored) -> bool:
    return plan.has_landed(job_of(newest)[0])


def orphaned(verdict: Verdict, report: Report) -> bool:
    """Whether an execution has left something to be cancelled from here: its session, or all that its run made."""
    # The status that would name this run to be cleaned is gone: what it had created, known or not, goes now.
    unknown = verdict.ruling is Ruling.GONE and report.trigger is Trigger.SUBMIT and report.calls.left > 0
    return verdict.orphan is not None or unknown
