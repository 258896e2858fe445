"""The holder rule: which run of another process may be abandoned and replaced."""

from pathlib import Path

from curation.api.job import CurationJob
from curation.reconciler.jobs.takeover import Takeover
from tests.unit.reconciler.disconnected import Rig, disconnected, job, key, run_status
from tests.unit.reconciler.virtual_time import in_virtual_time, loop, now

WALL = 120.0  # the default of a module that is not known


def takeover(rig: Rig, leading_since: int) -> Takeover:
    made = Takeover(rig.context, rig.memories, rig.modules, loop().time)
    made.leading_since = leading_since
    return made


def foreign(version: int = 5) -> CurationJob:
    return job(version=version, status=run_status("Submitted", holder="other/9"))


@in_virtual_time
async def test_a_run_that_was_there_when_this_process_began_to_lead_is_taken_over_at_once(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        assert takeover(rig, 5).may_adopt(key(), foreign(version=5))
        assert not takeover(rig, 5).may_adopt(key(), foreign(version=6))


@in_virtual_time
async def test_our_own_run_and_one_that_is_over_are_never_taken_over(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        rule = takeover(rig, 100)
        assert not rule.may_adopt(key(), job(status=run_status("Submitted")))
        assert not rule.may_adopt(key(), job(status=run_status("Running", holder="other/9")))
        assert not rule.may_adopt(key(), job())


@in_virtual_time
async def test_a_later_run_is_taken_over_once_it_has_not_changed_for_its_wall_limit(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        rule = takeover(rig, 1)
        assert not rule.may_adopt(key(), foreign())
        woken = await rig.queue.get()
        assert (woken, round(now())) == (key(), WALL), "it wakes itself when the time has come"
        assert rule.may_adopt(key(), foreign())


@in_virtual_time
async def test_every_change_of_the_object_starts_the_wait_anew(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        rule = takeover(rig, 1)
        assert not rule.may_adopt(key(), foreign(version=5))
        await rig.queue.get()
        rig.queue.done(key())
        assert not rule.may_adopt(key(), foreign(version=6))
        await rig.queue.get()
        assert round(now()) == 2 * WALL
        assert rule.may_adopt(key(), foreign(version=6))


@in_virtual_time
async def test_before_it_leads_a_process_waits_like_for_a_later_run(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        rule = takeover(rig, 0)
        assert not rule.may_adopt(key(), foreign())
        rig.memories.forget(key(), None)
        await rig.queue.get()
        rig.queue.done(key())
        assert not rule.may_adopt(key(), foreign()), "a forgotten job is watched from the beginning"
