"""When the session of a Running job is observed.

A job is planned by its reconciler, once it is as it should be. From then on its observations follow each other without
it: those of a namespace that are due are started together, and one that tells nothing new plans the next. Whatever else
happens to the job, or comes out of an observation, is the reconciler's.
"""

import asyncio
import json
import logging
import random
from collections.abc import Sequence
from typing import Final

from curation.api.job import CurationJob, Run
from curation.api.names import ANNOTATION_OBSERVE_REQUESTED_AT, Phase, Trigger
from curation.authz.decision import CallContext
from curation.checking.verdict import Question
from curation.lifecycle.complete import Moment, complete
from curation.lifecycle.fence import objection
from curation.lifecycle.observing import interval_of, is_failure, is_settled, quiet_of
from curation.lifecycle.outcome import Denied, Report, StillRunning
from curation.reconciler.approvals.waiters import observation_denied
from curation.reconciler.jobs import orders
from curation.reconciler.jobs.memory import JobMemory, Memories, ObservationPlan
from curation.reconciler.jobs.orders import Order
from curation.reconciler.jobs.rounds import Rounds
from curation.reconciler.jobs.runs import Runs
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key, namespace_of
from curation.reconciler.runtime.unreadable import job_of
from curation.turns import Turns

log = logging.getLogger(__name__)

# A process that finds a job whose last observation was denied observes it within this time, which is less than the
# approval's grace.
DENIED_SECONDS: Final = 10.0
# Sessions observed at once: a restart finds every Running job due, and their calls must not crowd out new runs.
OBSERVATIONS_AT_ONCE: Final = 64
# An observation comes up to this share of its interval late, so that those of many jobs spread, and up to this share
# early, with others of its namespace.
JITTER: Final = 0.1


