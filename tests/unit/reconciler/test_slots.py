"""Slots: at most so many runs at once, and a slot that is free never waits while a job waits for it."""

import asyncio
import random
from pathlib import Path

import pytest

from curation.lifecycle.outcome import Failed, FailureClass
from curation.reconciler.jobs import orders
from tests.unit.reconciler.disconnected import disconnected, job, key, run_status
from tests.unit.reconciler.virtual_time import in_virtual_time


@in_virtual_time
async def test_no_more_slots_are_given_than_the_settings_allow(tmp_path: Path) -> None:
    async with disconnected(tmp_path, max_concurrent_runs=2) as rig:
        assert [rig.runs.reserve(key(name)) for name in "abc"] == [True, True, False]
        assert rig.taken() == []


@in_virtual_time
async def test_a_freed_slot_is_offered_to_the_job_that_waited_longest(tmp_path: Path) -> None:
    async with disconnected(tmp_path, max_concurrent_runs=1) as rig:
        assert rig.runs.reserve(key("a"))
        assert not rig.runs.reserve(key("b"))
        assert not rig.runs.reserve(key("c"))
        rig.runs.release(key())
        assert rig.taken() == [key("b")]
        assert rig.runs.reserve(key("b"))


@in_virtual_time
async def test_a_newcomer_does_not_overtake_the_job_that_was_offered_the_slot(tmp_path: Path) -> None:
    async with disconnected(tmp_path, max_concurrent_runs=1) as rig:
        assert rig.runs.reserve(key("a"))
        assert not rig.runs.reserve(key("waited"))
        rig.runs.release(key())
        assert not rig.runs.reserve(key("newcomer"))
        assert rig.taken() == [key("waited")]
        assert rig.runs.reserve(key("waited"))
        rig.runs.release(key())
        assert rig.taken() == [key("newcomer")]


@in_virtual_time
async def test_a_job_that_asks_again_keeps_its_place(tmp_path: Path) -> None:
    async with disconnected(tmp_path, max_concurrent_runs=1) as rig:
        rig.runs.reserve(key("a"))
        for name in "bcb":
            assert not rig.runs.reserve(key(name))
        rig.runs.release(key())
        assert rig.taken() == [key("b")]


@in_virtual_time
async def test_a_slot_that_its_job_does_not_take_is_offered_to_the_next(tmp_path: Path) -> None:
    async with disconnected(tmp_path, max_concurrent_runs=1) as rig:
        for name in "abcd":
            rig.runs.reserve(key(name))
        rig.runs.release(key())
        offered = []
        for _ in range(3):
            (woken,) = rig.taken()
            offered.append(woken)
            rig.runs.decline(woken)  # suspended, deleted, or its module is not ready
        assert offered == [key("b"), key("c"), key("d")]
        assert rig.taken() == []


@in_virtual_time
async def test_a_job_that_took_its_slot_passes_none_on(tmp_path: Path) -> None:
    async with disconnected(tmp_path, max_concurrent_runs=1) as rig:
        for name in "abc":
            rig.runs.reserve(key(name))
        rig.runs.release(key())
        (woken,) = rig.taken()
        assert rig.runs.reserve(woken)
        rig.runs.decline(woken)
        assert rig.taken() == []


@in_virtual_time
async def test_a_job_that_was_not_offered_a_slot_passes_none_on(tmp_path: Path) -> None:
    async with disconnected(tmp_path, max_concurrent_runs=1) as rig:
        for name in "ab":
            rig.runs.reserve(key(name))
        rig.runs.decline(key("a"))
        rig.runs.decline(key("stranger"))
        assert rig.taken() == []


@in_virtual_time
async def test_each_of_two_freed_slots_is_offered(tmp_path: Path) -> None:
    async with disconnected(tmp_path, max_concurrent_runs=2) as rig:
        for name in "abcde":
            rig.runs.reserve(key(name))
        rig.runs.release(key())
        rig.runs.release(key())
        assert rig.taken() == [key("c"), key("d")]


