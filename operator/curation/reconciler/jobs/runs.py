"""The executions of this process: launched after their claim, killed by their fence, each ended by one report.

A live execution is known from the moment its claim is written to the moment its completion is settled. Its fence is
asked on every accepted change of its job, in the same call that receives the change: a dead fence stops side effects
at once, and is dead for good, even if the run seems current again later.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from cachetools import FIFOCache

from curation.api.job import CurationJob
from curation.api.names import FailureClass, Trigger
from curation.cluster.answers import Unreachable
from curation.cluster.cache import Stored
from curation.execution.executor import Execution, Executor, Invocation
from curation.lifecycle.fence import objection
from curation.lifecycle.outcome import Calls, Failed, Report
from curation.reconciler.jobs.completion import Pending
from curation.reconciler.jobs.orders import Order
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key, namespace_of
from curation.reconciler.runtime.unreadable import job_of
from curation.reconciler.sources.module_credentials import CredentialError, ModuleCredentials
from curation.reconciler.sources.modules import ModuleReconciler
from curation.turns import Turns
from curation.wasm.module_errors import ModuleLoadError, ModuleReason, ModuleUnreadable

log = logging.getLogger(__name__)

# Cancels share slots: one that hangs must not hold its own for an hour, which is what a module may set.
CANCEL_WALL_SECONDS: Final = 120
# One namespace alone may hold seven of eight Submit slots: the rest is for those that come later, however long the runs
# of that one hang. With fewer than eight slots it may hold all.
SUBMIT_SHARE: Final = 7
# Needed only until a run is cleaned; one that was forgotten is cleaned twice, which is safe.
REMEMBERED_RUNS: Final = 10_000


@dataclass(eq=False, slots=True)
class LiveExecution:
    """One execution that has not ended."""

    order: Order
    execution: Execution | None = None
    dead: str = ""
    """Why its fence died, if it did."""

    def kill(self, why: str) -> None:
        """From now on nothing that it does counts for the job."""
        if self.dead:
            return
        self.dead = why
        left = 0
        if self.execution is not None:
            self.execution.kill(why)
            left = self.execution.calls.left
        order = self.order
        log.info(
            "run %s has stopped being current: %s; no request of it leaves any more",
            order.run.id,
            why,
            extra={**order.log_fields, "requests_left": left},
        )


class Runs:
    """Launches and follows executions."""

    def __init__(
        self, context: Context, executor: Executor, modules: ModuleReconciler, credentials: ModuleCredentials
    ) -> None:
        self._context = context
        self._executor = executor
        self._modules = modules
        self._credentials = credentials
        self._alive: dict[str, set[LiveExecution]] = {}  # by uid
        self._claiming: dict[str, list[Stored | None]] = {}  # by uid, while a claim is being answered
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending: dict[Key, list[Pending]] = {}
        self._unsettled: set[str] = set()  # run ids of the Submit executions among them
        self._ended: FIFOCache[str, Calls] = FIFOCache(REMEMBERED_RUNS)
        self._calmer = asyncio.Event()
        self.on_observation_ended: Callable[[Key], None] = lambda _: None
        """Called when one of the job has ended."""
        self.closing = False
        """The process stops: no further run is claimed, which it would only abandon."""
        self._submit_turns: Turns[Key] = Turns(
            context.settings.max_concurrent_runs, context.queue.add, namespace_of, share=SUBMIT_SHARE
        )

    # -- slots -------------------------------------------------------------------------------------------------------

    def reserve(self, key: Key) -> bool:
        """Take a slot for a Submit run, or be woken when one is kept for it."""
        return not self.closing and self._submit_turns.take(key)

    def release(self, key: Key) -> None:
        """Give a slot back."""
        self._submit_turns.release(key)

    def decline(self, key: Key) -> None:
        """The key was worked on; a slot that is kept for it and that it did not take is for the next one."""
        self._submit_turns.decline(key)

    def forget(self, key: Key) -> None:
        """The job is gone: it waits for no slot."""
        self._submit_turns.leave(key)

    # -- executions --------------------------------------------------------------------------------------------------

    @contextmanager
    def versions_meanwhile(self, uid: str) -> Iterator[list[Stored | None]]:
        """The versions of a job that arrive while its claim is being answered, for `launch` to check.

        One of them may end the run before the run is known here, and may be reverted by then.
        """
        versions = self._claiming[uid] = []
        try:
            yield versions
        finally:
            del self._claiming[uid]

    def launch(self, order: Order, claimed: int = 0, versions: Sequence[Stored | None] = ()) -> None:
        """Execute a Submit or Observe order; its report becomes a pending completion of its job.

        `claimed` is the resourceVersion of the claim: of the `versions`, older ones say nothing about its run.
        """
        live = self._begin(order)
        for version in versions:
            if version is None or version.uid != order.run.uid:
                self._ask_fence(live, None)
            elif version.resource_version > claimed:
                self._on_version(live, version)

        async def follow() -> None:
            try:
                report = await self._execute(live)
            finally:
                self._end(live)
                if order.trigger is Trigger.SUBMIT:
                    self.release(order.key)
            if order.trigger is Trigger.SUBMIT:
                self._ended[order.run.id] = report.calls
                self._unsettled.add(order.run.id)
            self._pending.setdefault(order.key, []).append(Pending(report, order))
            self._context.queue.add(order.key)

        self._spawn(follow(), order)

    async def cancel(self, order: Order) -> Report:
        """Execute a Cancel order. The fence does not stop it."""
        live = self._begin(order)
        try:
            return await self._execute(live)
        finally:
            self._end(live)

    def on_change(self, old: Stored | None, new: Stored | None) -> None:
        """Listener of the job cache: ask the fence of every execution of this job, now."""
        for known in (old, new):
            if known is not None and known.uid in self._claiming:
                self._claiming[known.uid].append(new)
                break
        if new is not None and new.uid in self._alive:
            for live in tuple(self._alive[new.uid]):
                self._on_version(live, new)
        if old is not None and old.uid in self._alive and (new is None or new.uid != old.uid):
            for live in tuple(self._alive[old.uid]):
                self._ask_fence(live, None)

    def lives(self, uid: str, run_id: str) -> bool:
        """Whether a Submit execution of this run is alive here, or its completion is still to be settled."""
        if any(
            live.order.trigger is Trigger.SUBMIT and live.order.run.id == run_id for live in self._alive.get(uid, ())
        ):
            return True
        return run_id in self._unsettled

    def observing(self, key: Key, uid: str) -> bool:
        """Whether an observation of this job is under way, or its completion is still to be settled."""
        return any(live.order.trigger is Trigger.OBSERVE for live in self._alive.get(uid, ())) or any(
            pending.report.trigger is Trigger.OBSERVE for pending in self._pending.get(key, ())
        )

    def pending(self, key: Key) -> list[Pending]:
        """The completions of a job that are still to be settled, in the order in which they ended."""
        return list(self._pending.get(key, ()))

    def settled(self, key: Key, pending: Pending) -> None:
        """Forget a completion that is settled."""
        if pending.report.trigger is Trigger.SUBMIT:
            self._unsettled.discard(pending.report.run.id)
            self._calmer.set()
        left = [other for other in self._pending.get(key, ()) if other is not pending]
        if left:
            self._pending[key] = left
        else:
            self._pending.pop(key, None)

    def ended(self, run_id: str) -> Calls | None:
        """The calls of a Submit run that ended in this process, if it is remembered."""
        return self._ended.get(run_id)

    @property
    def unsettled(self) -> int:
        """Submit executions and completions that are under way."""
        submits = sum(f.order.trigger is Trigger.SUBMIT for alive in self._alive.values() for f in alive)
        return submits + len(self._unsettled)

    async def drained(self) -> None:
        """Wait until no Submit execution or completion is under way."""
        while self.unsettled:
            self._calmer.clear()
            await self._calmer.wait()

    async def close(self) -> None:
        """Kill what is left; the runs are left to the next holder."""
        for alive in tuple(self._alive.values()):
            for live in tuple(alive):
                live.kill("the operator stops")
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, order: Order) -> LiveExecution:
        live = LiveExecution(order)
        self._alive.setdefault(order.run.uid, set()).add(live)
        return live

    def _end(self, live: LiveExecution) -> None:
        uid = live.order.run.uid
        if live.order.trigger is Trigger.OBSERVE:
            self.on_observation_ended(live.order.key)
        alive = self._alive.get(uid, set())
        alive.discard(live)
        if not alive:
            self._alive.pop(uid, None)

    def _on_version(self, live: LiveExecution, version: Stored) -> None:
        job, fault = job_of(version)
        if fault is None:
            self._ask_fence(live, job)
        elif live.order.trigger is not Trigger.CANCEL:
            live.kill(f"the job cannot be read: {fault}")  # nothing says that it is current

    def _ask_fence(self, live: LiveExecution, job: CurationJob | None) -> None:
        if live.order.trigger is Trigger.CANCEL or live.dead:
            return
        against = objection(job, live.order.run, live.order.trigger)
        if against is not None:
            live.kill(against.message)

    def _spawn(self, work: Coroutine[None, None, None], order: Order) -> None:
        task = asyncio.create_task(work, name=f"{order.trigger} {order.run.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _execute(self, live: LiveExecution) -> Report:
        order = live.order
        try:
            invocation = await self._prepare(order)
        except ModuleLoadError as error:
            report = _unavailable(order, error.message, absent=error.reason is ModuleReason.NOT_FOUND)
        except CredentialError as error:
            report = _unavailable(order, str(error), absent=error.absent)
        except (ModuleUnreadable, Unreachable, OSError) as error:
            report = _unavailable(order, f"The module could not be prepared: {error}")
        except Exception as error:
            log.exception("a run could not be prepared", extra=order.log_fields)
            report = _unavailable(order, f"The run could not be prepared: {error!r}")
        else:
            # The claim may have been superseded while the module was made ready; then nothing may leave.
            live.execution = self._executor.start(invocation)
            if live.dead:
                live.execution.kill(live.dead)
            report = await live.execution.report()
        if live.dead and not report.dead:
            return Report(report.trigger, report.run, report.result, report.calls, report.log, dead=True)
        return report

    async def _prepare(self, order: Order) -> Invocation:
        build, spec = self._modules.build(order.key.namespace, order.module, order.digest)
        if order.trigger is Trigger.CANCEL:
            wall = min(build.limits.wall_seconds, CANCEL_WALL_SECONDS)
            build = replace(build, limits=replace(build.limits, wall_seconds=wall))
        return Invocation(
            trigger=order.trigger,
            run=order.run,
            namespace=order.key.namespace,
            job=order.key.name,
            module=build,
            labels=order.labels,
            input=order.input,
            config=order.config,
            session=order.session,
            credentials=await self._credentials.of(
                order.key.namespace, spec, last_known=order.trigger is Trigger.CANCEL
            ),
        )


def _unavailable(order: Order, message: str, *, absent: bool = False) -> Report:
    return Report(order.trigger, order.run, Failed(FailureClass.MODULE_UNAVAILABLE, message, absent))
