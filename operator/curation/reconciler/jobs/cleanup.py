"""Abandoned runs are cleaned durably (docs/fence.md, rules 8 and 9): Cancel, again and again, until it succeeded.

The status of the job names what is to be cleaned (for a deleted job it follows from the status), so a crash loses
nothing: the next holder starts over, and Cancel is idempotent. Kept here is only how far this process has come.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from curation.api.job import AbandonedRun, CurationJob
from curation.api.names import EventReason, FailureClass, Phase
from curation.cluster.answers import APIError, Unreachable
from curation.lifecycle.decide import runs_to_clean
from curation.lifecycle.draft import abandoned_entry
from curation.lifecycle.event import Event
from curation.lifecycle.log_fields import run_fields
from curation.lifecycle.outcome import Calls, Cancelled, Denied, Failed, Report, SessionRef, Trigger
from curation.reconciler.jobs import orders
from curation.reconciler.jobs.memory import Cleaning, JobMemory, Memories
from curation.reconciler.jobs.orders import Order
from curation.reconciler.jobs.runs import Runs
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.regarding import regarding
from curation.reconciler.runtime.result import AT_ONCE, NOTHING, Result
from curation.reconciler.sources.modules import ModuleReconciler
from curation.turns import AwaitedTurns

log = logging.getLogger(__name__)

GIVE_UP_AFTER: Final = timedelta(minutes=10)
FIRST_RETRY_SECONDS: Final = 1.0
LAST_RETRY_SECONDS: Final = 30.0
# What a process that finds a deletion which is older than that still tries, once.
LATE_TRY: Final = timedelta(seconds=30)
# Cancels at once: a service that answers none must not take the threads of the runs that use another. Namespaces share
# them, and since a Cancel ends in a bounded time each has its turn, however many of another hang.
CANCELS_AT_ONCE: Final = 256


class Start(Protocol):
    """`asyncio.create_task`."""

    def __call__(self, coro: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Have it carried out."""


