"""What is remembered of a job: one record for each object, which goes with it."""

import gc
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curation.api.digest import template_digest
from curation.cluster.resources import JOBS
from curation.lifecycle.outcome import Calls, Trigger
from curation.lifecycle.step import Step
from curation.reconciler.approvals.asking import Approvals
from curation.reconciler.approvals.grants import Grants
from curation.reconciler.jobs import orders
from curation.reconciler.jobs.memory import Memories
from curation.reconciler.jobs.orders import Order
from curation.reconciler.jobs.reconciler import JobReconciler
from curation.reconciler.runtime.job_index import JobIndex
from curation.reconciler.runtime.result import carry_out
from tests.unit.reconciler.disconnected import Rig, disconnected, document, job, key, run_status
from tests.unit.reconciler.virtual_time import in_virtual_time

UID = "uid-job"


def reconciler(rig: Rig) -> JobReconciler:
    context = rig.context
    index = JobIndex(context.metrics)
    context.caches[JOBS].listen(index.on_change)
    context.caches[JOBS].listen(rig.runs.on_change)
    context.caches[JOBS].listen(context.on_change)
    return rig.jobs(Approvals(context, Grants(context, index)))


def names(roots: list[object], text: str) -> Iterator[str]:
    """The containers that hold a string or bytes with this text, reached from the roots."""
    seen: set[int] = set()
    left = list(roots)
    while left:
        found = left.pop()
        # Not what the test itself holds, in its coroutine or at the head of its module.
        if id(found) in seen or isinstance(found, type | types.ModuleType | types.FrameType | types.CoroutineType):
            continue
        seen.add(id(found))
        reached = [found.__closure__] if isinstance(found, types.FunctionType) else gc.get_referents(found)
        for inner in reached:
            if (isinstance(inner, str) and text in inner) or (isinstance(inner, bytes) and text.encode() in inner):
                yield f"{type(found).__name__}: {str(found)[:200]}"
            elif not isinstance(inner, str | bytes | int | float):
                left.append(inner)


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(run_status("Submitted", holder="other/9"), id="another process executes it"),
        pytest.param(run_status("Running"), id="its session is observed"),
        pytest.param({**run_status("Completed"), "abandonedRuns": []}, id="it has finished"),
        pytest.param(None, id="it waits for a module"),
    ],
)
@in_virtual_time
async def test_after_a_job_is_gone_nothing_in_the_process_names_it(tmp_path: Path, status: dict[str, Any]) -> None:
    async with disconnected(tmp_path) as rig:
        jobs = reconciler(rig)
        known = {**status, "templateDigest": template_digest(job().spec)} if status else None
        rig.context.caches[JOBS].put(document(status=known))
        rig.taken()
        carry_out(rig.context, key(), await jobs.reconcile(key()))
        memory = rig.memories.of(key(), UID)
        memory.calls["uid-job.g1.a1"] = Calls(1, 1, 1)
        memory.freed_for = "sha256:uid-job"
        rig.runs.reserve(key())
        assert list(names([rig.__dict__, jobs.__dict__], UID)), "the walk finds what is there"
        rig.context.caches[JOBS].forget("ns", "job", UID)
        rig.runs.release(key())
        carry_out(rig.context, key(), await jobs.reconcile(key()))
        rig.taken()
        # So that a late answer does not bring it back; bounded.
        rig.context.caches[JOBS]._deleted.clear()
        # Written in the background, and bounded: see `EventRecorder`.
        while rig.context.events._queue.qsize():
            rig.context.events._queue.get_nowait()
        assert list(names([rig.__dict__, jobs.__dict__], UID)) == []


