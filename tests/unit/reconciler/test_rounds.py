"""One timer for a namespace: what is due at about the same time is called together."""

import itertools
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curation.reconciler.jobs.rounds import Rounds
from tests.unit.reconciler.virtual_time import in_virtual_time, loop, now

Call = tuple[float, list[tuple[str, int]]]


def rounds(calls: list[Call]) -> Rounds[tuple[str, int]]:
    def call(keys: Sequence[tuple[str, int]]) -> None:
        calls.append((now(), list(keys)))

    return Rounds(call, lambda key: key[0], loop().time)


def test_what_may_come_early_comes_with_what_is_due() -> None:
    calls: list[Call] = []

    @in_virtual_time
    async def play() -> None:
        made = rounds(calls)
        made.plan(("a", 1), 10)
        made.plan(("a", 2), 12, early=2)
        made.plan(("a", 3), 13, early=2)
        made.plan(("b", 1), 11)
        await _until(100)
        assert len(made) == 0

    play()
    assert calls == [(10, [("a", 1), ("a", 2)]), (11, [("b", 1)]), (13, [("a", 3)])]


def test_the_last_plan_of_a_key_counts_and_one_that_is_dropped_is_not_called() -> None:
    calls: list[Call] = []

    @in_virtual_time
    async def play() -> None:
        made = rounds(calls)
        made.plan(("a", 1), 10)
        made.plan(("a", 1), 30)
        made.plan(("a", 2), 20)
        made.drop(("a", 2))
        made.plan(("b", 1), 20)
        made.plan(("b", 1), 5)
        made.plan(("c", 1), 5)
        made.drop(("c", 1))
        made.drop(("c", 1))
        await _until(100)
        assert not loop().timers()

    play()
    assert calls == [(5, [("b", 1)]), (30, [("a", 1)])]


def test_there_is_one_timer_for_a_namespace_and_none_once_it_is_closed() -> None:
    @in_virtual_time
    async def play() -> None:
        made = rounds([])
        for place, number in itertools.product(("a", "b"), range(100)):
            made.plan((place, number), 1000 - number)
        assert len(loop().timers()) == 2
        made.close()
        assert not loop().timers()

    play()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.integers(0, 4), st.floats(0, 50), st.floats(0, 5), st.floats(0, 10), st.booleans()
        ),
        max_size=30,
    )
)
def test_each_key_is_called_once_when_it_is_due_and_never_earlier_than_it_may(
    steps: list[tuple[str, int, float, float, float, bool]],
) -> None:
    calls: list[Call] = []
    wanted: dict[tuple[str, int], tuple[float, float]] = {}
    seen = 0

    def compare() -> None:
        nonlocal seen
        for at, keys in calls[seen:]:
            for key in keys:
                may, due = wanted.pop(key)
                assert may - 1e-6 <= at <= due + 1e-6, (key, may, due, at)
        seen = len(calls)

    @in_virtual_time
    async def play() -> None:
        made = rounds(calls)
        for place, number, delay, early, pause, drop in steps:
            key = (place, number)
            if drop:
                made.drop(key)
                wanted.pop(key, None)
            else:
                made.plan(key, now() + delay, early)
                wanted[key] = (now() + delay - early, now() + delay)
            await _until(now() + pause)
            compare()
        await _until(now() + 100)
        compare()
        assert not wanted
        assert len(made) == 0
        assert not loop().timers()

    play()


async def _until(moment: float) -> None:
    reached = loop().create_future()
    loop().call_at(moment, reached.set_result, None)
    await reached


def test_a_wake_looks_at_those_that_are_due_however_many_others_wait() -> None:
    calls: list[Call] = []
    looked_at = 0

    class Watched(int):
        def __hash__(self) -> int:
            nonlocal looked_at
            looked_at += 1
            return int(self)

    @in_virtual_time
    async def play() -> None:
        nonlocal looked_at
        made = rounds(calls)
        for number in range(5000):
            made.plan(("a", Watched(number)), 1000 + number, early=10)
        made.plan(("a", Watched(-1)), 1)
        looked_at = 0
        await _until(2)
        assert looked_at < 50

    play()
    assert calls == [(1, [("a", -1)])]
