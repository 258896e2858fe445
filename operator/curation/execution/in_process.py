"""Executes modules in this process: each guest in a thread of a bounded pool, its calls on the event loop.

wasmtime releases the GIL while a guest runs, so threads are enough. A thread is held for as long as its guest lives,
waits for slow services included: the pool's size is the number of runs at a time.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Literal

from wasmtime import WasmtimeError

from curation.execution.calls import GatedCalls
from curation.execution.executor import Authorizer, ExecutionObserver, Invocation, Sender
from curation.execution.guest_host import GuestHost
from curation.execution.guest_result import guest_result
from curation.execution.probe import GuestProbe
from curation.execution.run_document import context_document
from curation.lifecycle.outcome import Calls, Failed, FailureClass, Report, Result, Trigger
from curation.wasm.engine import new_engine, new_store
from curation.wasm.guest import GuestEnd, Stopped, Trapped, interrupted, run_guest
from curation.wasm.module_errors import ModuleLoadError, ModuleReason, ModuleUnreadable
from curation.wasm.store import LoadedModule, ModuleStore
from curation.wasm.watchdog import GuestWatch, StopCause, Watchdog

logger = logging.getLogger(__name__)

MAX_CONCURRENT = 256
"""Default size of the pool."""

MOST_CONCURRENT = 4096
"""wasmtime was measured to take about 5,000 live instances in one process."""


class InProcessExecution:
    """A started invocation; see `executor.Execution`."""

    def __init__(self, invocation: Invocation, executor: "InProcessExecutor") -> None:
        self._invocation = invocation
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._dead = False
        self._ended = False
        self._stopped: StopCause | None = None
        self._watch: GuestWatch | None = None
        self._host: GuestHost | None = None
        self._calls = GatedCalls(invocation, executor.gate, executor.sender, self._on_call)
        self._loading: asyncio.Task[LoadedModule] | None = None
        self._slot: asyncio.Future[Result] | None = None
        self._begun = False
        self.task = asyncio.create_task(self._run(), name=f"execution {invocation.trigger} {invocation.run.id}")

    @property
    def invocation(self) -> Invocation:
        """What was started."""
        return self._invocation

    @property
    def dead(self) -> bool:
        """Its fence died while it ran."""
        return self._dead

    @property
    def calls(self) -> Calls:
        """Its calls so far."""
        return self._calls.counts

    def kill(self, reason: str) -> None:
        """No further request of it leaves; one on the wire is awaited; a spinning guest is interrupted."""
        if self._invocation.trigger is not Trigger.CANCEL:
            self._stop(StopCause.KILLED, reason)

    def abort(self) -> None:
        """Ends it now, whatever it does: for an executor that closes."""
        self._stop(StopCause.CLOSED, "the operator stops")
        if not self._ended:
            self._calls.stop("the operator stops", cut=True)
            if self._watch is not None:
                self._watch.abort()

    async def report(self) -> Report:
        """The one completion."""
        return await asyncio.shield(self.task)

    def _stop(self, cause: StopCause, reason: str) -> None:
        if self._ended:
            return
        # The guest's thread publishes its watch before it reads this: one of the two sees the other.
        self._dead = True
        self._stopped = cause
        self._calls.stop(reason)
        if self._loading is not None:
            self._loading.cancel()
        if self._slot is not None and not self._begun:
            self._slot.cancel()  # waits for a thread; should it have one by now, it sees that it is stopped
        if self._watch is not None:
            self._watch.wake()

    async def _run(self) -> Report:
        started = time.perf_counter()
        self._executor.notify(self._invocation, lambda observer: observer.on_start(self._invocation))
        try:
            result = await self._result()
        except Exception as error:
            # A bug of ours: a class that is retried.
            logger.exception(
                "execution of run %s failed inside the operator",
                self._invocation.run.id,
                extra=self._invocation.log_fields,
            )
            message = f"the operator failed to execute the module: {type(error).__name__}: {error}"
            result = Failed(FailureClass.MODULE_UNAVAILABLE, message)
            # Trap: a pool that can start no thread raises, and runs the guest nevertheless when one is free.
            self._stopped = self._stopped or StopCause.CLOSED
            self._calls.stop("the execution has ended")
        self._ended = True
        report = Report(
            trigger=self._invocation.trigger,
            run=self._invocation.run,
            result=result,
            calls=self._calls.counts,
            log=self._host.log_tail.text() if self._host else "",
            dead=self._dead,
        )
        seconds = time.perf_counter() - started
        self._executor.notify(self._invocation, lambda observer: observer.on_end(self._invocation, report, seconds))
        return report

    async def _result(self) -> Result:
        try:
            return await self._executed()
        except ModuleLoadError as error:
            absent = error.reason is ModuleReason.NOT_FOUND
            return Failed(FailureClass.MODULE_UNAVAILABLE, f"{error.reason}: {error.message}", absent)
        except ModuleUnreadable as error:
            return Failed(FailureClass.MODULE_UNAVAILABLE, str(error))

    def _result_of(self, end: GuestEnd) -> Result:
        last = self._host.last if self._host else None
        return guest_result(
            self._invocation.trigger, end, last, self._calls.last_denied, self._invocation.module.limits
        )

    async def _executed(self) -> Result:
        """Loads the module and runs it to its end, once more from the start if its artifact had been removed."""
        for last_try in (False, True):
            if self._stopped is not None:
                return self._result_of(Stopped(self._stopped))
            try:
                return await self._run_guest(await self._load())
            except asyncio.CancelledError:
                if self._stopped is None:
                    raise
                return self._result_of(Stopped(self._stopped))
            except WasmtimeError:  # only opening the artifact raises it
                self._executor.store.forget(self._invocation.module.digest)
                if last_try:
                    raise
        raise AssertionError("the second try returns or raises")

    async def _load(self) -> LoadedModule:
        build = self._invocation.module
        self._loading = asyncio.create_task(
            self._executor.store.load(build.digest, build.fetch or self._no_bytes, self._invocation.namespace)
        )
        try:
            return await self._loading
        finally:
            self._loading = None

    async def _run_guest(self, module: LoadedModule) -> Result:
        self._slot = self._loop.run_in_executor(self._executor.pool, self._in_thread, module)
        try:
            return await self._slot
        finally:
            self._slot = None

    async def _no_bytes(self) -> bytes:
        build = self._invocation.module
        message = f"the build {build.digest} of module {build.name} is not loaded, and its bytes are no longer known"
        raise ModuleLoadError(ModuleReason.NOT_FOUND, message)

    def _in_thread(self, module: LoadedModule) -> Result:
        end = self._guest(module)
        # Trap: a result that is as long as it may be takes a while to be parsed, which the event loop has not, and
        # while threads hand the GIL to each other the loop waits for all of them: so one at a time.
        with self._executor.concluding:
            return self._result_of(end)

    def _guest(self, module: LoadedModule) -> GuestEnd:
        """In a thread of the pool. Raises WasmtimeError if the artifact is gone, before the guest has begun."""
        self._begun = True
        if self._stopped is not None:
            return Stopped(self._stopped)
        limits = self._invocation.module.limits
        with (
            new_engine() as engine,
            closing(new_store(engine, limits)) as store,
            # Opening the artifact is the run's: it counts against its limits, though it cannot be interrupted.
            self._executor.watchdog.watch(store, limits) as watch,
            module.open(engine) as component,
        ):
            self._watch = watch
            if self._stopped is not None:
                return Stopped(self._stopped)
            self._host = GuestHost(self._loop, self._calls, limits, watch, self._executor.probe)
            deadline = self._executor.clock() + timedelta(seconds=limits.wall_seconds)
            context = context_document(self._invocation, deadline)
            end = run_guest(store, component, self._host, context, limits, self._invocation.log_fields)
            if isinstance(end, Trapped) and watch.interruption is not None:
                end = interrupted(watch.interruption, limits)
            if self._executor.probe is not None:
                self._executor.probe.on_guest_end(end, watch.used(), watch.wall_used)
            return end

    def _on_call(self, decision: Literal["allowed", "denied", "none"], code: str, seconds: float) -> None:
        self._executor.notify(
            self._invocation, lambda observer: observer.on_call(self._invocation, decision, code, seconds)
        )


class InProcessExecutor:
    """Runs at most `max_concurrent` guests at a time; further executions wait for a thread. For one event loop."""

    def __init__(
        self,
        store: ModuleStore,
        gate: Authorizer,
        sender: Sender,
        *,
        max_concurrent: int = MAX_CONCURRENT,
        observer: ExecutionObserver | None = None,
        probe: GuestProbe | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`clock` gives the time that deadlines begin with; it and `probe` are called in the guests' threads.

        Raises ValueError for a `max_concurrent` that cannot be served.
        """
        if not 1 <= max_concurrent <= MOST_CONCURRENT:
            raise ValueError(f"max_concurrent must be 1 to {MOST_CONCURRENT}, not {max_concurrent}")
        self.store = store
        self.gate = gate
        self.sender = sender
        self.clock = clock
        self.probe = probe
        self.watchdog = Watchdog()
        self.pool = ThreadPoolExecutor(max_workers=max_concurrent, thread_name_prefix="wasm-guest")
        self.concluding = threading.Lock()
        self._observer = observer
        self._executions: set[InProcessExecution] = set()
        self._closed = False

    @property
    def in_flight(self) -> int:
        """Executions that have not ended."""
        return len(self._executions)

    def start(self, invocation: Invocation) -> InProcessExecution:
        """Starts at once or as soon as a thread is free. After `close` the execution ends at once, dead."""
        execution = InProcessExecution(invocation, self)
        self._executions.add(execution)
        execution.task.add_done_callback(lambda _: self._executions.discard(execution))
        if self._closed:
            execution.abort()
        return execution

    async def close(self, grace: float) -> None:
        """Kills everything, awaits what is on the wire for at most `grace` seconds, then cuts it. No thread is left."""
        self._closed = True
        for execution in tuple(self._executions):
            execution.kill("the operator stops")
        if self._executions:
            await asyncio.wait([execution.task for execution in self._executions], timeout=grace)
        # Nothing of theirs waits longer than one step now; the loop only makes sure that none is left out.
        while self._executions:
            for execution in tuple(self._executions):
                execution.abort()
            await asyncio.wait([execution.task for execution in self._executions], timeout=0.1)
        # Off the loop: a guest whose execution was cancelled from outside may still wait for this very loop. And in a
        # thread of its own: those of the default executor may all be held by others.
        own = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wasm-pool-end")
        shutdown = asyncio.get_running_loop().run_in_executor(own, self.pool.shutdown)
        own.shutdown(wait=False)  # takes nothing more
        await shutdown
        own.shutdown()  # its thread has nothing left to do
        self.watchdog.stop()

    def notify(self, about: Invocation, what: Callable[[ExecutionObserver], None]) -> None:
        """Notifies the observer, whose failures are its own."""
        if self._observer is None:
            return
        try:
            what(self._observer)
        except Exception:
            logger.exception("an observer of executions failed", extra=about.log_fields)