class Cleanup:
    """Cleans the abandoned runs of all jobs."""

    def __init__(
        self,
        context: Context,
        memories: Memories,
        runs: Runs,
        modules: ModuleReconciler,
        start: Start = asyncio.create_task,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        sample: Callable[[], float] = random.random,
    ) -> None:
        """`start` has a Cancel carried out; `pause` waits for seconds; `sample` is a number in [0, 1), for jitter."""
        self._context = context
        self._memories = memories
        self._runs = runs
        self._modules = modules
        self._start = start
        self._pause = pause
        self._sample = sample
        self._orphans: set[asyncio.Task[None]] = set()
        self._turns = AwaitedTurns(CANCELS_AT_ONCE)

    def cleaned(self, key: Key) -> frozenset[str]:
        """The runs of a job that are cleaned, or were given up."""
        return frozenset(
            run_id for memory in self._memories.at(key) for run_id, progress in memory.cleaning.items() if progress.done
        )

    def advance(self, key: Key, job: CurationJob) -> Result:
        """Start what is due; when to come again for what is not."""
        memory = self._memories.of(key, job.metadata.uid)
        wanted, result = runs_to_clean(job), NOTHING
        _forget_cleaned(memory, job, wanted)
        for run_id in wanted:
            result += self._advance(key, job, memory, run_id)
        return result

    def _advance(self, key: Key, job: CurationJob, memory: JobMemory, run_id: str) -> Result:
        progress, lives = self._known(memory, job, run_id), memory.lives(run_id)
        if progress.done:
            return NOTHING
        left = self._left(job, progress, lives=lives)
        if left is not None and left <= 0:
            self._end(job, run_id, progress)
            return AT_ONCE
        result = Result(after=left)
        if progress.task is not None or lives:
            return result  # a live execution may still report its session; its end wakes this key
        calls, session = memory.calls.get(run_id), progress.session or _entry(job, run_id).session
        # Trap: a module may report a session without a call: one that its config names.
        if calls is not None and calls.left == 0 and session is None:
            progress.done = True  # nothing of it ever left this process
            return result + AT_ONCE
        now = self._context.clock.now()
        if progress.next_at is not None and now < progress.next_at:
            return result + Result(after=(progress.next_at - now).total_seconds())
        progress.task = self._start(self._clean(key, job, run_id, progress), name=f"clean {run_id}")
        return result

    def _known(self, memory: JobMemory, job: CurationJob, run_id: str) -> Cleaning:
        if run_id not in memory.cleaning:
            deleted = job.metadata.deletion_timestamp
            late = deleted is not None and self._context.clock.now() >= deleted + GIVE_UP_AFTER
            memory.cleaning[run_id] = Cleaning(late=late)
        return memory.cleaning[run_id]

    def _left(self, job: CurationJob, progress: Cleaning, *, lives: bool) -> float | None:
        """For how many seconds the job's deletion still waits for this run, whatever hangs; None: not bounded yet.

        The time counts from the first Cancel, or from the deletion while the run itself still lives. A process that
        started too late for any try makes one.
        """
        deleted, now = job.metadata.deletion_timestamp, self._context.clock.now()
        if deleted is None or (progress.begun is None and not lives):
            return None
        begun = max(progress.begun or deleted, deleted)
        bound = begun + (LATE_TRY if progress.late and progress.begun is not None else GIVE_UP_AFTER)
        return (bound - now).total_seconds()

    def _end(self, job: CurationJob, run_id: str, progress: Cleaning) -> None:
        """Its time is over."""
        entry = _entry(job, run_id)
        if progress.cancelled:
            self._cleaned(job, entry, progress)
        else:
            self._give_up(job, entry, progress, lost=False)

    def orphan(self, key: Key, job: CurationJob | None, order: Order, session: SessionRef | None) -> None:
        """Cancel the session that a dropped completion holds; None: whatever its run has created.

        The status usually names its run as abandoned; the session is then cancelled exactly, and durably. Else
        (the job is gone, or another process has cleaned the run already) it is cancelled from memory.
        """
        run = order.run
        if job is not None and job.metadata.uid == run.uid and run.id in runs_to_clean(job):
            progress = self._known(self._memories.of(key, run.uid), job, run.id)
            if not progress.done:  # else the deletion is not held up any longer
                progress.session, progress.next_at = session, None
                return
        task = self._start(self._clean_orphan(orders.cancel_orphan(order, session)), name=f"orphan {run.id}")
        self._orphans.add(task)
        task.add_done_callback(self._orphans.discard)

    async def close(self) -> None:
        """Stop; the status of each job names what is not cleaned yet."""
        tasks = [each.task for memory in self._memories for each in memory.cleaning.values() if each.task is not None]
        for task in [*tasks, *self._orphans]:
            task.cancel()
        await asyncio.gather(*tasks, *self._orphans, return_exceptions=True)

    async def _clean(self, key: Key, job: CurationJob, run_id: str, progress: Cleaning) -> None:
        try:
            entry = _entry(job, run_id)
            order = orders.cancel(key, job, entry, progress.session)

            def begun() -> None:
                progress.begun = progress.begun or self._context.clock.now()
                if job.metadata.deletion_timestamp is not None:
                    self._context.wake(key)  # to note when it is over

            report = await self._cancel(order, begun)
            self._conclude(key, job, entry, report, progress, lost=await self._lost_for_good(order, job, report))
        finally:
            progress.task = None
            self._context.wake(key)

    async def _cancel(self, order: Order, begun: Callable[[], None]) -> Report:
        """One try, in a turn of its namespace. A fault of our own is a failed one: the next comes after a while."""
        async with self._turns.turn(order.key.namespace):
            try:
                return await self._runs.cancel(order, begun)
            except Exception as error:
                log.exception("run %s could not be cancelled", order.run.id, extra=order.log_fields)
                begun()
                message = f"the operator failed to cancel it: {type(error).__name__}: {error}"
                return Report(order.trigger, order.run, Failed(FailureClass.MODULE_UNAVAILABLE, message))

    async def _lost_for_good(self, order: Order, job: CurationJob, report: Report) -> bool:
        """Whether the namespace terminates and has taken with it what this Cancel needs: no retry can help.

        Trap: a failed read of a Secret or of a module says nothing of the kind, and passes.
        """
        if job.metadata.deletion_timestamp is None:
            return False
        namespace = order.key.namespace
        match report.result:
            case Denied() | Failed(FailureClass.MODULE_UNAVAILABLE, absent=True):
                try:
                    return await self._context.api.namespace_terminating(namespace)
                except (APIError, Unreachable) as error:
                    log.warning("namespace %s could not be read: %s", namespace, error, extra=order.log_fields)
        return False

    def _conclude(
        self, key: Key, job: CurationJob, entry: AbandonedRun, report: Report, progress: Cleaning, *, lost: bool
    ) -> None:
        if progress.done:
            return  # given up meanwhile
        now = self._context.clock.now()
        if isinstance(report.result, Cancelled):
            calls = self._memories.of(key, job.metadata.uid).calls.get(entry.id)
            settled_at = entry.since + timedelta(
                seconds=self._modules.wall_seconds(job.metadata.namespace, entry.module.name)
            )
            if _all_answered(entry, calls) or now >= settled_at:
                self._cleaned(job, entry, progress)
            else:
                # A request of a process that died may still be carried out by the service after this Cancel.
                progress.cancelled, progress.next_at = True, settled_at
                progress.attempts, progress.failing_since = 0, None
            return
        progress.attempts += 1
        progress.error = _error(report)
        progress.failing_since = progress.failing_since or now
        # However long ago it was abandoned, by a process that died: but for a deletion that has waited long enough.
        since = max(progress.begun or now, job.metadata.deletion_timestamp or progress.failing_since)
        if now < since + GIVE_UP_AFTER and not progress.late and not lost:
            progress.next_at = now + timedelta(seconds=self._backoff(progress.attempts))
            fields = _log_fields(job, entry)
            log.warning("run %s could not be cleaned yet: %s", entry.id, progress.error, extra=fields)
            # One failure may be a passing one, and each repetition is a write.
            if progress.attempts > 1 and progress.attempts.bit_count() == 1:
                message = f"Run {entry.id} could not be cleaned yet and is tried again: {progress.error}"
                self._context.record_event(
                    regarding(job), Event(EventReason.RETRY_SCHEDULED, message, warning=True), fields
                )
            return
        self._give_up(job, entry, progress, lost=lost)

    def _cleaned(self, job: CurationJob, entry: AbandonedRun, progress: Cleaning) -> None:
        progress.done = True
        session = progress.session or entry.session
        what = f"Session {session.id}" if session is not None else "Whatever it had created"
        event = Event(EventReason.SESSION_CANCELLED, f"Run {entry.id} is cleaned: {what} is cancelled.")
        self._context.record_event(regarding(job), event, _log_fields(job, entry))

    def _give_up(self, job: CurationJob, entry: AbandonedRun, progress: Cleaning, *, lost: bool) -> None:
        progress.done = True
        self._context.metrics.cleanups_failed.inc()
        bound = "after its namespace was deleted" if lost else "within 10 minutes"
        message = (
            f"Run {entry.id} could not be cleaned {bound} and is given up; its session may still run: {progress.error}"
        )
        fields = _log_fields(job, entry)
        log.error(message, extra=fields)
        self._context.record_event(regarding(job), Event(EventReason.CLEANUP_FAILED, message, warning=True), fields)

    async def _clean_orphan(self, order: Order) -> None:
        started: datetime | None = None
        attempts = 0

        def begun() -> None:
            nonlocal started
            started = started or self._context.clock.now()

        while True:
            report = await self._cancel(order, begun)
            if isinstance(report.result, Cancelled):
                log.info("what run %s had created is cancelled", order.run.id, extra=order.log_fields)
                return
            attempts += 1
            if started is not None and self._context.clock.now() >= started + GIVE_UP_AFTER:
                self._context.metrics.cleanups_failed.inc()
                message = (
                    f"What run {order.run.id} had created could not be cancelled within 10 minutes and is given up; "
                    f"its session may still run: {_error(report)}"
                )
                log.error(message, extra=order.log_fields)
                event = Event(EventReason.CLEANUP_FAILED, message, warning=True)
                self._context.record_event(_regarding_run(order), event, order.log_fields)
                return
            await self._pause(self._backoff(attempts))

    def _backoff(self, attempts: int) -> float:
        """Seconds until the next try, with jitter."""
        ceiling: float = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** (attempts - 1))
        return ceiling * (0.5 + self._sample() / 2)