@in_virtual_time
async def test_5000_jobs_of_one_namespace_leave_slots_to_others_however_long_its_runs_hang(tmp_path: Path) -> None:
    async with disconnected(tmp_path, max_concurrent_runs=256) as rig:
        assert sum(rig.runs.reserve(key(f"job-{number}")) for number in range(5000)) == 224
        others = [key("quiet")._replace(namespace=f"b{number}") for number in range(10)]
        assert all(rig.runs.reserve(each) for each in others[:5])
        # What the flood gives back is the next one's of its own only once there is room beside the others again.
        rig.runs.release(key())
        assert rig.taken() == []
        for each in others[:5]:
            rig.runs.release(each)
        assert rig.taken() == [key("job-224")]


@in_virtual_time
async def test_a_job_that_is_gone_waits_for_no_slot_and_keeps_none(tmp_path: Path) -> None:
    async with disconnected(tmp_path, max_concurrent_runs=1) as rig:
        for name in "abcd":
            rig.runs.reserve(key(name))
        rig.runs.forget(key("c"))
        rig.runs.release(key("a"))
        assert rig.taken() == [key("b")]
        rig.runs.forget(key("b"))
        assert rig.taken() == [key("d")]


@pytest.mark.parametrize("seed", range(20))
@in_virtual_time
async def test_whatever_jobs_do_with_their_offers_no_slot_stays_free_while_a_job_wants_it(
    seed: int, tmp_path: Path
) -> None:
    """Jobs come, go, are suspended, lose their claim's write, and end, in any order, worked on by three workers."""

    random.seed(seed)  # the queue's own jitter
    async with disconnected(tmp_path, max_concurrent_runs=3) as rig:
        chance, wants, running = random.Random(seed), set[str](), set[str]()
        most = 0

        async def reconcile(woken: object) -> None:
            nonlocal most
            name = str(getattr(woken, "name"))  # noqa: B009
            try:
                await asyncio.sleep(chance.choice((0, 0.01)))
                if name in wants and name not in running and rig.runs.reserve(key(name)):
                    await asyncio.sleep(chance.choice((0, 0.02)))  # the claim is written
                    if chance.random() < 0.3:
                        rig.runs.release(key())  # and was refused
                        rig.queue.add_rate_limited(key(name))
                    else:
                        running.add(name)
                        most = max(most, len(running))
            finally:
                rig.runs.decline(key(name))

        workers = [asyncio.create_task(rig.queue.work(reconcile, lambda *_: None)) for _ in range(3)]
        for step in range(200):
            match chance.choice(("want", "want", "change", "end", "wait")):
                case "want":
                    wants.add(f"job-{step % 11}")
                    rig.queue.add(key(f"job-{step % 11}"))
                case "change" if wants - running:
                    gone = chance.choice(sorted(wants - running))
                    wants.discard(gone)
                    rig.queue.add(key(gone))
                case "end" if running:
                    ended = chance.choice(sorted(running))
                    running.discard(ended)
                    wants.discard(ended)
                    rig.runs.release(key())
                case _:
                    await asyncio.sleep(0.05)
        await asyncio.sleep(1000)
        assert most <= 3
        # A job that was given up while its claim was being written runs all the same: it holds a slot too.
        assert not wants - running or len(running) == 3, f"{wants - running} wait while a slot is free"
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


@in_virtual_time
async def test_a_run_that_cannot_be_prepared_fails_and_gives_its_slot_back(tmp_path: Path) -> None:
    async with disconnected(tmp_path, max_concurrent_runs=1) as rig:
        found = job(status=run_status("Submitted"))
        assert found.status.run is not None
        assert rig.runs.reserve(key())
        assert not rig.runs.reserve(key("next"))
        rig.runs.launch(rig.runs.begin(orders.submit(key(), found, found.status.run)))
        memory = rig.memories.of(key(), "uid-job")
        assert memory.lives("uid-job.g1.a1")
        await asyncio.sleep(1)
        assert set(rig.taken()) == {key(), key("next")}
        (pending,) = rig.runs.pending(key())
        assert pending.report.result == Failed(
            FailureClass.MODULE_UNAVAILABLE, "CurationModule m does not exist in namespace ns; apply it.", absent=True
        )
        assert memory.lives("uid-job.g1.a1"), "its completion is still to be settled"
        rig.runs.settled(key(), pending)
        assert not memory.lives("uid-job.g1.a1")
        await asyncio.wait_for(rig.runs.drained(), 1)
