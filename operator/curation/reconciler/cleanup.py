"""Abandoned runs are cleaned durably (DESIGN section 4, rules 8 and 9): Cancel, again and again, until it succeeded.

What is to be cleaned stands in the status of the job (or, for a deleted job, follows from it), so a crash loses
nothing: the next holder starts over, and Cancel is idempotent. Kept here is only how far this process has come.
"""

import asyncio
import logging
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from curation.api.job import AbandonedRun, CurationJob
from curation.api.names import EventReason, FailureClass
from curation.cluster.answers import APIError, Unreachable
from curation.lifecycle.decide import Note, runs_to_clean
from curation.lifecycle.draft import abandoned_entry
from curation.lifecycle.outcome import Cancelled, Denied, Failed, Report, SessionRef
from curation.reconciler import orders
from curation.reconciler.completion import regarding
from curation.reconciler.context import Context, Key
from curation.reconciler.modules import ModuleReconciler
from curation.reconciler.orders import Order
from curation.reconciler.runs import Runs

log = logging.getLogger(__name__)

GIVE_UP_AFTER: Final = timedelta(minutes=10)
FIRST_RETRY_SECONDS: Final = 1.0
LAST_RETRY_SECONDS: Final = 30.0


@dataclass(slots=True)
class _Progress:
    """How far the cleaning of one run has come in this process."""

    attempts: int = 0
    next_at: datetime | None = None
    task: asyncio.Task[None] | None = None
    session: SessionRef | None = None
    """The session that a dropped completion named."""
    done: bool = False


