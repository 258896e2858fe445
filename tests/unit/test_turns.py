"""Slots that namespaces share: one that fills its share keeps no other from its turn, and all are given back."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from curation.turns import Turns


class Work:
    """Work that holds its slot until it is told to end."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.running: list[str] = []
        self._ends: list[tuple[str, asyncio.Event]] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def add(self, namespace: str, count: int = 1) -> None:
        self.tasks += [asyncio.create_task(self._hold(namespace)) for _ in range(count)]
        await self.settle()

    async def _hold(self, namespace: str) -> None:
        end = asyncio.Event()
        async with self._turns.turn(namespace):
            self.running.append(namespace)
            self._ends.append((namespace, end))
            try:
                await end.wait()
            finally:
                self.running.remove(namespace)
                self._ends.remove((namespace, end))

    async def end_one(self, namespace: str) -> None:
        next(end for name, end in self._ends if name == namespace).set()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_each_namespace_finds_room_beside_those_that_came_before() -> None:
    work = Work(Turns(16))
    found = []
    for name in ("a", "b", "c", "d"):
        await work.add(name, 100)
        found.append(work.running.count(name))
    assert found == [8, 4, 2, 1]
    assert len(work.running) == 15
    await work.close()


async def test_those_that_wait_are_served_in_turn_by_namespace() -> None:
    turns = Turns(2)
    work = Work(turns)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(turns.turn("first"))
        await stack.enter_async_context(turns.turn("second"))
        for name in ("a", "b"):
            await work.add(name, 3)
        assert work.running == []
    order = []
    await work.settle()
    while work.running:
        order.append(work.running[0])
        await work.end_one(work.running[0])
    assert sorted(order) == ["a"] * 3 + ["b"] * 3
    assert set(order[:2]) == {"a", "b"}
    assert set(order[2:4]) == {"a", "b"}


async def test_what_is_cancelled_gives_its_slot_or_its_place_back() -> None:
    turns = Turns(2)
    work = Work(turns)
    await work.add("a", 2)
    assert work.running == ["a"]
    work.tasks[1].cancel()
    await work.settle()
    await work.add("b")
    assert sorted(work.running) == ["a", "b"]
    await work.close()
    again = Work(turns)
    await again.add("c", 2)
    assert again.running == ["c"], "nothing is held for ever"
    await again.close()


async def test_a_turn_that_comes_in_the_moment_of_the_cancel_is_passed_on() -> None:
    turns = Turns(1)
    work = Work(turns)
    await work.add("a")
    await work.add("b", 1)
    await work.add("c", 1)
    waiting = work.tasks[1]
    work._ends[0][1].set()
    await asyncio.sleep(0)  # the first one ends: the slot is the second one's, who has not woken yet
    assert turns._held["b"] == 1
    waiting.cancel()
    await work.settle()
    assert work.running == ["c"]
    await work.close()


@pytest.mark.parametrize("count", [1, 5])
async def test_an_error_in_the_block_gives_the_slot_back(count: int) -> None:
    turns = Turns(1)
    for _ in range(count):
        with pytest.raises(ValueError, match="broken"):
            async with turns.turn("a"):
                raise ValueError("broken")
    async with asyncio.timeout(10), turns.turn("a"):
        pass


async def test_what_is_cancelled_in_the_moment_of_its_turn_breaks_nothing_and_the_next_one_has_it() -> None:
    turns = Turns(1)
    work = Work(turns)
    for name in ("a", "b", "c"):
        await work.add(name)
    holds, waits, _ = work.tasks
    holds.cancel()
    waits.cancel()  # hears of it once the slot is given back: whoever holds it was told before
    await work.settle()
    assert work.running == ["c"]
    assert [task.cancelled() for task in (holds, waits)] == [True, True]
    await work.close()


async def test_the_first_namespace_comes_before_all_others_each_time() -> None:
    work = Work(Turns(1, first="ours"))
    await work.add("a", 3)
    await work.add("b", 1)
    await work.add("ours", 2)
    order = []
    while work.running:
        order.append(work.running[0])
        await work.end_one(work.running[0])
    assert order == ["a", "ours", "ours", "a", "b", "a"]


async def test_closing_ends_all_waiting_and_no_one_gets_a_slot_any_more() -> None:
    turns = Turns(1)
    work = Work(turns)
    await work.add("a", 2)
    await work.add("b")
    assert turns.waiting == 2
    turns.close()
    await work.end_one("a")
    assert (turns.waiting, work.running) == (0, [])
    assert [task.cancelled() for task in work.tasks] == [False, True, True]
