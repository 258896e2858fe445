"""Finished jobs that are as they should be: a start with many of them works on none, and what is left to do is done."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curation.cluster.resources import JOBS
from curation.pauses import Pauses
from curation.reconciler.jobs import resting
from curation.reconciler.process import lifetime
from curation.reconciler.process.leadership import Leadership
from curation.reconciler.process.lifetime import _waker
from curation.reconciler.runtime.health import Health
from curation.reconciler.runtime.job_index import JobIndex
from curation.reconciler.runtime.result import NOTHING, Result
from tests.unit.reconciler.disconnected import Rig, disconnected, document, key, run_status
from tests.unit.reconciler.virtual_time import in_virtual_time

ABANDONED = {"abandonedRuns": [{"id": "uid-job.g1.a1", "generation": 1, "attempt": 1}]}
LEFT: dict[str, Callable[[], Any]] = {
    "it has a time to live": lambda: finished(spec={"ttlSecondsAfterFinished": 60}),
    "it is deleted": lambda: finished(metadata={"deletionTimestamp": "2026-01-01T00:01:00Z"}),
    "a run of it is to be cleaned": lambda: finished(more=ABANDONED),
    "it was changed": lambda: finished(metadata={"generation": 2}),
    "it runs": lambda: document(status=run_status("Running")),
    "it was submitted": lambda: document(status=run_status("Submitted", holder="other/1")),
    "it is new": lambda: document(),
    "its phase is of another release": lambda: document(status={"phase": "Paused"}),
    "it cannot be read": lambda: document(spec={"timeouts": {"queuedSeconds": "soon"}}, status=run_status("Completed")),
}


def finished(phase: str = "Completed", *, more: Any = None, **changes: Any) -> Any:
    status = run_status(phase) | {"templateDigest": "v1:x", "templateGeneration": 1} | (more or {})
    return document(status=status, **changes)


@pytest.mark.parametrize("phase", ["Completed", "Failed"])
@in_virtual_time
async def test_a_finished_job_that_is_found_is_not_worked_on_until_it_changes(tmp_path: Path, phase: str) -> None:
    async with disconnected(tmp_path) as rig:
        watch(rig)
        rig.context.caches[JOBS].put(finished(phase))
        assert rig.taken() == []
        rig.context.caches[JOBS].put(finished(phase, version=6))
        assert rig.taken() == [key()]


@pytest.mark.parametrize("why", LEFT)
@in_virtual_time
async def test_any_other_job_that_is_found_is_worked_on(tmp_path: Path, why: str) -> None:
    async with disconnected(tmp_path) as rig:
        watch(rig)
        rig.context.caches[JOBS].put(LEFT[why]())
        assert rig.taken() == [key()]


@in_virtual_time
async def test_a_job_is_worked_on_when_it_is_not_known_whether_it_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(resting, "rests", fails)
    async with disconnected(tmp_path) as rig:
        watch(rig)
        rig.context.caches[JOBS].put(finished())
        assert rig.taken() == [key()]


@in_virtual_time
async def test_a_job_that_has_not_finished_is_not_parsed_to_find_out_whether_it_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reconciler parses it, and what that costs its author has chosen."""

    def parsed(*_: object) -> bool:
        raise AssertionError

    monkeypatch.setattr(lifetime, "is_resting", parsed)
    async with disconnected(tmp_path) as rig:
        watch(rig)
        rig.context.caches[JOBS].put(document())
        assert rig.taken() == [key()]


async def test_who_goes_through_very_many_things_leaves_the_event_loop_a_turn_by_time_and_not_by_number() -> None:
    now, turns = 0.0, 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    pauses = Pauses(0.01, lambda: now)
    for _ in range(100):
        await pauses.pause()
    assert turns == 0, "a hundred small ones"
    for _ in range(5):
        now += 0.02
        await pauses.pause()
    assert turns == 5, "five large ones"
    counting.cancel()


@in_virtual_time
async def test_who_begins_to_lead_takes_over_runs_before_it_looks_at_what_has_finished(tmp_path: Path) -> None:
    async with disconnected(tmp_path, workers=1) as rig:
        context, worked, stopping = rig.context, list[str](), asyncio.Event()
        index = JobIndex(context.metrics)
        context.caches[JOBS].listen(index.on_change)
        for number in range(50):
            context.caches[JOBS].put(named(finished(), f"a-{number}"))
        context.caches[JOBS].put(named(finished(spec={"ttlSecondsAfterFinished": 60}), "b"))
        context.caches[JOBS].put(document("c", status=run_status("Submitted", holder="other/1")))

        async def reconcile(worked_on: Any) -> Result:
            worked.append(worked_on.name)
            return NOTHING

        takeover: Any = type("Takeover", (), {})()
        policies: Any = type("Policies", (), {"held": lambda *_: None})()
        context.api.revision = answered_at_once  # type: ignore[method-assign, assignment]
        leading = Leadership(
            context,
            dict.fromkeys(context.caches, reconcile),
            rig.modules,
            takeover,
            policies,
            Health(),
            has_finished=index.has_finished,
            stopping=stopping,
            on_begin=lambda: None,
            on_loss=lambda: None,
            on_lost_history=lambda _: None,
            stop_work=lambda: asyncio.sleep(0),
        )
        await leading._begin()
        await asyncio.sleep(1)
        for worker in leading.workers:
            worker.cancel()
        await asyncio.gather(*leading.workers, return_exceptions=True)
        assert worked == ["c", "b"]


async def answered_at_once(*_: object) -> int:
    return 1


def named(job: Any, name: str) -> Any:
    return {**job, "metadata": {**job["metadata"], "name": name, "uid": f"uid-{name}"}}


def watch(rig: Rig) -> None:
    index = JobIndex(rig.context.metrics)
    rig.context.caches[JOBS].listen(index.on_change)
    rig.context.caches[JOBS].listen(_waker(rig.context, JOBS, index))