class Observation:
    """Plans the observations of all Running jobs, and starts them. Nothing of it needs to survive a restart."""

    def __init__(self, context: Context, memories: Memories, runs: Runs) -> None:
        self._context = context
        self._memories = memories
        self._runs = runs
        self._monotonic = context.clock.monotonic
        self._rounds: Rounds[Key] = Rounds(self._start_all, namespace_of, self._monotonic)
        self._turns: Turns[Key] = Turns(OBSERVATIONS_AT_ONCE, self._called, namespace_of)
        self._denied: dict[str, set[Key]] = {}
        """By namespace: jobs whose last observation was denied."""
        self._closed = False
        runs.on_observation_ended = self._turns.release
        runs.settles_observation = self.settles
        context.book.subscribe(self._policies_changed)

    def launched(self, key: Key, job: CurationJob) -> None:
        """A run of the job is launched: only a request that is newer than this job asks for news of its session.

        Trap: a user may see the job Running, and ask, before this process plans its first observation.
        """
        self._memories.of(key, job.metadata.uid).asked_before = _asked(job)

    def advance(self, key: Key, job: CurationJob) -> None:
        """Observe the session if that is due, else when it will be, or when there is room."""
        is_running = job.status.phase is Phase.RUNNING and job.metadata.deletion_timestamp is None
        run = job.status.run if is_running else None
        memory = self._memories.of(key, job.metadata.uid)
        if run is None:
            memory.plan = None
            self.forget(key)
            return
        plan = memory.plan
        if plan is None or plan.run_id != run.id:
            plan = memory.plan = self._first_plan(memory, job, run)
        self._follow(memory, plan, job, run)

    def ended(self, key: Key, job: CurationJob | None, report: Report) -> None:
        """An observation has ended: plan the next, later if it failed or told nothing new."""
        plan = self._memories.of(key, report.run.uid).plan
        if plan is None or job is None or plan.run_id != report.run.id:
            return
        now = self._monotonic()
        plan.denied = report.result.request if isinstance(report.result, Denied) else None
        self._note_denied(key, plan.denied is not None)
        if is_failure(report):
            plan.failures += 1
        else:
            seen = _seen(report.result.progress) if isinstance(report.result, StillRunning) else None
            if plan.failures or seen not in (None, plan.seen):
                plan.changed = now
            plan.failures, plan.seen = 0, plan.seen if seen is None else seen
        plan.interval = interval_of(job.spec.observation, now - plan.changed, plan.failures)
        plan.due = now + plan.interval * random.uniform(1, 1 + JITTER)  # noqa: S311 - jitter

    def settles(self, order: Order, report: Report) -> bool:
        """Whether an observation that has ended tells nothing new; then the next is planned, and all is done.

        It is judged as any other completion is. But where nothing follows from it, no worker need come to the job.
        Never raises.
        """
        try:
            return self._settles(order.key, report)
        except Exception:
            log.exception("an observation could not be settled at once", extra=order.log_fields)
            return False  # a worker settles it

    def _settles(self, key: Key, report: Report) -> bool:
        stored = self._context.cache(key).get(key.namespace, key.name)
        if stored is None or self._closed:
            return False
        job, fault = job_of(stored)
        if fault is not None or not is_settled(job, report, complete(job, report, Moment(self._context.clock.now()))):
            return False
        memory, run = self._memories.of(key, report.run.uid), job.status.run
        if memory.plan is None or run is None or memory.plan.run_id != run.id or memory.observing:
            return False
        self.ended(key, job, report)
        self._follow(memory, memory.plan, job, run)
        return True

    def forget(self, key: Key) -> None:
        """The job is gone, or has no session to be observed."""
        self._note_denied(key, False)
        self._rounds.drop(key)
        self._turns.leave(key)

    def close(self) -> None:
        """Start no further observation."""
        self._closed = True
        self._rounds.close()

    # -- planning ----------------------------------------------------------------------------------------------------

    def _first_plan(self, memory: JobMemory, job: CurationJob, run: Run) -> ObservationPlan:
        # The first observation after a restart is spread over the interval too. Trap: which approval a denied
        # observation had asked for is in no status, and one that nobody is known to wait for is soon removed.
        now, observe = self._monotonic(), job.spec.observation
        quiet = quiet_of(job, self._context.clock.now())
        interval = interval_of(observe, quiet)
        spread = min(interval, DENIED_SECONDS) if observation_denied(job) else interval
        asked = _asked(job) if memory.asked_before is None else memory.asked_before
        memory.asked_before = None
        due = now + spread * random.random()  # noqa: S311
        session = job.status.session
        seen = _seen(session.progress) if session is not None else None
        return ObservationPlan(run.id, due, interval, observe, now - quiet, asked=asked, seen=seen)

    def _follow(self, memory: JobMemory, plan: ObservationPlan, job: CurationJob, run: Run) -> None:
        """Observe it now, or when it is due."""
        now, observe, asked = self._monotonic(), job.spec.observation, _asked(job)
        if plan.observe != observe:
            plan.observe, plan.interval = observe, interval_of(observe, now - plan.changed)
            plan.due = min(plan.due, now + plan.interval * random.random())  # noqa: S311 - many may be edited at once
        if memory.observing:
            # Its end comes here again. A request that came meanwhile is honoured then: it may be for newer news.
            return
        if asked != plan.asked:
            plan.asked, plan.due, plan.changed = asked, now, now
        if now < plan.due and self._now_allowed(memory.key, job, run, plan):
            plan.due = now
        if now < plan.due:
            self._turns.leave(memory.key)
            self._rounds.plan(memory.key, plan.due, JITTER * plan.interval)
        else:
            self._rounds.drop(memory.key)
            self._start(memory.key)

    def _policies_changed(self, namespace: str | None) -> None:
        """The reconciler of a job asks the gate whether the change allows what was denied."""
        for place in list(self._denied) if namespace is None else [namespace]:
            for key in self._denied.get(place, ()):
                self._context.wake(key)

    def _note_denied(self, key: Key, denied: bool) -> None:
        if denied:
            self._denied.setdefault(key.namespace, set()).add(key)
        elif (found := self._denied.get(key.namespace)) is not None:
            found.discard(key)
            if not found:
                del self._denied[key.namespace]

    def _now_allowed(self, key: Key, job: CurationJob, run: Run, plan: ObservationPlan) -> bool:
        """Whether a change since the last observation allows the request that was denied then.

        Each change is asked about once: an observation that is denied again for another cause keeps its backoff.
        """
        revision = self._context.book.revision(key.namespace)
        if plan.denied is None or revision == plan.revision:
            return False
        context = CallContext(key.name, job.metadata.labels, run.generation, run.attempt)
        verdict = self._context.verdicts.ask(key, Question(plan.denied, context))
        if verdict is None:
            return False  # the answer has the job worked on
        plan.revision = verdict.revision
        return verdict.allowed

    # -- starting ----------------------------------------------------------------------------------------------------

    def _start_all(self, keys: Sequence[Key]) -> None:
        for key in keys:
            self._start(key)

    def _called(self, key: Key) -> None:
        """There is room for one that waited. Not at once: this is called at the end of another observation."""
        asyncio.get_running_loop().call_soon(self._start, key)

    def _start(self, key: Key) -> None:
        """Observe the job as it is known now, as soon as there is room. Never raises."""
        if self._closed or not self._turns.take(key):
            return
        started = False
        try:
            started = self._observe(key)
        except Exception:
            log.exception("an observation could not be started", extra=key.log_fields)
            self._context.retry(key)
        finally:
            if not started:
                self._turns.release(key)

    def _observe(self, key: Key) -> bool:
        """Launch an observation; False if none is called for: the reconciler plans it again, should it be."""
        stored = self._context.cache(key).get(key.namespace, key.name)
        job, fault = job_of(stored) if stored is not None else (None, None)
        memory = next(
            (each for each in self._memories.at(key) if job is not None and each.uid == job.metadata.uid), None
        )
        if job is None or fault is not None or memory is None or memory.observing:
            return False
        plan, run = memory.plan, job.status.run
        if plan is None or run is None or plan.run_id != run.id:
            return False
        if objection(job, orders.run_key(job.metadata.uid, run), Trigger.OBSERVE) is not None:
            return False
        order = orders.observe(key, job, run)
        plan.revision = self._context.book.revision(key.namespace)
        self._runs.launch(self._runs.begin(order))
        return True


def _asked(job: CurationJob) -> str:
    return job.metadata.annotations.get(ANNOTATION_OBSERVE_REQUESTED_AT, "")


def _seen(progress: object) -> int | None:
    """What is kept of a progress, to know it again; None if there is none."""
    return None if progress is None else hash(json.dumps(progress, sort_keys=True))
