"""When the session of a Running job is observed."""

import random
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from curation.api.approval import EvaluatedRequest
from curation.api.job import CurationJob, Run
from curation.api.names import ANNOTATION_OBSERVE_REQUESTED_AT, Phase
from curation.authz.gate import CallContext
from curation.lifecycle.outcome import Denied, Failed, Report
from curation.reconciler.approvals.waiters import observation_denied
from curation.reconciler.jobs import orders
from curation.reconciler.jobs.runs import Runs
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key

MAX_BACKOFF_SECONDS: Final = 300.0
# A process that finds a job whose last observation was denied observes it within this time, which is less than the
# approval's grace.
DENIED_SECONDS: Final = 10.0
# Sessions observed at once: a restart finds every Running job due, and their calls must not crowd out new runs.
OBSERVATIONS_AT_ONCE: Final = 64


@dataclass(slots=True)
class _Plan:
    """The next observation of one session."""

    run_id: str
    due: float
    interval: float
    """In seconds, that it was planned with."""
    failures: int = 0
    asked: str = ""
    """The value of curation.dev/observe-requested-at that was last honoured."""
    denied: EvaluatedRequest | None = None
    """The request for which the last observation was denied."""
    revision: int = 0
    """Of the policies when the last observation began."""


class Observation:
    """Plans the observations of all Running jobs. Nothing of it needs to survive a restart."""

    def __init__(self, context: Context, runs: Runs) -> None:
        self._context = context
        self._runs = runs
        self._monotonic = context.clock.monotonic
        self._plans: dict[Key, _Plan] = {}
        self._before: dict[Key, str] = {}
        self._lines: dict[str, OrderedDict[Key, None]] = {}
        """By namespace, the jobs whose observation is due and has no room, in the order in which they came."""
        self._called: set[Key] = set()
        """The first of a line, called because there was room."""
        runs.on_observation_ended = self._call_all
        context.book.subscribe(self._policies_changed)

    def launched(self, key: Key, job: CurationJob) -> None:
        """A run of the job is launched: only a request that is newer than this job asks for news of its session.

        Trap: a user may see the job Running, and ask, before this process plans its first observation.
        """
        self._before[key] = _asked(job)

    def advance(self, key: Key, job: CurationJob) -> None:
        """Observe the session if that is due, else ask for work on the job when it will be, or when there is room."""
        called = key in self._called
        self._called.discard(key)
        if self._is_due(key, job):
            self._observe(key, job, called=called)
            return
        self._leave(key)
        if called:
            self._call(key.namespace)

    def _is_due(self, key: Key, job: CurationJob) -> bool:
        run = job.status.run
        if job.status.phase is not Phase.RUNNING or run is None or job.metadata.deletion_timestamp is not None:
            self._plans.pop(key, None)
            return False
        now, interval = self._monotonic(), float(job.spec.observe_interval_seconds)
        asked = _asked(job)
        plan = self._plans.get(key)
        if plan is None or plan.run_id != run.id:
            # The first observation after a restart is spread over the interval too. Trap: which approval a denied
            # observation had asked for is in no status, and one that nobody is known to wait for is soon removed.
            spread = min(interval, DENIED_SECONDS) if observation_denied(job) else interval
            due = now + spread * random.random()  # noqa: S311
            plan = self._plans[key] = _Plan(run.id, due, interval, asked=self._before.pop(key, asked))
        if plan.interval != interval:
            plan.interval = interval
            plan.due = min(plan.due, now + interval * random.random())  # noqa: S311 - many may be edited at once
        if self._runs.observing(key, job.metadata.uid):
            # Its end wakes this key. A request that came meanwhile is honoured then: it may be for newer news.
            return False
        if asked != plan.asked:
            plan.asked, plan.due = asked, now
        if now < plan.due and self._now_allowed(key, job, run, plan):
            plan.due = now
        if now < plan.due:
            self._context.queue.add_after(key, plan.due - now)
            return False
        return True

    def _observe(self, key: Key, job: CurationJob, *, called: bool) -> None:
        line = self._lines.get(key.namespace)
        if self._over_quota(key.namespace) or (line and not called and next(iter(line)) != key):
            line = self._lines.setdefault(key.namespace, OrderedDict())
            line[key] = None
            if called:
                line.move_to_end(key, last=False)
            # A net: whoever was called may be kept from answering, by a write that is refused.
            self._context.queue.add_after(key, random.uniform(30.0, 60.0))  # noqa: S311 - jitter
            return
        self._leave(key)
        self._plans[key].revision = self._context.book.revision(key.namespace)
        if job.status.run is not None:
            self._runs.launch(orders.observe(key, job, job.status.run))

    def _leave(self, key: Key) -> None:
        line = self._lines.get(key.namespace)
        if line is not None:
            line.pop(key, None)
            if not line:
                del self._lines[key.namespace]

    def _call(self, namespace: str) -> None:
        """Ask for work on the first of a line, if there is room for it."""
        line = self._lines.get(namespace)
        if line and not self._over_quota(namespace):
            key = next(iter(line))
            self._leave(key)
            self._called.add(key)
            self._context.queue.add(key)

    def _call_all(self) -> None:
        # The room that one observation leaves is enough for one more, of any namespace.
        for namespace in tuple(self._lines):
            self._call(namespace)

    def ended(self, key: Key, job: CurationJob | None, report: Report) -> None:
        """An observation has ended: plan the next, later if it failed."""
        plan = self._plans.get(key)
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
        """The job is gone."""
        self._plans.pop(key, None)
        self._before.pop(key, None)
        self._leave(key)
        if key in self._called:
            self._called.discard(key)
            self._call(key.namespace)

    def _over_quota(self, namespace: str) -> bool:
        """Whether a namespace has its share: as many observations as are still free.

        So one whose service hangs takes half of them, and leaves some to every other (a dynamic threshold after
        Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998, with alpha = 1).
        """
        under_way = self._runs.observations
        return under_way[namespace] >= OBSERVATIONS_AT_ONCE - under_way.total()

    def _policies_changed(self, namespace: str | None) -> None:
        """The reconciler of a job asks the gate whether the change allows what was denied."""
        for key, plan in self._plans.items():
            if plan.denied is not None and namespace in (None, key.namespace):
                self._context.queue.add(key)

    def _now_allowed(self, key: Key, job: CurationJob, run: Run, plan: _Plan) -> bool:
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
