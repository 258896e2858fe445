"""The work queue keeps client-go's promises: one key at a time, nothing lost, nothing doubled, delays as asked."""

import asyncio
import random
from collections import Counter

import pytest

from curation.reconciler.runtime.queue import ALONE_SECONDS, BASE_DELAY, MAX_DELAY, WorkQueue
from tests.unit.reconciler.virtual_time import in_virtual_time, loop, now


def queue() -> WorkQueue[str]:
    return WorkQueue(monotonic=loop().time)


async def settle() -> None:
    """Let every task that can run do so, without time passing."""
    for _ in range(10):
        await asyncio.sleep(0)


async def stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@in_virtual_time
async def test_a_key_added_twice_before_it_is_taken_is_taken_once() -> None:
    q = queue()
    q.add("a")
    q.add("b")
    q.add("a")
    assert (len(q), await q.get(), await q.get(), len(q)) == (2, "a", "b", 0)


@in_virtual_time
async def test_a_key_is_not_given_to_a_second_worker_while_it_is_worked_on() -> None:
    q = queue()
    q.add("a")
    await q.get()
    q.add("a")
    second = asyncio.create_task(q.get())
    await settle()
    assert not second.done()
    q.done("a")
    assert await second == "a"


@in_virtual_time
async def test_a_key_added_many_times_while_worked_on_is_worked_on_once_more() -> None:
    q = queue()
    q.add("a")
    await q.get()
    for _ in range(5):
        q.add("a")
    q.done("a")
    assert await q.get() == "a"
    q.done("a")
    assert len(q) == 0


@in_virtual_time
async def test_a_key_that_was_not_asked_for_again_is_over_when_it_is_done() -> None:
    q = queue()
    q.add("a")
    await q.get()
    q.done("a")
    assert len(q) == 0


@in_virtual_time
async def test_a_delayed_key_comes_at_its_time() -> None:
    q = queue()
    q.add_after("late", 5)
    q.add_after("early", 2)
    assert await q.get() == "early"
    assert now() == pytest.approx(2)
    assert await q.get() == "late"
    assert now() == pytest.approx(5)


@pytest.mark.parametrize("delays", [(5, 2, 9), (2, 5, 9), (9, 5, 2)])
@in_virtual_time
async def test_of_several_delays_the_earliest_counts_and_only_once(delays: tuple[float, ...]) -> None:
    q = queue()
    for delay in delays:
        q.add_after("a", delay)
    assert await q.get() == "a"
    assert now() == pytest.approx(2)
    q.done("a")
    q.add_after("end", 100)
    assert await q.get() == "end"


@in_virtual_time
async def test_a_delay_of_nothing_is_now() -> None:
    q = queue()
    q.add_after("a", 0)
    q.add_after("b", -3)
    assert (await q.get(), await q.get(), now()) == ("a", "b", 0)


@in_virtual_time
async def test_a_key_whose_delay_ends_while_it_is_worked_on_is_ready_when_it_is_done() -> None:
    q = queue()
    q.add("a")
    await q.get()
    q.add_after("a", 1)
    await asyncio.sleep(2)
    assert len(q) == 0
    q.done("a")
    assert await q.get() == "a"


@in_virtual_time
async def test_the_time_that_a_key_waited_counts_from_when_it_was_ready() -> None:
    waited: list[float] = []

    class Observer:
        def depth(self, depth: int) -> None: ...

        def taken(self, seconds: float) -> None:
            waited.append(seconds)

    q: WorkQueue[str] = WorkQueue(Observer(), loop().time)
    q.add_after("a", 5)
    await asyncio.sleep(8)
    await q.get()
    assert waited == [pytest.approx(3)]


@in_virtual_time
async def test_a_key_that_is_dropped_comes_no_more_and_keeps_no_failures() -> None:
    q = queue()
    q.add_after("a", 5)
    for _ in range(8):
        q.add_rate_limited("a")
    q.drop("a")
    q.add_after("b", 100)
    assert await q.get() == "b"
    before = now()
    q.add_rate_limited("a")
    assert await q.get() == "a"
    assert now() - before <= BASE_DELAY


@in_virtual_time
async def test_work_that_asks_for_a_retry_without_an_exception_backs_off_and_a_success_starts_over() -> None:
    q = queue()
    times: list[float] = []

    async def reconcile(key: str) -> None:
        times.append(now())
        if len(times) != 10:
            q.add_rate_limited(key)
        else:
            q.add_after(key, 1000)

    worker = asyncio.create_task(q.work(reconcile, lambda *_: None))
    q.add("a")
    await asyncio.sleep(2000)
    await stop(worker)
    assert times[9] - times[8] >= BASE_DELAY * 2**8 / 2
    assert times[11] - times[10] <= BASE_DELAY


