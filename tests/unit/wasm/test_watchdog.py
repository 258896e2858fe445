"""The watchdog interrupts by processor time, by wall time, after a kill, and at a close; and nobody else."""

import threading
import time

import pytest

from curation.wasm.guest_end import Exceeded, GuestEnd, Returned, StopCause, Stopped
from curation.wasm.limits import LimitName, Limits
from curation.wasm.watchdog import GuestWatch, Interruption, WallClock, Watchdog
from tests.guests import hostile
from tests.guests.wat import Script
from tests.unit.wasm.running import Echo, run

LONG = Limits(cpu_seconds=60, wall_seconds=60)


class Waiting(Echo):
    """A host whose call waits until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def http_call(self, request: str) -> tuple[bool, str]:
        super().http_call(request)
        assert self.go_on.wait(60)
        return True, request


class Running:
    """A guest in a thread of its own."""

    def __init__(self, wasm: bytes, watchdog: Watchdog, *, host: Echo | None = None, limits: Limits = LONG) -> None:
        self.ends: list[GuestEnd] = []
        self._started = threading.Event()
        self._watches: list[GuestWatch] = []

        def body() -> None:
            self.ends.append(run(wasm, host=host, limits=limits, watchdog=watchdog, started=self._note))

        self._thread = threading.Thread(target=body)
        self._thread.start()

    def _note(self, watch: GuestWatch) -> None:
        self._watches.append(watch)
        self._started.set()

    @property
    def watch(self) -> GuestWatch:
        assert self._started.wait(60)
        return self._watches[0]

    def end(self) -> GuestEnd:
        self._thread.join(60)
        return self.ends[0]


@pytest.fixture
def watchdog():  # type: ignore[no-untyped-def]
    made = Watchdog()
    yield made
    made.stop()
    assert not any(thread.name == "wasm-watchdog" for thread in threading.enumerate())


def burn(seconds: float) -> None:
    """Uses processor time of the calling thread."""
    ends = time.thread_time() + seconds
    while time.thread_time() < ends:
        pass


def test_waiting_in_the_host_costs_no_processor_time(watchdog: Watchdog) -> None:
    host = Waiting()
    guest = Running(Script().call("{}").answer(), watchdog, host=host, limits=Limits(cpu_seconds=0.3, wall_seconds=60))
    assert host.called.wait(60)
    began = time.monotonic()
    while time.monotonic() < began + 0.5:  # longer than the limit
        time.sleep(0.05)
    host.go_on.set()
    assert guest.end() == Returned(True, "{}")


def test_work_that_a_guest_makes_for_the_host_counts_as_its_own(watchdog: Watchdog) -> None:
    class Busy(Echo):
        def log(self, level: str, message: str) -> None:
            burn(0.02)

    end = run(Script().log("x", times=1000).ok("{}"), host=Busy(), limits=Limits(cpu_seconds=0.2), watchdog=watchdog)
    assert isinstance(end, Exceeded)
    assert end.hit.name is LimitName.CPU_SECONDS


def test_a_spinning_guest_ends_at_its_wall_limit(watchdog: Watchdog) -> None:
    end = run(hostile.spins(), limits=Limits(cpu_seconds=60, wall_seconds=0.2), watchdog=watchdog)
    assert isinstance(end, Exceeded)
    assert end.hit.name is LimitName.WALL_SECONDS


def test_a_killed_guest_that_spins_is_interrupted_long_before_its_limits(watchdog: Watchdog) -> None:
    guest = Running(hostile.spins(), watchdog)
    guest.watch.wake()
    assert guest.end() == Stopped(StopCause.KILLED)


def test_a_killed_guest_that_waits_still_reads_its_answer_and_returns(watchdog: Watchdog) -> None:
    host = Waiting()
    guest = Running(Script().call("{}").answer(), watchdog, host=host)
    assert host.called.wait(60)
    guest.watch.wake()
    host.go_on.set()
    assert guest.end() == Returned(True, "{}")


def test_a_killed_guest_that_spins_after_its_answer_is_interrupted(watchdog: Watchdog) -> None:
    host = Waiting()
    guest = Running(Script().call("{}").ends_with(hostile.SPIN), watchdog, host=host)
    assert host.called.wait(60)
    guest.watch.wake()
    host.go_on.set()
    assert guest.end() == Stopped(StopCause.KILLED)


def test_an_interrupt_reaches_one_guest_and_no_other(watchdog: Watchdog) -> None:
    hosts = [Waiting() for _ in range(3)]
    waiting = [Running(Script().call("{}").answer(), watchdog, host=host) for host in hosts]
    spinning = Running(hostile.spins(), watchdog)
    spinning.watch.abort()
    assert spinning.end() == Stopped(StopCause.CLOSED)
    for host in hosts:
        assert host.called.wait(60)
        host.go_on.set()
    assert [guest.end() for guest in waiting] == [Returned(True, "{}")] * 3


def test_stopping_the_watchdog_interrupts_whom_it_watched() -> None:
    watchdog = Watchdog()
    guest = Running(hostile.spins(), watchdog)
    assert guest.watch.interruption is None
    watchdog.stop()
    assert guest.end() == Stopped(StopCause.CLOSED)


def test_a_guest_that_starts_after_the_watchdog_stopped_is_interrupted_at_once() -> None:
    watchdog = Watchdog()
    watchdog.stop()
    assert run(hostile.spins(), limits=LONG, watchdog=watchdog) == Stopped(StopCause.CLOSED)


def test_a_guest_is_watched_though_no_thread_could_be_started_for_the_one_before(
    watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            run(Script().ok("{}"), limits=LONG, watchdog=watchdog)
    limits = Limits(cpu_seconds=60, wall_seconds=0.2)
    assert isinstance(run(hostile.spins(), limits=limits, watchdog=watchdog), Exceeded)


def test_an_ended_guest_is_never_interrupted(watchdog: Watchdog) -> None:
    guest = Running(Script().ok("{}"), watchdog)
    assert guest.end() == Returned(True, "{}")
    guest.watch.wake()
    guest.watch.abort()
    assert guest.watch.check() is None
    assert guest.watch.interruption is None


def test_the_first_cause_of_an_interrupt_stays(watchdog: Watchdog) -> None:
    guest = Running(hostile.spins(), watchdog)
    guest.watch.abort(StopCause.WALL)
    guest.watch.abort(StopCause.CLOSED)
    end = guest.end()
    assert isinstance(end, Exceeded)
    assert isinstance(guest.watch.interruption, Interruption)
    assert guest.watch.interruption.cause is StopCause.WALL


def test_the_clock_of_a_machine_without_thread_clocks_stops_while_paused() -> None:
    now = 100.0
    clock = WallClock(lambda: now)
    before = clock()
    now += 1
    with clock.paused():
        now += 50
        assert clock() - before == 1
    assert clock() - before == 1
    now += 2
    assert clock() - before == 3
