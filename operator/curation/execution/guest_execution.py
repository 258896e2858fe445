"""One execution: its module is loaded, its guest is run by whoever runs guests, its calls on the event loop."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from curation.execution.calls import GatedCalls
from curation.execution.guest_calls import GuestCalls
from curation.execution.guest_result import guest_result
from curation.execution.run_document import context_document
from curation.execution.seam import (
    Accepted,
    CallEnd,
    Ended,
    ExecutionRequest,
    Loaded,
    Lost,
    Sink,
    Unsupplied,
    Waiting,
    Word,
)
from curation.execution.unprepared import unprepared
from curation.guests.seam import GuestLost, GuestReport, GuestRun, Running, Unopened
from curation.lifecycle.outcome import Calls, Failed, FailureClass, Report, Result, Trigger
from curation.wasm.guest_end import Returned, StopCause, Stopped
from curation.wasm.module_errors import ModuleLoadError, ModuleUnreadable

if TYPE_CHECKING:
    from curation.execution.in_process import InProcessExecutor

logger = logging.getLogger(__name__)

T = TypeVar("T")


class GuestExecution:
    """An execution that was started, until it is settled."""

    def __init__(self, request: ExecutionRequest, sink: Sink, executor: "InProcessExecutor") -> None:
        self.request = request
        self.sink = sink
        self._executor = executor
        self._guests = executor.guests_of(request)
        self._loop = asyncio.get_running_loop()
        self._dead = False
        self.end: Ended | Lost | None = None
        """What was said of its end; None while it goes on."""
        self._calls_unknown = request.resumed
        """Whether calls may have been made of which nothing was heard yet."""
        self._stopped: StopCause | None = None
        self._why = ""
        self._running: Running | None = None
        self._calls: GatedCalls | None = None
        self._preparing: asyncio.Task[object] | None = None
        """What is waited for before the guest runs."""
        self._log = ""
        self.say(Accepted())
        self.task = asyncio.create_task(self._run(), name=f"execution {request.execution}")

    def say(self, word: Word) -> None:
        """Say it to whoever listens now."""
        self.sink(self.request.execution, word)

    def kill(self, reason: str) -> None:
        """No further request of it leaves; one on the wire is awaited; a spinning guest is interrupted."""
        if self.request.trigger is not Trigger.CANCEL:
            self._stop(StopCause.KILLED, reason)

    def abort(self) -> None:
        """Ends it now, whatever it does: for an executor that closes."""
        self._stop(StopCause.CLOSED, "the operator stops")
        if self.end is None:
            if self._calls is not None:
                self._calls.stop(self._why, cut=True)
            if self._running is not None:
                self._running.abort()

    def _stop(self, cause: StopCause, reason: str) -> None:
        if self.end is not None:
            return
        self._dead = True
        self._stopped = cause
        self._why = self._why or reason
        if self._calls is not None:
            self._calls.stop(reason)
        if self._preparing is not None:
            self._preparing.cancel()
        if self._running is not None and self._calls is not None:
            self._running.stop(self._calls.cancelled().document())

    async def _run(self) -> None:
        started = time.perf_counter()
        self._executor.notify(self.request, lambda observer: observer.on_start(self.request))
        lost: GuestLost | None = None
        result: Result
        try:
            result = await self._result()
            if self._calls_unknown:
                lost = GuestLost(f"it has ended before its pod was heard ({self._why or result})")
        except GuestLost as error:
            lost, result = error, Failed(FailureClass.INTERRUPTED, str(error))
        except Exception as error:
            if isinstance(error, MemoryError):
                self._executor.on_no_memory(error)
            # A bug of ours: a class that is retried.
            logger.exception("execution %s failed inside the operator", self.request.execution, extra=self._fields)
            message = f"the operator failed to execute the module: {type(error).__name__}: {error}"
            result = Failed(FailureClass.MODULE_UNAVAILABLE, message)
            if self._calls is not None:
                self._calls.stop("the execution has ended")
        report = Report(
            trigger=self.request.trigger,
            run=self.request.run,
            result=result,
            calls=self._calls.counts if self._calls is not None else Calls(),
            log=self._log,
            dead=self._dead,
        )
        seconds = time.perf_counter() - started
        self._executor.in_flight -= 1
        self._executor.notify(self.request, lambda observer: observer.on_end(self.request, report, seconds))
        known = None if self._calls_unknown else report.calls
        self.end = Ended(report) if lost is None else Lost(str(lost), known, lost.over_limit)
        self.say(self.end)

    async def _result(self) -> Result:
        try:
            return await self._executed()
        except (ModuleLoadError, ModuleUnreadable, Unsupplied) as error:
            return unprepared(error)

    async def _executed(self) -> Result:
        """Loads the module and runs it to its end, once more from the start if its artifact had been removed."""
        for last_try in (False, True):
            if self._stopped is not None:
                return self._of(GuestReport(Stopped(self._stopped)))
            try:
                # The credentials are with the calls by then.
                return await self._run_guest(await self._until_stopped(self._supply(), "supply"))
            except asyncio.CancelledError:
                if self._stopped is None:
                    raise
                return self._of(GuestReport(Stopped(self._stopped)))
            except Unopened:
                self._executor.store.forget(self.request.module.digest)
                if last_try:
                    raise
        raise AssertionError("the second try returns or raises")

    async def _until_stopped(self, what: Coroutine[Any, Any, T], name: str) -> T:
        """What it gives. A stop cancels it."""
        self._preparing = task = asyncio.create_task(what, name=f"{name} {self.request.execution}")
        try:
            return await task
        finally:
            self._preparing = None

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
        executor = self._executor
        if self._stopped is None:
            await self._have_place()
            try:
                if self._stopped is None:
                    return await self._ran(module)
            finally:
                executor.places.release()
        return self._of(GuestReport(Stopped(self._stopped)))

    async def _have_place(self) -> None:
        """Wait until one more guest may run."""
        executor = self._executor
        full = executor.places.locked()
        if full:
            self.say(Waiting("as many executions as there may be are under way"))
        if self.request.in_pod and not self._guests.is_ready:
            self.say(Waiting("its pod is started"))
        if not full and self._guests.is_ready:
            await executor.take_place(self._guests)  # which is at once
        else:
            await self._until_stopped(executor.take_place(self._guests), "place of")

    async def _ran(self, module: Loaded) -> Result:
        executor, request = self._executor, self.request
        assert self._calls is not None, "it was supplied"
        limits = request.module.limits
        answers = GuestCalls(self._calls, limits, executor.aside, executor.probe)
        context = context_document(request, executor.clock() + timedelta(seconds=limits.wall_seconds))
        self._running = self._guests.start(GuestRun(module, context, limits, self._fields), answers)
        self._calls_unknown = False
        if request.in_pod:
            self.say(Waiting(""))
        try:
            report = await self._running.ended
        finally:
            self._running = None
        self._log = report.log
        if executor.probe is not None:
            executor.probe.on_guest_end(report.end, report.cpu_seconds, report.wall_seconds)
        size = len(report.end.document) if isinstance(report.end, Returned) else 0
        return await executor.aside.do(size, lambda: self._of(report, answers))

    def _of(self, report: GuestReport, answers: GuestCalls | None = None) -> Result:
        last = answers.last(report) if answers is not None else None
        denied = self._calls.last_denied if self._calls else None
        return guest_result(self.request.trigger, report.end, last, denied, self.request.module.limits)

    def _on_call(self, call: CallEnd) -> None:
        self._executor.notify(self.request, lambda observer: observer.on_call(self.request, call))

    @property
    def _fields(self) -> dict[str, object]:
        return self.request.log_fields