@in_virtual_time
async def test_failures_back_off_to_a_cap_with_jitter_and_a_success_starts_over() -> None:
    q = queue()
    delays = []
    for _ in range(16):
        before = now()
        q.add_rate_limited("a")
        await q.get()
        q.done("a")
        delays.append(now() - before)
    for failures, delay in enumerate(delays):
        ceiling = min(MAX_DELAY, BASE_DELAY * 2**failures)
        assert 0.5 * ceiling <= delay <= ceiling + 1e-6
    assert delays[-1] >= MAX_DELAY / 2
    assert len({round(delay, 6) for delay in delays[-5:]}) > 1, "capped delays need jitter too"
    q.forget("a")
    before = now()
    q.add_rate_limited("a")
    await q.get()
    assert now() - before <= BASE_DELAY


@in_virtual_time
async def test_the_failures_of_one_key_do_not_delay_another() -> None:
    q = queue()
    for _ in range(10):
        q.add_rate_limited("bad")
        await q.get()
        q.done("bad")
    before = now()
    q.add_rate_limited("good")
    assert await q.get() == "good"
    assert now() - before <= BASE_DELAY


@in_virtual_time
async def test_a_worker_survives_an_exception_and_the_key_is_tried_again() -> None:
    q = queue()
    seen: list[str] = []
    failures: list[tuple[str, str]] = []
    over = asyncio.Event()

    async def reconcile(key: str) -> None:
        seen.append(key)
        if key == "bad" and seen.count("bad") < 3:
            raise ValueError("broken")
        if key == "bad":
            over.set()

    worker = asyncio.create_task(q.work(reconcile, lambda key, error: failures.append((key, str(error)))))
    q.add("bad")
    q.add("good")
    await over.wait()
    await settle()
    assert seen == ["bad", "good", "bad", "bad"]
    assert failures == [("bad", "broken")] * 2
    assert not worker.done()
    await stop(worker)


@in_virtual_time
async def test_a_cancelled_worker_ends_and_gives_its_key_back() -> None:
    q = queue()
    begun = asyncio.Event()

    async def reconcile(_: str) -> None:
        begun.set()
        await asyncio.Event().wait()

    worker = asyncio.create_task(q.work(reconcile, lambda *_: None))
    q.add("a")
    await begun.wait()
    q.add("a")
    await stop(worker)
    assert worker.cancelled()
    assert await q.get() == "a"


@in_virtual_time
async def test_a_worker_that_is_cancelled_while_it_waits_takes_no_key_with_it() -> None:
    q = queue()
    first, second = asyncio.create_task(q.get()), asyncio.create_task(q.get())
    await settle()
    q.add("a")
    first.cancel()  # both were woken; this one must not have taken the key
    assert await second == "a"
    assert first.cancelled()


@pytest.mark.parametrize("seed", range(8))
@in_virtual_time
async def test_under_many_workers_no_request_is_lost_and_no_key_is_worked_on_twice_at_once(seed: int) -> None:
    q, chance = queue(), random.Random(seed)
    keys = [f"key-{number}" for number in range(7)]
    active: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    served: Counter[str] = Counter()  # how many requests each key's last work began after

    async def reconcile(key: str) -> None:
        active[key] += 1
        assert active[key] == 1, f"{key} is worked on twice at once"
        served[key] = asked[key]
        await asyncio.sleep(chance.choice((0, 0, 0.1, 1)))
        active[key] -= 1
        if chance.random() < 0.2:
            raise RuntimeError("fails now and then")

    workers = [asyncio.create_task(q.work(reconcile, lambda *_: None)) for _ in range(5)]
    for _ in range(300):
        key = chance.choice(keys)
        asked[key] += 1
        if chance.random() < 0.5:
            q.add(key)
        else:
            q.add_after(key, chance.random())
        if chance.random() < 0.6:
            await asyncio.sleep(chance.choice((0, 0.05, 0.5)))
    await asyncio.sleep(10 * MAX_DELAY)
    assert served == asked
    assert not any(worker.done() for worker in workers)
    await stop(*workers)
    assert len(q) == 0


@in_virtual_time
async def test_it_has_one_timer_at_most_and_none_once_closed() -> None:
    q = queue()
    for number in range(100):
        q.add_after(f"key-{number}", 100 - number)
    assert len(loop().timers()) == 1
    q.close()
    assert loop().timers() == []


@in_virtual_time
async def test_no_timer_is_left_when_nothing_is_due() -> None:
    q = queue()
    q.add_after("a", 1)
    await q.get()
    assert loop().timers() == []


@in_virtual_time
async def test_delays_that_were_replaced_by_earlier_ones_do_not_pile_up() -> None:
    q = queue()
    for number in range(10_000):
        # A deadline that is computed anew moves by microseconds each time.
        q.add_after("a", 7200 - number * 1e-6)
    assert q.delayed <= 200
    assert await q.get() == "a"
    assert now() == pytest.approx(7200, abs=0.1)


