"""Interrupts guests that use up their processor or wall time, or that spin on after their run was killed.

One thread for all guests. It sleeps until the earliest moment at which any guest can have used up its allowance (a
thread cannot use more processor time than passes), reads the thread's own processor clock, and either interrupts or
sleeps again. So a busy machine, or a service that is slow to answer, costs a guest nothing of its cpuSeconds.
"""

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from wasmtime import Engine, Store

from curation.wasm.guest_end import StopCause

KILL_GRACE_SECONDS = 0.25
"""Processor time that a killed guest still gets: enough to read the answer it waited for and to return."""

_SHORTEST_NAP = 0.001


class TimeLimits(Protocol):
    """What a watch needs of a run's limits, in seconds."""

    @property
    def cpu_seconds(self) -> float:
        """Processor time of the whole run."""
        ...

    @property
    def wall_seconds(self) -> float:
        """Time of the whole run."""
        ...


@dataclass(frozen=True, slots=True)
class Interruption:
    """An interrupt that was sent, with what the guest had used by then, in seconds."""

    cause: StopCause
    used: float


class WallClock:
    """Replaces the processor clock where threads have none (macOS): wall time, which stops while paused."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._paused_at: float | None = None
        self._paused = 0.0

    def __call__(self) -> float:
        """Seconds that have passed while it was not paused."""
        now = self._paused_at  # one read: the guest's thread may be resuming right now
        return (self._monotonic() if now is None else now) - self._paused

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The guest waits in the host for something that is not its own work."""
        started = self._paused_at = self._monotonic()
        try:
            yield
        finally:
            self._paused += self._monotonic() - started
            self._paused_at = None


def thread_clock() -> Callable[[], float]:
    """A clock of the calling thread's processor time that other threads may read."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return WallClock()
    clock = time.pthread_getcpuclockid(threading.get_ident())
    return lambda: time.clock_gettime(clock)


class GuestWatch:
    """One guest under watch. Made by `Watchdog.watch` in the guest's own thread; kill and abort may come from any."""

    def __init__(self, watchdog: "Watchdog", store: Store, limits: TimeLimits) -> None:
        self._watchdog = watchdog
        self._engine: Engine | None = store.engine
        self._clock = thread_clock()
        self._started = self._clock()
        self._allowance = limits.cpu_seconds
        self._cause = StopCause.CPU
        self._wall_started = time.monotonic()
        self._wall_ends = self._wall_started + limits.wall_seconds
        self._lock = threading.Lock()
        self._over = False
        self.interruption: Interruption | None = None
        """Set once an interrupt was sent; the guest may still have returned before it saw it."""

    @property
    def wall_left(self) -> float:
        """Seconds until the wall limit; negative beyond it."""
        return self._wall_ends - time.monotonic()

    @property
    def wall_used(self) -> float:
        """Seconds since the guest was started."""
        return time.monotonic() - self._wall_started

    def used(self) -> float:
        """Processor seconds that the guest's thread has used, its calls of the host included."""
        return self._clock() - self._started

    def waiting(self) -> AbstractContextManager[None]:
        """Around a wait of the guest's thread in the host: no time of its own passes."""
        return self._clock.paused() if isinstance(self._clock, WallClock) else nullcontext()

    def wake(self) -> None:
        """Leaves the guest the grace of a killed one; if it is still in its code by then, it is interrupted."""
        with self._lock:
            if self._over or self._cause is StopCause.KILLED:
                return
            ends = self.used() + KILL_GRACE_SECONDS
            if ends < self._allowance:
                self._allowance, self._cause = ends, StopCause.KILLED
        self._watchdog.check_after(self)

    def abort(self, cause: StopCause = StopCause.CLOSED) -> None:
        """Interrupts the guest at once, or as soon as it comes back from the host."""
        with self._lock:
            self._interrupt(cause)

    def check(self) -> float | None:
        """Interrupts a guest that is over its allowance; else says in how many seconds to check again."""
        with self._lock:
            if self._over or self.interruption is not None:
                return None
            cpu_left = self._allowance - self.used()
            wall_left = self.wall_left
            if wall_left <= 0:
                self._interrupt(StopCause.WALL)
                return None
            if cpu_left <= 0:
                self._interrupt(self._cause)
                return None
            return max(_SHORTEST_NAP, min(cpu_left, wall_left))

    def end(self) -> None:
        """The guest has ended: nothing touches its engine or its thread's clock from here on."""
        with self._lock:
            self._over = True
            self._engine = None  # the watchdog forgets a guest only when it would have checked it next

    def _interrupt(self, cause: StopCause) -> None:
        if self._engine is None or self.interruption is not None:
            return
        self.interruption = Interruption(cause, self.wall_used if cause is StopCause.WALL else self.used())
        # The store's deadline is one tick away: this is the tick.
        self._engine.increment_epoch()


class Watchdog:
    """The thread that checks the guests. It starts with the first guest and ends with `stop`, which waits for it."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, GuestWatch]] = []
        self._order = itertools.count()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False

    @contextmanager
    def watch(self, store: Store, limits: TimeLimits) -> Iterator[GuestWatch]:
        """Watches a guest of the calling thread, the only one of its engine.

        It takes the store, made by `engine.new_store`, and not the engine: a deadline counts from the epoch at which it
        is set, so an interrupt that came before it would be lost.
        """
        watch = GuestWatch(self, store, limits)
        self.check_after(watch, min(limits.cpu_seconds, limits.wall_seconds))
        try:
            yield watch
        finally:
            watch.end()

    def check_after(self, watch: GuestWatch, delay: float = 0) -> None:
        """Has a guest checked after some seconds."""
        when = time.monotonic() + delay
        with self._wake:
            if self._thread is None and not self._stopped:
                thread = threading.Thread(target=self._run, name="wasm-watchdog", daemon=True)
                thread.start()  # raises where the system has no thread to give: the next guest tries again
                self._thread = thread
            first = not self._heap or when < self._heap[0][0]
            heapq.heappush(self._heap, (when, next(self._order), watch))
            if first:
                self._wake.notify()
        if self._stopped:
            watch.abort()

    def stop(self) -> None:
        """Ends the thread and interrupts whatever is still watched."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
        for _, _, watch in self._heap:
            watch.abort()
        self._heap.clear()

    def _run(self) -> None:
        while True:
            with self._wake:
                if self._stopped:
                    return
                delay = self._heap[0][0] - time.monotonic() if self._heap else None
                if delay is None or delay > 0:
                    self._wake.wait(delay)
                    continue
                watch = heapq.heappop(self._heap)[2]
            again = watch.check()
            if again is not None:
                self.check_after(watch, again)
