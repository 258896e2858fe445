"""The holder rule: which run of another process may be abandoned and replaced."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from curation.api.digest import template_digest
from curation.api.job import CurationJob
from curation.cluster.answers import WriteAnswer, Written
from curation.cluster.resources import JOBS
from curation.execution.seam import Held, process_liveness
from curation.lifecycle.outcome import Calls, Liveness
from curation.reconciler.approvals.asking import Approvals
from curation.reconciler.approvals.grants import Grants
from curation.reconciler.jobs import orders
from curation.reconciler.jobs.takeover import Takeover
from curation.reconciler.runtime.job_index import JobIndex
from curation.reconciler.runtime.key import Key
from tests.unit.reconciler.disconnected import Rig, disconnected, document, job, key, run_status
from tests.unit.reconciler.virtual_time import in_virtual_time, loop

WALL = 120.0  # the default of a module that is not known
ALIVE, GONE, UNKNOWN = Liveness


def takeover(rig: Rig, leading_since: int, seconds: list[float] | None = None) -> Takeover:
    """The rule of a process that leads since this version; it is as late as the last of these seconds."""
    clock = loop().time if seconds is None else lambda: seconds[-1]
    made = Takeover(rig.context, rig.memories, rig.executor, rig.modules, clock)
    made.leading_since = leading_since
    return made


def foreign(version: int = 5) -> CurationJob:
    return job(version=version, status=run_status("Submitted", holder="other/9"))


def seen(rule: Takeover, found: CurationJob) -> Liveness:
    rule.see(key(), found)
    return rule.liveness(key(), found)


@pytest.mark.parametrize(
    ("changes", "known", "liveness"),
    [
        ({}, UNKNOWN, UNKNOWN),
        ({}, ALIVE, ALIVE),
        ({}, GONE, GONE),
        ({"own": True}, UNKNOWN, GONE),
        ({"own": True}, ALIVE, ALIVE),
        ({"inherited": True}, UNKNOWN, GONE),
        ({"unchanged": WALL - 0.1}, UNKNOWN, UNKNOWN),
        ({"unchanged": WALL}, UNKNOWN, GONE),
        ({"unchanged": 2 * WALL}, ALIVE, ALIVE),
    ],
)
def test_an_execution_that_ends_with_its_process_is_gone_once_that_is(
    changes: dict[str, Any], known: Liveness, liveness: Liveness
) -> None:
    held = Held(
        **{"execution": "u.g1.a1/Submit/1", "own": False, "inherited": False, "unchanged": 0.0, **changes}, longest=WALL
    )
    assert process_liveness(held, known) is liveness


@in_virtual_time
async def test_a_run_that_was_there_when_this_process_began_to_lead_is_taken_over_at_once(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        assert seen(takeover(rig, 5), foreign(version=5)) is GONE
        assert seen(takeover(rig, 5), foreign(version=6)) is UNKNOWN


@in_virtual_time
async def test_a_run_that_has_ended_here_is_gone_though_its_executor_still_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Job of its pod is there until it is removed; a deleted CurationJob listened to it again and again."""
    async with disconnected(tmp_path) as rig:
        monkeypatch.setattr(rig.executor, "liveness", lambda held: ALIVE)
        rule, ours = takeover(rig, 100), job(status=run_status("Submitted"))
        assert ours.status.run is not None
        assert seen(rule, ours) is ALIVE
        rig.memories.of(key(), ours.metadata.uid).calls[ours.status.run.id] = Calls()
        assert seen(rule, ours) is GONE


@in_virtual_time
async def test_our_own_run_is_gone_once_nothing_of_it_is_under_way_and_one_that_is_over_never(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        rule, ours = takeover(rig, 100), job(status=run_status("Submitted"))
        assert ours.status.run is not None
        assert seen(rule, ours) is GONE
        attempt = rig.runs.begin(orders.submit(key(), ours, ours.status.run))
        assert seen(rule, ours) is ALIVE
        rig.runs.discard(attempt)
        assert seen(rule, ours) is GONE
        assert seen(rule, job(status=run_status("Running", holder="other/9"))) is UNKNOWN
        assert seen(rule, job()) is UNKNOWN


@in_virtual_time
async def test_a_later_run_is_taken_over_once_it_has_not_changed_for_its_wall_limit(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        seconds = [10.0]
        rule = takeover(rig, 1, seconds)
        assert seen(rule, foreign()) is UNKNOWN
        assert rule.look_again(key(), foreign()) == WALL
        seconds.append(10.0 + WALL)
        assert seen(rule, foreign()) is GONE


@in_virtual_time
async def test_every_change_of_the_object_starts_the_wait_anew(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        seconds = [10.0]
        rule = takeover(rig, 1, seconds)
        assert seen(rule, foreign(version=5)) is UNKNOWN
        seconds.append(10.0 + WALL)
        assert seen(rule, foreign(version=6)) is UNKNOWN
        assert rule.look_again(key(), foreign(version=6)) == WALL
        seconds.append(10.0 + 2 * WALL)
        assert seen(rule, foreign(version=6)) is GONE


@in_virtual_time
async def test_a_run_of_which_nothing_was_seen_yet_is_not_taken_over(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        assert takeover(rig, 1, [1000.0]).liveness(key(), foreign()) is UNKNOWN


@in_virtual_time
async def test_before_it_leads_a_process_waits_like_for_a_later_run(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        seconds = [10.0]
        rule = takeover(rig, 0, seconds)
        assert seen(rule, foreign()) is UNKNOWN
        rig.memories.forget(key(), None)
        seconds.append(10.0 + WALL)
        assert seen(rule, foreign()) is UNKNOWN, "a forgotten job is watched from the beginning"


@in_virtual_time
async def test_a_run_of_another_process_is_looked_at_again_when_it_may_be_taken_over_and_then_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        written: list[Any] = []

        async def write_status(_key: Key, version: int, _old: object, new: Any) -> WriteAnswer:
            written.append(new)
            return Written(document(version=version + 1, status=new))

        monkeypatch.setattr(rig.context, "write_status", write_status)
        digest = {"templateDigest": template_digest(job().spec)}
        shown = {**run_status("Submitted", holder="other/9"), **digest}
        rig.context.caches[JOBS].put(document(status=shown, spec={"timeouts": {"submittedSeconds": 86400}}))
        jobs = rig.jobs(Approvals(rig.context, Grants(rig.context, JobIndex(rig.context.metrics))))
        jobs._takeover._monotonic = loop().time
        first = await jobs.reconcile(key())
        assert first.after == pytest.approx(WALL)
        assert written == []
        await asyncio.sleep(WALL)
        await jobs.reconcile(key())
        (status,) = written
        assert [entry["outcome"] for entry in status["history"]] == ["Abandoned"]