@in_virtual_time
async def test_an_object_made_anew_under_the_name_starts_with_nothing(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        first, second = rig.memories.of(key(), UID), rig.memories.of(key(), "uid-2")
        first.freed_for = "sha256:x"
        second.calls["r"] = Calls()
        assert second.freed_for == ""
        rig.memories.forget(key(), "uid-2")
        assert rig.memories.at(key()) == [second]


@in_virtual_time
async def test_what_is_under_way_keeps_its_record_until_it_is_settled(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        found = job(status=run_status("Submitted"))
        assert found.status.run is not None
        attempt = rig.runs.begin(orders.submit(key(), found, found.status.run))
        rig.memories.forget(key(), None)
        (memory,) = rig.memories.at(key())
        assert memory.lives("uid-job.g1.a1")
        assert memory.submits == rig.runs.unsettled == 1
        rig.runs.discard(attempt)
        rig.memories.forget(key(), None)
        assert rig.memories.at(key()) == []
        assert rig.runs.unsettled == 0


def test_a_record_with_nothing_in_it_is_not_kept_though_its_object_is_there() -> None:
    memories = Memories()
    memories.of(key(), UID)
    memories.forget(key(), UID)
    assert list(memories) == []
    memories.of(key(), UID).asked_before = ""
    memories.forget(key(), UID)
    assert len(list(memories)) == 1


@pytest.mark.parametrize("trigger", [Trigger.OBSERVE, Trigger.CANCEL])
@in_virtual_time
async def test_only_submits_hold_up_the_end_of_a_process(tmp_path: Path, trigger: Trigger) -> None:
    async with disconnected(tmp_path) as rig:
        found = job(status=run_status("Running"))
        assert found.status.run is not None
        order = orders.observe(key(), found, found.status.run)
        rig.runs.begin(order if trigger is Trigger.OBSERVE else orders.cancel_orphan(order, None))
        assert rig.runs.unsettled == 0
        assert rig.memories.of(key(), UID).observing is (trigger is Trigger.OBSERVE)


@pytest.mark.parametrize("phase", ["Completed", "Failed"])
@in_virtual_time
async def test_nothing_is_remembered_of_a_job_that_has_finished(tmp_path: Path, phase: str) -> None:
    """Also if it never was Running, and if an approval had freed it: there may be 100,000 of them."""
    async with disconnected(tmp_path) as rig:
        jobs = reconciler(rig)
        digest = {"templateDigest": template_digest(job().spec)}
        submitted = {**run_status("Submitted"), **digest}
        found = job(status=submitted)
        assert found.status.run is not None
        attempt = rig.runs.begin(orders.submit(key(), found, found.status.run))
        rig.context.caches[JOBS].put(document(status=submitted))
        memory = rig.memories.of(key(), UID)
        memory.freed_for = "sha256:x"
        jobs._observation.launched(key(), found)
        carry_out(rig.context, key(), await jobs.reconcile(key()))
        assert (memory.asked_before, memory.freed_for) == ("", "sha256:x")
        rig.runs.discard(attempt)
        rig.context.caches[JOBS].put(document(version=6, status={**run_status(phase), **digest}))
        carry_out(rig.context, key(), await jobs.reconcile(key()))
        assert list(rig.memories) == []


@in_virtual_time
async def test_a_cancel_for_a_job_that_is_gone_leaves_no_record(tmp_path: Path) -> None:
    """Nobody works on its key again."""
    async with disconnected(tmp_path) as rig:
        found = job(status=run_status("Submitted"))
        assert found.status.run is not None
        order = orders.submit(key(), found, found.status.run)
        await rig.runs.cancel(orders.cancel_orphan(order, None))
        assert rig.taken() == []
        assert list(rig.memories) == []


@in_virtual_time
async def test_a_claim_that_cannot_even_be_made_gives_its_slot_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Order:
        raise RecursionError("a bug")

    async with disconnected(tmp_path, max_concurrent_runs=1) as rig:
        jobs, cache, found = reconciler(rig), rig.context.caches[JOBS], job(status=run_status("Submitted"))
        cache.put(document())
        stored, run = cache.get("ns", "job"), found.status.run
        assert stored is not None
        assert run is not None
        assert rig.runs.reserve(key())
        monkeypatch.setattr(orders, "submit", broken)
        with pytest.raises(RecursionError):
            await jobs._claim(key(), stored, found, Step(found.status), run)
        assert rig.runs.reserve(key("next"))
