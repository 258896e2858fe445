"""The executions of this process: launched after their claim, killed by their fence, each ended by one report.

The fence of each (see `attempt`) is asked on every accepted change of its job, in the same call that receives the
change: a dead fence stops side effects at once.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Final

from curation.api.names import FailureClass, Trigger
from curation.cluster.answers import Unreachable
from curation.cluster.cache import Stored
from curation.cluster.resources import JOBS
from curation.execution.executor import Executor, Invocation
from curation.lifecycle.outcome import Failed, Report
from curation.reconciler.jobs.attempt import Attempt
from curation.reconciler.jobs.completion import Pending
from curation.reconciler.jobs.memory import Memories
from curation.reconciler.jobs.orders import Order
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key, namespace_of
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


class Runs:
    """Launches and follows executions."""

    def __init__(
        self,
        context: Context,
        memories: Memories,
        executor: Executor,
        modules: ModuleReconciler,
        credentials: ModuleCredentials,
    ) -> None:
        self._context = context
        self._memories = memories
        self._executor = executor
        self._modules = modules
        self._credentials = credentials
        self._tasks: set[asyncio.Task[None]] = set()
        self._calmer = asyncio.Event()
        self.on_observation_ended: Callable[[Key], None] = lambda _: None
        """Called when one of the job has ended."""
        self.settles_observation: Callable[[Order, Report], bool] = lambda *_: False
        """Whether nothing follows from an observation that has ended so: then its job need not be worked on."""
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

    def begin(self, order: Order) -> Attempt:
        """An attempt for this order; every version of the job that comes from now on reaches its fence.

        A Submit attempt begins before its claim is sent; then it is launched, or discarded.
        """
        attempt = Attempt(order)
        self._memories.of(order.key, order.run.uid).attempts.add(attempt)
        return attempt

    def discard(self, attempt: Attempt) -> None:
        """It will not be launched."""
        self._end(attempt)

    def launch(self, attempt: Attempt) -> None:
        """Execute a Submit or Observe attempt; its report becomes a pending completion of its job."""
        order = attempt.order
        attempt.launch()

        async def follow() -> None:
            try:
                report = await self._execute(attempt)
            finally:
                self._end(attempt)
                if order.trigger is Trigger.SUBMIT:
                    self.release(order.key)
            if order.trigger is Trigger.OBSERVE and self.settles_observation(order, report):
                return
            memory = self._memories.of(order.key, order.run.uid)
            if order.trigger is Trigger.SUBMIT:
                memory.calls[order.run.id] = report.calls
            memory.inbox.append(Pending(report, order))
            self._context.queue.add(order.key)

        self._spawn(follow(), order)

    async def cancel(self, order: Order) -> Report:
        """Execute a Cancel order. The fence does not stop it."""
        attempt = self.begin(order)
        attempt.launch()
        try:
            return await self._execute(attempt)
        finally:
            self._end(attempt)
            self._memories.tidy(order.key, order.run.uid)

    def on_change(self, old: Stored | None, new: Stored | None) -> None:
        """Listener of the job cache: ask the fence of every execution of this job, now."""
        known = new or old
        assert known is not None
        for memory in self._memories.at(Key(JOBS, known.namespace, known.name)):
            for attempt in tuple(memory.attempts):
                attempt.on_version(new)

    def pending(self, key: Key) -> list[Pending]:
        """The completions of a job that are still to be settled, in the order in which they ended."""
        return [pending for memory in self._memories.at(key) for pending in memory.inbox]

    def settled(self, key: Key, pending: Pending) -> None:
        """Forget a completion that is settled."""
        memory = self._memories.of(key, pending.order.run.uid)
        memory.inbox = [other for other in memory.inbox if other is not pending]
        self._calmer.set()

    @property
    def unsettled(self) -> int:
        """Submit executions and completions that are under way."""
        return sum(memory.submits for memory in self._memories if memory.attempts or memory.inbox)

    async def drained(self) -> None:
        """Wait until no Submit execution or completion is under way."""
        while self.unsettled:
            self._calmer.clear()
            await self._calmer.wait()

    async def close(self) -> None:
        """Kill what is left; the runs are left to the next holder."""
        for memory in self._memories:
            for attempt in tuple(memory.attempts):
                attempt.kill("the operator stops")
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _end(self, attempt: Attempt) -> None:
        order = attempt.order
        self._memories.of(order.key, order.run.uid).attempts.discard(attempt)
        self._calmer.set()
        if order.trigger is Trigger.OBSERVE:
            self.on_observation_ended(order.key)

    def _spawn(self, work: Coroutine[None, None, None], order: Order) -> None:
        task = asyncio.create_task(work, name=f"{order.trigger} {order.run.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _execute(self, attempt: Attempt) -> Report:
        order = attempt.order
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
            execution = self._executor.start(invocation)
            attempt.start(execution)
            report = await execution.report()
        if attempt.dead and not report.dead:
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