class Cleanup:
    """Cleans the abandoned runs of all jobs."""

    def __init__(self, context: Context, runs: Runs, modules: ModuleReconciler) -> None:
        self._context = context
        self._runs = runs
        self._modules = modules
        self._progress: dict[Key, dict[str, _Progress]] = {}
        self._orphans: set[asyncio.Task[None]] = set()

    def cleaned(self, key: Key) -> frozenset[str]:
        """The runs of a job that are cleaned, or were given up."""
        return frozenset(run_id for run_id, progress in self._progress.get(key, {}).items() if progress.done)

    def forget(self, key: Key, keep: frozenset[str] = frozenset()) -> None:
        """Forget what no longer stands in the status of the job."""
        known = self._progress.get(key)
        if known is None:
            return
        for run_id in [run_id for run_id, progress in known.items() if run_id not in keep and progress.task is None]:
            del known[run_id]
        if not known:
            del self._progress[key]

    def advance(self, key: Key, job: CurationJob) -> None:
        """Start what is due, and ask for work on the job when something else will be."""
        wanted = runs_to_clean(job)
        self.forget(key, frozenset(wanted))
        for run_id in wanted:
            progress = self._progress.setdefault(key, {}).setdefault(run_id, _Progress())
            if progress.done or progress.task is not None or self._runs.lives(job.metadata.uid, run_id):
                continue  # an execution that is alive still may tell its session; its end wakes this key
            calls = self._runs.ended(run_id)
            if calls is not None and calls.left == 0:
                progress.done = True  # nothing of it ever left this process
                self._context.queue.add(key)
                continue
            now = self._context.clock.now()
            if progress.next_at is not None and now < progress.next_at:
                self._context.queue.add_after(key, (progress.next_at - now).total_seconds())
                continue
            progress.task = asyncio.create_task(self._clean(key, job, run_id, progress), name=f"clean {run_id}")

    def orphan(self, key: Key, job: CurationJob | None, order: Order, session: SessionRef | None) -> None:
        """Cancel the session that a dropped completion holds; None: whatever its run has created.

        Its run usually stands in the status as abandoned; the session is then cancelled exactly, and durably. Else
        (the job is gone, or another process has cleaned the run already) it is cancelled from memory.
        """
        run = order.run
        if job is not None and job.metadata.uid == run.uid and run.id in runs_to_clean(job):
            progress = self._progress.setdefault(key, {}).setdefault(run.id, _Progress())
            progress.session, progress.done, progress.next_at = session, False, None
            return
        task = asyncio.create_task(self._clean_orphan(orders.cancel_orphan(order, session)), name=f"orphan {run.id}")
        self._orphans.add(task)
        task.add_done_callback(self._orphans.discard)

    async def close(self) -> None:
        """Stop; what is not cleaned yet stands in the status of its job."""
        tasks = [p.task for known in self._progress.values() for p in known.values() if p.task is not None]
        for task in [*tasks, *self._orphans]:
            task.cancel()
        await asyncio.gather(*tasks, *self._orphans, return_exceptions=True)

    async def _clean(self, key: Key, job: CurationJob, run_id: str, progress: _Progress) -> None:
        try:
            entry = _entry(job, run_id)
            report = await self._runs.cancel(orders.cancel(key, job, entry, progress.session))
            self._judge(job, entry, report, progress, lost=await self._lost_for_good(key, job, report))
        finally:
            progress.task = None
            self._context.queue.add(key)

    async def _lost_for_good(self, key: Key, job: CurationJob, report: Report) -> bool:
        """Whether the namespace terminates and has taken with it what this Cancel needs: no retry can help."""
        if job.metadata.deletion_timestamp is None:
            return False
        match report.result:
            case Denied() | Failed(FailureClass.MODULE_UNAVAILABLE):
                try:
                    return await self._context.api.namespace_terminating(key.namespace)
                except (APIError, Unreachable) as error:
                    log.warning("namespace %s could not be read: %s", key.namespace, error)
        return False

    def _judge(self, job: CurationJob, entry: AbandonedRun, report: Report, progress: _Progress, *, lost: bool) -> None:
        context, now = self._context, self._context.clock.now()
        since = job.metadata.deletion_timestamp or entry.since
        if isinstance(report.result, Cancelled):
            settled_at = entry.since + timedelta(
                seconds=self._modules.wall_seconds(job.metadata.namespace, entry.module.name)
            )
            if self._all_answered(entry) or now >= settled_at:
                progress.done = True
                session = progress.session or entry.session
                what = f"Session {session.id}" if session is not None else "Whatever it had created"
                note = Note(EventReason.SESSION_CANCELLED, f"Run {entry.id} is cleaned: {what} is cancelled.")
                context.note(regarding(job), note)
            else:
                # A request of a process that died may still be carried out by the service after this Cancel.
                progress.next_at = settled_at
            return
        progress.attempts += 1
        error = _error(report)
        if now < since + GIVE_UP_AFTER and not lost:
            progress.next_at = now + timedelta(seconds=_backoff(progress.attempts))
            log.warning("run %s could not be cleaned yet: %s", entry.id, error, extra={"run_id": entry.id})
            return
        progress.done = True
        context.metrics.cleanups_failed.inc()
        bound = "after its namespace was deleted" if lost else "within 10 minutes"
        message = f"Run {entry.id} could not be cleaned {bound} and is given up; its session may still run: {error}"
        log.error(message, extra={"run_id": entry.id})
        context.note(regarding(job), Note(EventReason.CLEANUP_FAILED, message, warning=True))

    def _all_answered(self, entry: AbandonedRun) -> bool:
        """Whether the host saw the answers of all the run's requests; of a run that spawned its session, it did."""
        calls = self._runs.ended(entry.id)
        return entry.session is not None or (calls is not None and calls.left == calls.answered)

    async def _clean_orphan(self, order: Order) -> None:
        started, attempts = self._context.clock.now(), 0
        while True:
            report = await self._runs.cancel(order)
            if isinstance(report.result, Cancelled):
                log.info("what run %s had created is cancelled", order.run.id, extra={"run_id": order.run.id})
                return
            attempts += 1
            if self._context.clock.now() >= started + GIVE_UP_AFTER:
                self._context.metrics.cleanups_failed.inc()
                log.error("what run %s had created is given up: %s", order.run.id, _error(report))
                return
            await asyncio.sleep(_backoff(attempts))


def _entry(job: CurationJob, run_id: str) -> AbandonedRun:
    """What is to be cleaned; of a deleted job's run in flight, what its status says of it."""
    found = next((entry for entry in job.status.abandoned_runs if entry.id == run_id), None)
    if found is not None:
        return found
    run, since = job.status.run, job.metadata.deletion_timestamp
    assert run is not None
    assert since is not None
    return abandoned_entry(run, job.status.session, since)


def _error(report: Report) -> str:
    match report.result:
        case Failed(failure, message):
            return f"{failure}: {message}"
        case Denied(_, message):
            return f"the Cancel was denied: {message}"
        case other:
            return f"the module answered Cancel with {type(other).__name__}"


def _backoff(attempts: int) -> float:
    """Seconds until the next try, with jitter."""
    ceiling: float = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** (attempts - 1))
    return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