async def test_thousands_of_keys_of_one_namespace_do_not_hold_up_those_of_another() -> None:
    queue: WorkQueue[tuple[str, int]] = WorkQueue(namespace_of=lambda key: key[0])
    for number in range(5000):
        queue.add(("a", number))
    for number in range(3):
        queue.add(("b", number))
    taken = []
    for _ in range(6):
        taken.append(await queue.get())
        queue.done(taken[-1])
        queue.add(("a", len(taken) + 10_000))  # the flood goes on
    assert [key for key in taken if key[0] == "b"] == [("b", 0), ("b", 1), ("b", 2)]
    assert [key for key in taken if key[0] == "a"] == [("a", 0), ("a", 1), ("a", 2)]


async def test_however_many_workers_there_are_those_of_one_namespace_at_once_are_bounded() -> None:
    """Each of them has a request under way: were all of one namespace, a slow server would be slow for the others."""
    queue: WorkQueue[tuple[str, int]] = WorkQueue(namespace_of=lambda key: key[0], of_one=2)
    at_work: list[tuple[str, int]] = []
    ends: dict[tuple[str, int], asyncio.Event] = {}

    async def reconcile(key: tuple[str, int]) -> None:
        at_work.append(key)
        ends[key] = asyncio.Event()
        await ends[key].wait()
        at_work.remove(key)

    async def settle() -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    workers = [asyncio.create_task(queue.work(reconcile, lambda *_: None)) for _ in range(6)]
    for number in range(5000):
        queue.add(("a", number))
    await settle()
    assert at_work == [("a", 0), ("a", 1)]
    queue.add(("b", 0))
    await settle()
    assert at_work == [("a", 0), ("a", 1), ("b", 0)]
    queue.add(("a", 0))  # it comes again while it is worked on
    ends["a", 0].set()
    await settle()
    assert at_work == [("a", 1), ("b", 0), ("a", 2)]
    ends["a", 1].set()
    ends["b", 0].set()
    await settle()
    assert at_work == [("a", 2), ("a", 3)]
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)


class Workers:
    """Those of a queue of keys such as a0, whose first letter is the namespace: of one 2 at a time, of one alone 4."""

    def __init__(self) -> None:
        self.queue: WorkQueue[str] = WorkQueue(
            monotonic=loop().time, namespace_of=lambda key: key[0], of_one=2, alone=4
        )
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks = [asyncio.create_task(self.queue.work(self._reconcile, lambda *_: None)) for _ in range(9)]

    async def _reconcile(self, key: str) -> None:
        self._ends[key] = asyncio.Event()
        await self._ends[key].wait()
        del self._ends[key]

    async def add(self, namespace: str, count: int) -> None:
        for number in range(count):
            self.queue.add(f"{namespace}{number}")
        await settle()

    async def end(self, key: str) -> None:
        self._ends[key].set()
        await settle()

    def at_work(self, namespace: str) -> int:
        return sum(key.startswith(namespace) for key in self._ends)

    async def stop(self) -> None:
        self.queue.close()
        await stop(*self._tasks)


@in_virtual_time
async def test_a_namespace_that_is_alone_may_have_more_workers_until_another_one_has_work() -> None:
    workers = Workers()
    await workers.add("a", 30)
    assert workers.at_work("a") == 4
    await workers.add("b", 1)
    assert (workers.at_work("a"), workers.at_work("b")) == (4, 1)
    for number in range(4):
        await workers.end(f"a{number}")
    assert workers.at_work("a") == 2
    await workers.stop()


@in_virtual_time
async def test_a_namespace_is_not_alone_while_another_one_is_worked_on_however_long() -> None:
    workers = Workers()
    await workers.add("b", 1)
    await workers.add("a", 30)
    await asyncio.sleep(10 * ALONE_SECONDS)
    await workers.end("a0")
    assert workers.at_work("a") == 2
    await asyncio.sleep(ALONE_SECONDS / 2)
    await workers.end("b0")
    assert workers.at_work("a") == 2, "b was worked on until now"
    await asyncio.sleep(ALONE_SECONDS - 0.01)
    assert workers.at_work("a") == 2
    await workers.end("a1")
    assert workers.at_work("a") == 2
    await asyncio.sleep(0.02)
    assert workers.at_work("a") == 4, "nothing was given back, and yet there is room"
    await workers.stop()


@in_virtual_time
async def test_a_key_of_its_own_makes_a_namespace_no_more_alone() -> None:
    workers = Workers()
    await workers.add("b", 1)
    await workers.end("b0")
    await asyncio.sleep(ALONE_SECONDS / 2)
    await workers.add("a", 30)
    assert workers.at_work("a") == 2
    await workers.end("a0")
    await workers.end("a1")
    assert workers.at_work("a") == 2
    await asyncio.sleep(ALONE_SECONDS / 2 + 0.01)
    assert workers.at_work("a") == 4
    await workers.stop()
