"""One run of a guest in its own thread: its limits and its log are kept here, its calls are handed on."""

import threading
from collections.abc import Callable
from contextlib import closing
from typing import Protocol

from wasmtime import WasmtimeError

from curation.guests.seam import GuestReport, GuestRun, Refusal, RefusedFor, Unopened, error_document
from curation.wasm.engine import new_store
from curation.wasm.guest import interrupted, run_seated
from curation.wasm.guest_end import GuestEnd, StopCause, Stopped, Trapped
from curation.wasm.host_functions import GuestStopped
from curation.wasm.limits import MAX_REQUEST_BYTES, Limits, LogTail
from curation.wasm.seats import Seats
from curation.wasm.watchdog import GuestWatch, Watchdog


class Caller(Protocol):
    """What the calls of one guest are handed to. Called in the guest's thread, which waits in it."""

    def call(self, number: int, request: bytes, seconds: float) -> tuple[bool, str] | None:
        """The answer; None if there was none within so many seconds. Raises GuestStopped if there will be none."""
        ...

    def refused(self, request: str, refusal: Refusal) -> None:
        """A call was refused here."""
        ...


class GuestThread:
    """One run. `run` is called once, in the guest's thread; `stop` and `abort` may come from any, also before that."""

    def __init__(
        self,
        run: GuestRun,
        caller: Caller,
        seats: Seats,
        watchdog: Watchdog,
        on_no_memory: Callable[[MemoryError], None] = lambda _: None,
    ) -> None:
        """`on_no_memory` hears, in the guest's thread, that a function of its host has found none."""
        self.on_no_memory = on_no_memory
        self._run = run
        self._caller = caller
        self._seats = seats
        self._watchdog = watchdog
        self._lock = threading.Lock()
        self._watch: GuestWatch | None = None
        self._cause: StopCause | None = None
        self.stopped_with: str | None = None
        """What every call is answered from now on; None: they go on."""

    def stop(self, answer: str) -> None:
        """See `seam.Running`."""
        with self._lock:
            if self.stopped_with is not None:
                return
            self.stopped_with = answer
            self._cause = self._cause or StopCause.KILLED
            watch = self._watch
        if watch is not None:
            watch.wake()

    def abort(self) -> None:
        """See `seam.Running`."""
        with self._lock:
            self._cause = StopCause.CLOSED
            watch = self._watch
        if watch is not None:
            watch.abort()

    def run(self) -> GuestReport:
        """Run it to its end. Raises Unopened."""
        run = self._run
        if self._cause is not None:
            return GuestReport(Stopped(self._cause))
        with (
            self._seats.take(run.module) as seat,
            closing(new_store(seat.engine, run.limits)) as store,
            self._watchdog.watch(store, run.limits) as watch,
        ):
            try:
                seat.open()  # it is the run's: it counts against its limits, though it cannot be interrupted
            except WasmtimeError as error:
                raise Unopened(str(error)) from None
            with self._lock:
                self._watch = watch
                if self._cause is not None:
                    return GuestReport(Stopped(self._cause))
            host = _Host(self, self._caller, run.limits, watch)
            end: GuestEnd = run_seated(store, seat, host, run.context, run.limits, run.log_fields)
            if isinstance(end, Trapped) and watch.interruption is not None:
                end = interrupted(watch.interruption, run.limits)
            return GuestReport(end, host.log_tail.text(), host.refused, watch.used(), watch.wall_used)


class _Host:
    """See `wasm.host_functions.Host`."""

    def __init__(self, thread: GuestThread, caller: Caller, limits: Limits, watch: GuestWatch) -> None:
        self._thread = thread
        self._caller = caller
        self._limits = limits
        self._watch = watch
        self._number = 0
        self.log_tail = LogTail()
        self.refused: Refusal | None = None

    def log(self, level: str, message: str) -> None:
        """Keeps the end of what the guest logs."""
        self._go_on()
        try:
            self.log_tail.append(level, message)
        except MemoryError as error:
            self._thread.on_no_memory(error)
            raise

    def http_call(self, request: str) -> tuple[bool, str]:
        """One call of the guest."""
        try:
            return self._called(request)
        except MemoryError as error:
            self._thread.on_no_memory(error)
            raise

    def _called(self, request: str) -> tuple[bool, str]:
        self.refused = None
        self._go_on()
        self._number += 1
        encoded = request.encode()
        self.refused = self._refusal(encoded)
        if self.refused is not None:
            self._caller.refused(request, self.refused)
            answer: tuple[bool, str] | None = (False, self._refused_with(self.refused))
        else:
            with self._watch.waiting():
                answer = self._caller.call(self._number, encoded, self._watch.wall_left)
        self._go_on()
        if answer is None:
            self._watch.abort(StopCause.WALL)
            raise GuestStopped(StopCause.WALL)
        return answer

    def _go_on(self) -> None:
        """Ends a guest that was interrupted here already: it need not come back to its code to trap."""
        if self._watch.wall_left <= 0:
            self._watch.abort(StopCause.WALL)
        if self._watch.interruption is not None:
            raise GuestStopped(self._watch.interruption.cause)

    def _refusal(self, request: bytes) -> Refusal | None:
        if self._number > self._limits.http_calls:
            return Refusal(RefusedFor.HTTP_CALLS, self._number)
        if self._thread.stopped_with is not None:
            return Refusal(RefusedFor.STOPPED)
        if len(request) > MAX_REQUEST_BYTES:
            return Refusal(RefusedFor.REQUEST_SIZE, len(request))
        return None

    def _refused_with(self, refusal: Refusal) -> str:
        hit = refusal.hit(self._limits)
        return error_document("limit", str(hit)) if hit is not None else str(self._thread.stopped_with)
