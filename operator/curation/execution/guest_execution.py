"""One execution in this process: its module is loaded, its guest runs in a thread, its calls on the event loop."""

import asyncio
import logging
import time
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

from wasmtime import WasmtimeError

from curation.execution.calls import GatedCalls
from curation.execution.guest_host import GuestHost
from curation.execution.guest_result import guest_result
from curation.execution.run_document import context_document
from curation.execution.seam import Accepted, CallEnd, Ended, ExecutionRequest, Loaded, Sink, Unsupplied, Waiting, Word
from curation.execution.unprepared import unprepared
from curation.lifecycle.outcome import Calls, Failed, FailureClass, Report, Result, Trigger
from curation.wasm.engine import new_store
from curation.wasm.guest import GuestEnd, Stopped, Trapped, interrupted, run_seated
from curation.wasm.module_errors import ModuleLoadError, ModuleUnreadable
from curation.wasm.watchdog import GuestWatch, StopCause

if TYPE_CHECKING:
    from curation.execution.in_process import InProcessExecutor

logger = logging.getLogger(__name__)


class GuestExecution:
    """An execution that was started, until it is settled."""

    def __init__(self, request: ExecutionRequest, sink: Sink, executor: "InProcessExecutor") -> None:
        self.request = request
        self.sink = sink
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._dead = False
        self.report: Report | None = None
        """What it ended with, once it has."""
        self._stopped: StopCause | None = None
        self._why = ""
        self._watch: GuestWatch | None = None
        self._host: GuestHost | None = None
        self._calls: GatedCalls | None = None
        self._supplying: asyncio.Task[Loaded] | None = None
        self._slot: asyncio.Future[Result] | None = None
        self._begun = False
        self.say(Accepted())
        self.task = asyncio.create_task(self._run(), name=f"execution {request.execution}")

    def say(self, word: Word) -> None:
        """Say it to whoever listens now."""
        self.sink(self.request.execution, word)

    @property
    def end(self) -> Ended | None:
        """What was said of its end; None while it goes on."""
        return Ended(self.report) if self.report is not None else None

    def kill(self, reason: str) -> None:
        """No further request of it leaves; one on the wire is awaited; a spinning guest is interrupted."""
        if self.request.trigger is not Trigger.CANCEL:
            self._stop(StopCause.KILLED, reason)

    def abort(self) -> None:
        """Ends it now, whatever it does: for an executor that closes."""
        self._stop(StopCause.CLOSED, "the operator stops")
        if self.report is None:
            if self._calls is not None:
                self._calls.stop(self._why, cut=True)
            if self._watch is not None:
                self._watch.abort()

    def _stop(self, cause: StopCause, reason: str) -> None:
        if self.report is not None:
            return
        # The guest's thread publishes its watch before it reads this: one of the two sees the other.
        self._dead = True
        self._stopped = cause
        self._why = self._why or reason
        if self._calls is not None:
            self._calls.stop(reason)
        if self._supplying is not None:
            self._supplying.cancel()
        if self._slot is not None and not self._begun:
            self._slot.cancel()  # waits for a thread; should it have one by now, it sees that it is stopped
        if self._watch is not None:
            self._watch.wake()

    async def _run(self) -> None:
        started = time.perf_counter()
        self._executor.notify(self.request, lambda observer: observer.on_start(self.request))
        try:
            result = await self._result()
        except Exception as error:
            if isinstance(error, MemoryError):
                self._executor.on_no_memory(error)
            # A bug of ours: a class that is retried.
            logger.exception("execution %s failed inside the operator", self.request.execution, extra=self._fields)
            message = f"the operator failed to execute the module: {type(error).__name__}: {error}"
            result = Failed(FailureClass.MODULE_UNAVAILABLE, message)
            # Trap: a pool that can start no thread raises, and runs the guest nevertheless when one is free.
            self._stopped = self._stopped or StopCause.CLOSED
            if self._calls is not None:
                self._calls.stop("the execution has ended")
        report = self.report = Report(
            trigger=self.request.trigger,
            run=self.request.run,
            result=result,
            calls=self._calls.counts if self._calls is not None else Calls(),
            log=self._host.log_tail.text() if self._host else "",
            dead=self._dead,
        )
        seconds = time.perf_counter() - started
        self._executor.in_flight -= 1
        self._executor.notify(self.request, lambda observer: observer.on_end(self.request, report, seconds))
        self.say(Ended(report))

    async def _result(self) -> Result:
        try:
            return await self._executed()
        except (ModuleLoadError, ModuleUnreadable, Unsupplied) as error:
            return unprepared(error)

    async def _executed(self) -> Result:
        """Loads the module and runs it to its end, once more from the start if its artifact had been removed."""
        for last_try in (False, True):
            if self._stopped is not None:
                return self._result_of(Stopped(self._stopped))
            try:
                module = await self._supplied()
                if self._stopped is not None:  # else it would wait for a thread first
                    return self._result_of(Stopped(self._stopped))
                return await self._run_guest(module)
            except asyncio.CancelledError:
                if self._stopped is None:
                    raise
                return self._result_of(Stopped(self._stopped))
            except WasmtimeError:  # only opening the artifact raises it
                self._executor.store.forget(self.request.module.digest)
                if last_try:
                    raise
        raise AssertionError("the second try returns or raises")

    async def _supplied(self) -> Loaded:
        """The module; the credentials are with the calls by then. A stop cancels it."""
        self._supplying = asyncio.create_task(self._supply(), name=f"supply {self.request.execution}")
        try:
            return await self._supplying
        finally:
            self._supplying = None

    async def _supply(self) -> Loaded:
        executor, request = self._executor, self.request
        credentials = await executor.supplies.credentials(request) if request.credentials else ()
        if self._calls is None:
            self._calls = GatedCalls(
                request,
                credentials,
                executor.gate,
                executor.sender,
                self._on_call,
                self.say,
                executor.fence_of(request),
            )
        if not executor.store.has(request.module.digest):
            self.say(Waiting("the module is loaded"))
        return await executor.store.load(
            request.module.digest, lambda: executor.supplies.wasm(request), request.namespace
        )

    async def _run_guest(self, module: Loaded) -> Result:
        if self._executor.is_full:
            self.say(Waiting("as many executions as there may be are under way"))
        self._slot = self._loop.run_in_executor(self._executor.pool, self._in_thread, module)
        try:
            return await self._slot
        finally:
            self._slot = None

    def _result_of(self, end: GuestEnd) -> Result:
        last = self._host.last if self._host else None
        denied = self._calls.last_denied if self._calls else None
        return guest_result(self.request.trigger, end, last, denied, self.request.module.limits)

    def _in_thread(self, module: Loaded) -> Result:
        end = self._guest(module)
        # Trap: a result that is as long as it may be takes a while to be parsed, which the event loop has not, and
        # while threads hand the GIL to each other the loop waits for all of them: so one at a time.
        with self._executor.concluding:
            return self._result_of(end)

    def _guest(self, module: Loaded) -> GuestEnd:
        """In a thread of the pool. Raises WasmtimeError if the artifact is gone, before the guest has begun."""
        self._begun = True
        if self._stopped is not None:
            return Stopped(self._stopped)
        assert self._calls is not None, "it was supplied"
        limits, executor = self.request.module.limits, self._executor
        with (
            executor.seats.take(module) as seat,
            closing(new_store(seat.engine, limits)) as store,
            executor.watchdog.watch(store, limits) as watch,
        ):
            self._watch = watch
            seat.open()  # it is the run's: it counts against its limits, though it cannot be interrupted
            if self._stopped is not None:
                return Stopped(self._stopped)
            self._host = GuestHost(self._loop, self._calls, limits, watch, executor.probe)
            deadline = executor.clock() + timedelta(seconds=limits.wall_seconds)
            context = context_document(self.request, deadline)
            end = run_seated(store, seat, self._host, context, limits, self._fields)
            if isinstance(end, Trapped) and watch.interruption is not None:
                end = interrupted(watch.interruption, limits)
            if executor.probe is not None:
                executor.probe.on_guest_end(end, watch.used(), watch.wall_used)
            return end

    def _on_call(self, call: CallEnd) -> None:
        self._executor.notify(self.request, lambda observer: observer.on_call(self.request, call))

    @property
    def _fields(self) -> dict[str, object]:
        return self.request.log_fields
