"""The server's clock from Date headers, which are cut to whole seconds.

Matrix: offset ahead, behind, none; few and many answers; a slow answer among fast ones; a step of a clock; rubbish.
"""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.cluster.clock import ServerClock

EPOCH = 1_800_000_000.0


class World:
    """A local monotonic clock, and a server whose clock is off by `ahead` seconds."""

    def __init__(self, ahead: float) -> None:
        self.mono = 100.0
        self.ahead = ahead
        self.clock = ServerClock(wall=lambda: EPOCH + self.mono, monotonic=lambda: self.mono)

    @property
    def server_time(self) -> float:
        return EPOCH + self.mono + self.ahead

    def ask(self, there: float = 0.002, back: float = 0.002) -> None:
        sent = self.mono
        self.mono += there
        header = formatdate(int(self.server_time), usegmt=True)
        self.mono += back
        self.clock.observe(header, sent, self.mono)

    def error(self) -> float:
        return self.clock.now().timestamp() - self.server_time


def test_before_the_first_answer_it_is_the_local_wall_clock() -> None:
    world = World(ahead=0)
    assert world.error() == pytest.approx(0, abs=1e-3)
    assert world.clock.uncertainty == float("inf")


@pytest.mark.parametrize("ahead", [0.0, 0.4, 37.9, -3600.25])
def test_one_answer_shows_the_offset_to_half_a_second(ahead: float) -> None:
    world = World(ahead)
    world.ask()
    assert abs(world.error()) <= 0.51
    assert world.clock.uncertainty <= 0.51


@pytest.mark.parametrize("ahead", [0.0, 0.4, 0.999, 37.9, -3600.25])
def test_many_answers_show_it_to_a_round_trip_without_bias(ahead: float) -> None:
    world = World(ahead)
    for _ in range(300):
        world.mono += 0.0173
        world.ask()
    assert abs(world.error()) <= 0.02
    assert world.clock.uncertainty <= 0.02


@given(
    st.floats(-1e5, 1e5),
    st.lists(st.tuples(st.floats(0, 5), st.floats(0, 3), st.floats(0, 3)), min_size=1, max_size=30),
)
def test_the_truth_is_always_within_the_uncertainty(ahead: float, asked: list[tuple[float, float, float]]) -> None:
    world = World(ahead)
    for pause, there, back in asked:
        world.mono += pause
        world.ask(there, back)
    assert abs(world.error()) <= world.clock.uncertainty + 1e-3


def test_one_slow_answer_does_not_blur_what_is_known() -> None:
    world = World(ahead=5.3)
    for _ in range(300):
        world.mono += 0.0173
        world.ask()
    before = world.clock.uncertainty
    world.ask(there=0.0, back=8.0)
    assert world.clock.uncertainty <= before + 0.005
    assert abs(world.error()) <= 0.02


def test_a_step_of_the_server_clock_is_followed_by_the_next_answer() -> None:
    world = World(ahead=0)
    for _ in range(100):
        world.mono += 0.05
        world.ask()
    world.ahead = 60.0
    world.ask()
    assert abs(world.error()) <= 0.51


def test_it_never_goes_back_while_it_learns() -> None:
    for ahead in (0.05, 0.5, 0.95):
        world = World(ahead)
        times = []
        for _ in range(200):
            world.mono += 0.011
            world.ask()
            times.append(world.clock.now())
        assert times == sorted(times)
        assert abs(world.error()) <= 0.02


def test_a_server_that_is_set_back_is_followed() -> None:
    world = World(ahead=100.0)
    world.ask()
    world.clock.now()
    world.ahead = 0.0
    world.ask()
    assert abs(world.error()) <= 0.51


@pytest.mark.parametrize("header", [None, "", "yesterday", "Tue, 99 Foo 2026 00:00:00 GMT"])
def test_a_missing_or_broken_header_changes_nothing(header: str | None) -> None:
    world = World(ahead=0)
    world.clock.observe(header, world.mono, world.mono)
    assert world.clock.uncertainty == float("inf")


def test_it_gives_aware_utc_times() -> None:
    assert World(ahead=0).clock.now().utcoffset() is not None
