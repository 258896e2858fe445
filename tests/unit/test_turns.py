"""Slots that namespaces share: one that fills its share keeps no other from its turn, and all are given back."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from curation.turns import AwaitedTurns, Rotation, Turns


class Work:
    """Work that holds its slot until it is ended."""

    def __init__(self, turns: AwaitedTurns) -> None:
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
    work = Work(AwaitedTurns(16))
    found = []
    for name in ("a", "b", "c", "d"):
        await work.add(name, 100)
        found.append(work.running.count(name))
    assert found == [8, 4, 2, 1]
    assert len(work.running) == 15
    await work.close()


async def test_those_that_wait_are_served_in_turn_by_namespace() -> None:
    turns = AwaitedTurns(2)
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
    turns = AwaitedTurns(2)
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
    turns = AwaitedTurns(1)
    work = Work(turns)
    await work.add("a")
    await work.add("b", 1)
    await work.add("c", 1)
    waiting = work.tasks[1]
    work._ends[0][1].set()
    await asyncio.sleep(0)  # the first one ends: the slot is the second one's, who has not woken yet
    assert turns.held("b") == 1
    waiting.cancel()
    await work.settle()
    assert work.running == ["c"]
    await work.close()


@pytest.mark.parametrize("count", [1, 5])
async def test_an_error_in_the_block_gives_the_slot_back(count: int) -> None:
    turns = AwaitedTurns(1)
    for _ in range(count):
        with pytest.raises(ValueError, match="broken"):
            async with turns.turn("a"):
                raise ValueError("broken")
    async with asyncio.timeout(10), turns.turn("a"):
        pass


async def test_what_is_cancelled_in_the_moment_of_its_turn_breaks_nothing_and_the_next_one_has_it() -> None:
    turns = AwaitedTurns(1)
    work = Work(turns)
    for name in ("a", "b", "c"):
        await work.add(name)
    holds, waits, _ = work.tasks
    holds.cancel()
    waits.cancel()  # runs once the slot is given back: whoever holds it came before
    await work.settle()
    assert work.running == ["c"]
    assert [task.cancelled() for task in (holds, waits)] == [True, True]
    await work.close()


async def test_the_first_namespace_comes_before_all_others_each_time() -> None:
    work = Work(AwaitedTurns(1, first="ours"))
    await work.add("a", 3)
    await work.add("b", 1)
    await work.add("ours", 2)
    order = []
    while work.running:
        order.append(work.running[0])
        await work.end_one(work.running[0])
    assert order == ["a", "ours", "ours", "a", "b", "a"]


async def test_closing_ends_all_waiting_and_no_one_gets_a_slot_any_more() -> None:
    turns = AwaitedTurns(1)
    work = Work(turns)
    await work.add("a", 2)
    await work.add("b")
    assert turns.waiting == 2
    turns.close()
    await work.end_one("a")
    assert (turns.waiting, work.running) == (0, [])
    assert [task.cancelled() for task in work.tasks] == [False, True, True]


def test_a_rotation_serves_the_namespaces_in_turn_and_each_in_its_order() -> None:
    line: Rotation[str] = Rotation()
    for number in range(5000):
        line.add("a", f"a{number}")
    for number in range(3):
        line.add("b", f"b{number}")
    line.add("a", "a1")  # it waits already, and keeps its place
    line.discard("b", "b1")
    line.discard("c", "unknown")
    assert (len(line), line.count("a"), line.count("b"), line.count("c")) == (5002, 5000, 2, 0)
    taken = [line.pop() for _ in range(5)]
    assert taken == [("a", "a0"), ("b", "b0"), ("a", "a1"), ("b", "b2"), ("a", "a2")]
    assert line.pop(lambda namespace: namespace == "b") is None
    assert len(list(line)) == len(line) == 4997


class Shared:
    """`Turns` whose keys are named after their namespace; who is called is noted."""

    def __init__(self, capacity: int, share: int = 1) -> None:
        self.called: list[str] = []
        self.turns: Turns[str] = Turns(capacity, self.called.append, lambda key: key.split("/")[0], share=share)


def test_a_flood_of_5000_leaves_room_for_each_namespace_that_comes_later() -> None:
    shared = Shared(256, share=7)
    assert sum(shared.turns.take(f"a/{number}") for number in range(5000)) == 224
    assert [shared.turns.take(f"{name}/0") for name in "bcdef"] == [True] * 5
    assert shared.called == []


def test_of_fewer_slots_than_its_share_leaves_one_namespace_may_have_all() -> None:
    for capacity in range(1, 8):
        shared = Shared(capacity, share=7)
        assert sum(shared.turns.take(f"a/{number}") for number in range(20)) == capacity


def test_a_slot_is_kept_for_whom_it_was_called_to_until_it_leaves() -> None:
    shared = Shared(1)
    assert [shared.turns.take(key) for key in ("a/1", "a/2", "b/1")] == [True, False, False]
    shared.turns.release("a/1")
    assert shared.called == ["a/2"]
    assert not shared.turns.take("c/1"), "who comes now overtakes nobody"
    shared.turns.decline("b/1")
    assert shared.turns.waiting == 2, "b/1 was not called, and goes on waiting"
    shared.turns.leave("a/2")
    assert shared.called == ["a/2", "b/1"]
    assert shared.turns.take("b/1")


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_no_slot_stays_free_while_somebody_may_have_it(seed: int) -> None:
    chance = random.Random(seed)
    capacity, share = chance.choice([(1, 1), (2, 1), (7, 1), (8, 7), (3, 7)])
    shared = Shared(capacity, share)
    keys = [f"{name}/{number}" for name in "abcd" for number in range(4)]
    holding: Counter[str] = Counter()
    wanting: set[str] = set()
    for _ in range(500):
        key = chance.choice(keys)
        match chance.choice(("take", "take", "leave", "release", "answer")):
            case "take":
                if shared.turns.take(key):
                    holding[key] += 1
                    wanting.discard(key)
                else:
                    wanting.add(key)
            case "leave":
                shared.turns.leave(key)
                wanting.discard(key)
            case "release" if holding[key]:
                holding[key] -= 1
                shared.turns.release(key)
            case "answer":
                for called in set(shared.called) & wanting:
                    if shared.turns.take(called):
                        holding[called] += 1
                        wanting.discard(called)
                shared.called.clear()
        assert holding.total() <= capacity
        kept = sum(shared.turns.held(name) for name in "abcd") - holding.total()
        assert kept >= 0
        free = capacity - holding.total() - kept
        waits = {key.split("/")[0] for key in wanting - set(shared.called)}
        starved = [name for name in waits if shared.turns.held(name) < share * free and shared.turns.waiting]
        assert not starved or not free, f"{starved} wait, and {free} are free"


async def test_a_coroutine_that_is_cancelled_while_a_slot_is_kept_for_it_passes_it_on() -> None:
    turns = AwaitedTurns(1)
    release = await turns.take("a")
    waiting = [asyncio.create_task(turns.take(name)) for name in ("b", "c")]
    await asyncio.sleep(0)
    release()
    waiting[0].cancel()
    async with asyncio.timeout(10):
        (await waiting[1])()
    assert waiting[0].cancelled()
    assert (turns.held("b"), turns.held("c"), turns.waiting) == (0, 0, 0)


def test_a_slot_is_given_on_without_a_look_at_all_that_wait() -> None:
    looked: list[str] = []

    def namespace_of(key: str) -> str:
        return key

    shared: Turns[str] = Turns(64, lambda _: None, namespace_of, share=7)
    may = shared._may

    def counted(namespace: str) -> bool:
        looked.append(namespace)
        return may(namespace)

    for number in range(5000):
        shared.take(str(number))
    shared._may = counted  # type: ignore[method-assign]
    shared.release("0")
    assert len(looked) < 10
    assert shared.held("64") == 1
