"""The executions of this process: launched after their claim, killed by their fence, each ended by one report.

The fence of each (see `attempt`) is asked on every accepted change of its job, in the same call that receives the
change: a dead fence stops side effects at once. Nothing here waits for an execution: what becomes of it is heard.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

from curation.api.names import Trigger
from curation.cluster.cache import Stored
from curation.cluster.resources import JOBS
from curation.execution.seam import ExecutionRequest, Executor, Lost, Waiting, Word
from curation.lifecycle.outcome import Report
from curation.reconciler.jobs.attempt import Attempt
from curation.reconciler.jobs.completion import Pending
from curation.reconciler.jobs.memory import Memories
from curation.reconciler.jobs.orders import Order
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key, namespace_of
from curation.reconciler.sources.modules import ModuleReconciler
from curation.turns import Turns
from curation.wasm.module_errors import ModuleLoadError, ModuleReason, ModuleUnreadable
from curation.workers.admission import admitted

log = logging.getLogger(__name__)

# Cancels share slots: one that hangs must not hold its own for an hour, which is what a module may set.
CANCEL_WALL_SECONDS: Final = 120
# One namespace alone may hold seven of eight Submit slots: the rest is for those that come later, however long the runs
# of that one hang. With fewer than eight slots it may hold all.
SUBMIT_SHARE: Final = 7
ATTACH_AGAIN_SECONDS: Final = 0.5


class Runs:
    """Launches and follows executions."""

    def __init__(
        self,
        context: Context,
        memories: Memories,
        executor: Executor,
        modules: ModuleReconciler,
    ) -> None:
        self._context = context
        self._memories = memories
        self._executor = executor
        self._modules = modules
        self._under_way: dict[str, tuple[Attempt, Callable[[Attempt, Report], None]]] = {}
        """By execution: its attempt, and what is done with its report."""
        self._unsettled: set[str] = set()
        """Executions that have ended, of which what they came to is still to be settled."""
        self._numbers = count(1)
        self._calmer = asyncio.Event()
        self.on_observation_ended: Callable[[Key], None] = lambda _: None
        """Called when one of the job has ended."""
        self.settles_observation: Callable[[Order, Report], bool] = lambda *_: False
        """Whether nothing follows from an observation that has ended so: then its job need not be worked on."""
        self.closing = False
        """The process stops: no further run is claimed, which it would only abandon."""
        self._closed = False
        self._submit_turns: Turns[Key] = Turns(
            context.settings.max_concurrent_runs, context.wake, namespace_of, share=SUBMIT_SHARE
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
        number = 1 if order.trigger is Trigger.SUBMIT else next(self._numbers)
        attempt = Attempt(order, number)
        self._memories.of(order.key, order.run.uid).attempts.add(attempt)
        return attempt

    def discard(self, attempt: Attempt) -> None:
        """It will not be launched."""
        self._end(attempt)

    def launch(self, attempt: Attempt) -> None:
        """Execute a Submit or Observe attempt; its report becomes a pending completion of its job."""
        self._execute(attempt, self._complete)

    def attach(self, order: Order, version: Stored | None) -> None:
        """Hear of a Submit run that goes on although another process has started it; the job is as this version shows.

        Should that have ended the run, it is stopped, as one of this process would be. While its module is still being
        loaded the job is woken again later.
        """
        attempt = self.begin(order)
        request: ExecutionRequest | Lost
        try:
            request = self._request(attempt)
        except ModuleUnreadable:
            self._end(attempt)
            self._context.wake_after(order.key, ATTACH_AGAIN_SECONDS)
            return
        except ModuleLoadError as error:
            request = Lost(f"it cannot be listened to without its module: {error.message}")
        attempt.slot, attempt.stop = order.in_pod, self._executor.stop
        if order.in_pod:  # else each change of leaders would let a namespace have as many pods again
            self._submit_turns.hold(order.key)
        attempt.launch()
        self._under_way[attempt.execution] = attempt, self._complete
        attempt.on_version(version)
        if isinstance(request, Lost):
            self._hear(attempt.execution, request)
        else:
            # Trap: where the store has the recorded build no more, that is not the present one, which was asked for.
            module = replace(request.module, digest=order.digest)
            self._executor.attach(replace(request, module=module), self._hear)

    async def cancel(self, order: Order, on_begin: Callable[[], None] = lambda: None) -> Report:
        """Execute a Cancel order. The fence does not stop it.

        `on_begin` says that its time counts, once or more: there is memory for it, or nobody knows when there will be.
        """
        attempt, ended = self.begin(order), asyncio.get_running_loop().create_future()

        def end(_: Attempt, report: Report) -> None:
            if not ended.done():  # else whoever waited for it is gone
                ended.set_result(report)

        try:
            need = self._modules.takes(order.key.namespace, order.module, order.digest)
            if not self._context.memory.known:
                on_begin()  # workers may never come, and a deletion must not wait for them for ever
            await admitted(self._context.memory, attempt.execution, order.key.namespace, order.trigger, need)
            on_begin()
            self._execute(attempt, end)
            report: Report = await ended
            return report
        finally:
            self._under_way.pop(attempt.execution, None)
            self._forget(attempt.execution)
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
        self._forget(pending.execution)
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

    def close(self) -> None:
        """Kill what is left; the runs are left to the next holder, and nothing is heard of them any more."""
        self._closed = True
        for memory in self._memories:
            for attempt in tuple(memory.attempts):
                if not attempt.order.in_pod:  # what is in a pod goes on, and the next holder hears of it
                    attempt.kill("the operator stops")

    def _execute(self, attempt: Attempt, end: Callable[[Attempt, Report], None]) -> None:
        attempt.launch()
        self._under_way[attempt.execution] = attempt, end
        try:
            request = self._request(attempt)
        except ModuleLoadError as error:
            self._failed(attempt, error.message, absent=error.reason is ModuleReason.NOT_FOUND)
        except ModuleUnreadable as error:
            self._failed(attempt, f"The module could not be prepared: {error}")
        except Exception as error:
            log.exception("a run could not be prepared", extra=attempt.order.log_fields)
            self._failed(attempt, f"The run could not be prepared: {error!r}")
        else:
            attempt.stop = self._executor.stop
            if attempt.dead:  # while its claim was answered: nothing of it may leave
                self._executor.stop(attempt.execution, attempt.dead)
            self._executor.start(request, self._hear)

    def _failed(self, attempt: Attempt, message: str, *, absent: bool = False) -> None:
        """It could not even be asked for."""
        self._ended(attempt, attempt.fail(message, absent=absent))

    def _hear(self, execution: str, word: Word) -> None:
        """The sink of all executions. Late words, doubled and reordered ones are harmless."""
        if self._closed:
            return
        attempt, _ = self._under_way.get(execution, (None, None))
        if attempt is not None:
            report = attempt.hear(word)
            if attempt.order.in_pod and isinstance(word, Waiting):
                self._context.wake(attempt.order.key)  # its status may be to say so
            if report is not None:
                self._ended(attempt, report)
        elif execution not in self._unsettled:
            self._executor.settled(execution)  # it was settled, and the executor has not heard of that

    def _ended(self, attempt: Attempt, report: Report) -> None:
        _, end = self._under_way.pop(attempt.execution)
        self._context.memory.release(attempt.execution)  # of one that was not even asked for, too
        self._unsettled.add(attempt.execution)
        end(attempt, report)

    def _forget(self, execution: str) -> None:
        self._unsettled.discard(execution)
        self._executor.settled(execution)

    def _complete(self, attempt: Attempt, report: Report) -> None:
        order = attempt.order
        self._end(attempt)
        if order.trigger is Trigger.SUBMIT and attempt.slot:
            self.release(order.key)
        if order.trigger is Trigger.OBSERVE and self.settles_observation(order, report):
            self._forget(attempt.execution)
            return
        memory = self._memories.of(order.key, order.run.uid)
        if order.trigger is Trigger.SUBMIT:
            memory.calls[order.run.id] = report.calls
        memory.inbox.append(Pending(report, order, execution=attempt.execution))
        self._context.wake(order.key)

    def _end(self, attempt: Attempt) -> None:
        order = attempt.order
        self._memories.of(order.key, order.run.uid).attempts.discard(attempt)
        self._calmer.set()
        if order.trigger is Trigger.OBSERVE:
            self.on_observation_ended(order.key)

    def _request(self, attempt: Attempt) -> ExecutionRequest:
        """What is asked of the executor. Raises ModuleLoadError or ModuleUnreadable."""
        order = attempt.order
        build, spec = self._modules.build(order.key.namespace, order.module, order.digest)
        if order.trigger is Trigger.CANCEL:
            wall = min(build.limits.wall_seconds, CANCEL_WALL_SECONDS)
            build = replace(build, limits=replace(build.limits, wall_seconds=wall))
        return ExecutionRequest(
            trigger=order.trigger,
            run=order.run,
            number=attempt.number,
            namespace=order.key.namespace,
            job=order.key.name,
            module=build,
            labels=order.labels,
            input=order.input,
            config=order.config,
            session=order.session,
            credentials=tuple(spec.credentials),
            in_pod=order.in_pod,
        )


@dataclass(frozen=True, slots=True)
class Launch:
    """The effect of a claim that has landed: its run is executed."""

    runs: Runs
    attempt: Attempt

    def carry_out(self, _: Context) -> None:
        """Launch it."""
        order = self.attempt.order
        log.info("launching run %s", order.run.id, extra=order.log_fields)
        self.runs.launch(self.attempt)


@dataclass(frozen=True, slots=True)
class Attach:
    """The effect of a run that goes on somewhere, and that nobody listens to: its end is heard from now on."""

    runs: Runs
    order: Order

    def carry_out(self, context: Context) -> None:
        """Listen to it."""
        key = self.order.key
        log.info("run %s goes on", self.order.run.id, extra=self.order.log_fields)
        self.runs.attach(self.order, context.cache(key).get(key.namespace, key.name))