def _all_answered(entry: AbandonedRun, calls: Calls | None) -> bool:
    """Whether the host saw the answers of all the run's requests; of a run that spawned its session, it did."""
    return entry.session is not None or (calls is not None and calls.left == calls.answered)


def _forget_cleaned(memory: JobMemory, job: CurationJob, wanted: Collection[str]) -> None:
    """Forget the runs that the status of the job no longer names."""
    for run_id in [run_id for run_id, each in memory.cleaning.items() if run_id not in wanted and each.task is None]:
        del memory.cleaning[run_id]
    unfinished = job.status.run is not None and job.status.phase not in (Phase.COMPLETED, Phase.FAILED)
    current = job.status.run.id if job.status.run is not None and unfinished else ""
    for run_id in [run_id for run_id in memory.calls if run_id not in wanted and run_id != current]:
        if not memory.lives(run_id):
            del memory.calls[run_id]


def _entry(job: CurationJob, run_id: str) -> AbandonedRun:
    """What is to be cleaned, one of `runs_to_clean`; of a deleted job's run in flight, what its status says of it."""
    found = next((entry for entry in job.status.abandoned_runs if entry.id == run_id), None)
    if found is not None:
        return found
    run, since = job.status.run, job.metadata.deletion_timestamp
    if run is None or since is None:
        raise LookupError(f"run {run_id} is not to be cleaned")
    return abandoned_entry(run, job.status.session, since)


def _regarding_run(order: Order) -> dict[str, object]:
    """What an Event about a run refers to: its job, which may be gone, and another may have its name."""
    metadata = {"name": order.key.name, "namespace": order.key.namespace, "uid": order.run.uid}
    return {"apiVersion": order.key.kind.api_version, "kind": order.key.kind.kind, "metadata": metadata}


def _log_fields(job: CurationJob, entry: AbandonedRun) -> dict[str, object]:
    run = orders.abandoned_key(job.metadata.uid, entry)
    return run_fields(job.metadata.namespace, job.metadata.name, run, Trigger.CANCEL)


def _error(report: Report) -> str:
    match report.result:
        case Failed(failure, message):
            return f"{failure}: {message}"
        case Denied(_, message):
            return f"the Cancel was denied: {message}"
        case other:
            return f"the module answered Cancel with {type(other).__name__}"
