"""When the session of a Running job is observed."""

import random
from typing import Final

from curation.api.job import CurationJob, Run
from curation.api.names import ANNOTATION_OBSERVE_REQUESTED_AT, Phase
from curation.authz.gate import CallContext
from curation.lifecycle.outcome import Denied, Failed, Report
from curation.reconciler.approvals.waiters import observation_denied
from curation.reconciler.jobs import orders
from curation.reconciler.jobs.memory import JobMemory, Memories, ObservationPlan
from curation.reconciler.jobs.runs import Runs
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key, namespace_of
from curation.turns import Turns

MAX_BACKOFF_SECONDS: Final = 300.0
# A process that finds a job whose last observation was denied observes it within this time, which is less than the
# approval's grace.
DENIED_SECONDS: Final = 10.0
# Sessions observed at once: a restart finds every Running job due, and their calls must not crowd out new runs.
OBSERVATIONS_AT_ONCE: Final = 64


class Observation:
    """Plans the observations of all Running jobs. Nothing of it needs to survive a restart."""

    def __init__(self, context: Context, memories: Memories, runs: Runs) -> None:
        self._context = context
        self._memories = memories
        self._runs = runs
        self._monotonic = context.clock.monotonic
        self._turns: Turns[Key] = Turns(OBSERVATIONS_AT_ONCE, context.queue.add, namespace_of)
        runs.on_observation_ended = self._turns.release
        context.book.subscribe(self._policies_changed)

    def launched(self, key: Key, job: CurationJob) -> None:
        """A run of the job is launched: only a request that is newer than this job asks for news of its session.

        Trap: a user may see the job Running, and ask, before this process plans its first observation.
        """
        self._memories.of(key, job.metadata.uid).asked_before = _asked(job)

    def advance(self, key: Key, job: CurationJob) -> None:
        """Observe the session if that is due, else ask for work on the job when it will be, or when there is room."""
        is_running = job.status.phase is Phase.RUNNING and job.metadata.deletion_timestamp is None
        run = job.status.run if is_running else None
        memory = self._memories.of(key, job.metadata.uid)
        if run is None:
            memory.plan = None
            self._turns.leave(key)
            return
        plan = memory.plan
        if plan is None or plan.run_id != run.id:
            plan = memory.plan = self._first_plan(memory, job, run)
        if not self._is_due(memory, plan, job, run):
            self._turns.leave(key)
            return
        order = orders.observe(key, job, run)  # before the turn: what is raised here is to keep none
        if self._turns.take(key):
            plan.revision = self._context.book.revision(key.namespace)
            self._runs.launch(self._runs.begin(order))

    def _first_plan(self, memory: JobMemory, job: CurationJob, run: Run) -> ObservationPlan:
        # The first observation after a restart is spread over the interval too. Trap: which approval a denied
        # observation had asked for is in no status, and one that nobody is known to wait for is soon removed.
        interval = float(job.spec.observe_interval_seconds)
        spread = min(interval, DENIED_SECONDS) if observation_denied(job) else interval
        due = self._monotonic() + spread * random.random()  # noqa: S311
        asked = _asked(job) if memory.asked_before is None else memory.asked_before
        memory.asked_before = None
        return ObservationPlan(run.id, due, interval, asked=asked)

    def _is_due(self, memory: JobMemory, plan: ObservationPlan, job: CurationJob, run: Run) -> bool:
        now, interval = self._monotonic(), float(job.spec.observe_interval_seconds)
        asked = _asked(job)
        if plan.interval != interval:
            plan.interval = interval
            plan.due = min(plan.due, now + interval * random.random())  # noqa: S311 - many may be edited at once
        if memory.observing:
            # Its end wakes this key. A request that came meanwhile is honoured then: it may be for newer news.
            return False
        if asked != plan.asked:
            plan.asked, plan.due = asked, now
        if now < plan.due and self._now_allowed(memory.key, job, run, plan):
            plan.due = now
        if now < plan.due:
            self._context.queue.add_after(memory.key, plan.due - now)
            return False
        return True

    def decline(self, key: Key) -> None:
        """The key was worked on; room that is kept for it and that it did not take is for the next one."""
        self._turns.decline(key)

    def ended(self, key: Key, job: CurationJob | None, report: Report) -> None:
        """An observation has ended: plan the next, later if it failed."""
        plan = self._memories.of(key, report.run.uid).plan
        if plan is None or job is None or plan.run_id != report.run.id:
            return
        plan.denied = report.result.request if isinstance(report.result, Denied) else None
        interval = float(job.spec.observe_interval_seconds)
        plan.failures = plan.failures + 1 if isinstance(report.result, Failed | Denied) else 0
        delay = interval * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
        if plan.failures:
            delay = min(max(MAX_BACKOFF_SECONDS, interval), delay * 2 ** min(plan.failures - 1, 10))
        plan.due = self._monotonic() + delay

    def forget(self, key: Key) -> None:
        """The job is gone, and waits for no room."""
        self._turns.leave(key)

    def _policies_changed(self, namespace: str | None) -> None:
        """The reconciler of a job asks the gate whether the change allows what was denied."""
        for memory in self._memories:
            if memory.plan is not None and memory.plan.denied is not None and namespace in (None, memory.key.namespace):
                self._context.queue.add(memory.key)

    def _now_allowed(self, key: Key, job: CurationJob, run: Run, plan: ObservationPlan) -> bool:
        """Whether a change since the last observation allows the request that was denied then.

        Each change is asked about once: an observation that is denied again for another cause keeps its backoff.
        """
        revision = self._context.book.revision(key.namespace)
        if plan.denied is None or revision == plan.revision:
            return False
        plan.revision = revision
        context = CallContext(key.name, job.metadata.labels, run.generation, run.attempt)
        return self._context.gate.authorize(key.namespace, plan.denied, context).allowed


def _asked(job: CurationJob) -> str:
    return job.metadata.annotations.get(ANNOTATION_OBSERVE_REQUESTED_AT, "")
