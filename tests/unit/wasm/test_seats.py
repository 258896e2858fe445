"""Seats: what the next guest finds of the one before it (nothing), and which seats are not used again."""

import ctypes
import os
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from wasmtime import WasmtimeError
from wasmtime.component import Component

from curation.wasm.engine import new_engine, new_store
from curation.wasm.guest import interrupted, run_seated
from curation.wasm.guest_end import GuestEnd, Returned, StopCause, Trapped
from curation.wasm.limits import Limits
from curation.wasm.seats import FEW, KEPT, KEPT_BYTES, KEPT_HEAP_BYTES, Seat, Seats
from curation.wasm.watchdog import Watchdog
from tests.guests.wat import Script
from tests.unit.wasm.running import Echo

# It traps if its memory is not as it was made.
FRESH = (
    Script()
    .log("hello")
    .repeat("(if (i32.load (i32.const 2048)) (then unreachable)) (i32.store (i32.const 2048) (i32.const 1))")
)
SPINNING = Script().ends_with("(loop $again (br $again)) unreachable")


class Module:
    """Compiled to a file."""

    def __init__(self, folder: Path, wasm: bytes, digest: str = "sha256:1") -> None:
        self.digest = digest
        self.path = folder / digest.removeprefix("sha256:")
        with new_engine() as engine, Component(engine, wasm) as component:
            self.path.write_bytes(component.serialize())


def run(seat: Seat, host: Echo | None = None) -> GuestEnd:
    seat.open()
    with closing(new_store(seat.engine, Limits())) as store:
        return run_seated(store, seat, host or Echo(), "{}", Limits())


def test_the_next_guest_has_a_memory_and_a_host_of_its_own(tmp_path: Path) -> None:
    seats, module, first, second = Seats(), Module(tmp_path, FRESH.ok({})), Echo(), Echo()
    for host in (first, second):
        with seats.take(module) as seat:
            assert run(seat, host) == Returned(True, "{}")
        module.path.unlink(missing_ok=True)  # it is open
    assert first.lines == second.lines == [("info", "hello")]
    seats.close()


def test_two_guests_at_a_time_have_a_seat_each(tmp_path: Path) -> None:
    seats, module = Seats(), Module(tmp_path, FRESH.ok({}))
    with seats.take(module) as first, seats.take(module) as second:
        assert first.engine is not second.engine
        for seat in (first, second):
            assert isinstance(run(seat), Returned)
    assert len(seats) == 2
    seats.close()
    assert len(seats) == 0


def test_a_guest_that_was_interrupted_stops_no_other_and_its_seat_goes(tmp_path: Path) -> None:
    seats, spinning, other, watchdog = (
        Seats(),
        Module(tmp_path, SPINNING),
        Module(tmp_path, FRESH.ok({}), "sha256:2"),
        Watchdog(),
    )
    with seats.take(other) as seat:
        run(seat)
    with seats.take(spinning) as seat:
        seat.open()
        with closing(new_store(seat.engine, Limits())) as store, watchdog.watch(store, Limits()) as watch:
            watch.abort(StopCause.KILLED)
            end = run_seated(store, seat, Echo(), "{}", Limits())
            assert isinstance(end, Trapped)
            assert watch.interruption is not None
            assert interrupted(watch.interruption, Limits())
    watchdog.stop()
    assert len(seats) == 1
    with seats.take(other) as seat:
        assert isinstance(run(seat), Returned)
    seats.close()


def test_a_seat_that_was_used_up_to_its_tick_serves_the_next_guest(tmp_path: Path) -> None:
    seats, module = Seats(), Module(tmp_path, FRESH.ok({}))
    with seats.take(module) as seat:
        run(seat)
    with seats.take(module) as seat:
        seat.engine.increment_epoch()  # a late interrupt; the next store counts from here
        assert isinstance(run(seat), Returned)
    seats.close()


@pytest.mark.parametrize("end", ["trap", "error of ours"])
def test_a_seat_whose_guest_did_not_return_is_not_used_again(tmp_path: Path, end: str) -> None:
    seats, module = Seats(), Module(tmp_path, Script().ends_with("unreachable"))
    if end == "trap":
        with seats.take(module) as seat:
            assert isinstance(run(seat), Trapped)
    else:
        with pytest.raises(RuntimeError), seats.take(module):
            raise RuntimeError
    assert len(seats) == 0


def test_few_free_seats_are_kept_and_none_of_a_large_module(tmp_path: Path) -> None:
    seats = Seats(most=2)
    for number in range(4):
        with seats.take(Module(tmp_path, FRESH.ok({}), f"sha256:{number}")) as seat:
            run(seat)
    assert len(seats) == 2
    seats.drop("sha256:3")
    assert len(seats) == 1
    large = Module(tmp_path, FRESH.ok({}), "sha256:9")
    os.truncate(large.path, KEPT_BYTES + 1)
    with seats.take(large) as seat:
        run(seat)
    assert len(seats) == 1
    seats.close()


def test_more_than_a_few_are_kept_only_while_the_process_holds_little(tmp_path: Path) -> None:
    seats, module = Seats(), Module(tmp_path, FRESH.ok({}))

    def use(count: int) -> None:
        with ExitStack() as taken:
            for seat in [taken.enter_context(seats.take(module)) for _ in range(count)]:
                run(seat)

    use(KEPT + 1)
    assert len(seats) == KEPT
    held = ctypes.create_string_buffer(KEPT_HEAP_BYTES + 1)
    use(1)
    assert len(seats) == FEW, len(held)
    use(FEW + 1)
    assert len(seats) == FEW
    del held
    use(FEW + 1)
    assert len(seats) == FEW + 1
    seats.close()


def test_a_module_whose_artifact_is_gone_has_no_seat(tmp_path: Path) -> None:
    seats, module = Seats(), Module(tmp_path, FRESH.ok({}))
    module.path.unlink()
    with pytest.raises(WasmtimeError), seats.take(module) as seat:
        seat.open()
    assert len(seats) == 0
