"""F9: timeouts, spec edits, deletes, suspends supersede a run without any denial. The same rules.

What comes before the last of several stale runs is a rerun.
"""

import pytest

from testing.operator_process import OperatorProcess
from testing.sessions.faults import Rule
from tests.harness import manifests
from tests.harness.slow_runs import (
    Point,
    assert_completions,
    hold,
    supersede,
    until_dropped,
    until_held,
)
from tests.harness.world import JOBS, World

VARIANTS = pytest.mark.variants(Point.CREATE, Point.CREATED, Point.CONFIGURE, Point.LAST_ANSWER)


class Superseded:
    """Jobs with so many runs, each held at a point, of which the last is still current."""

    def __init__(self, operator: OperatorProcess, rules: list[Rule], names: list[str], uids: list[str]) -> None:
        self.operator = operator
        self.names = names
        self.rules = rules
        self._uids = uids

    @classmethod
    async def begin(cls, world: World, point: Point, stale: int, jobs: int) -> "Superseded":
        """Start the operator and the jobs."""
        await world.prepare()
        operator = await world.start_operator()
        rules = [hold(world, point, generation=number) for number in range(1, stale + 1)]
        names = await world.create_jobs(jobs)
        await supersede(world, rules[:-1], names)
        await until_held(world, rules[-1], jobs)
        return cls(operator, rules, names, [world.job(name)["metadata"]["uid"] for name in names])

    def release(self) -> None:
        """Let all of the held runs go on."""
        for rule in self.rules:
            rule.release()

    def assert_nothing_of_it_lives(self, world: World) -> None:
        """Whatever these runs created is cancelled."""
        for uid in self._uids:
            for number in range(1, len(self.rules) + 1):
                assert not any(session.live for session in world.service.sessions(run=f"{uid}.g{number}.a1"))


@VARIANTS
async def test_f9_a_run_superseded_by_a_spec_edit_changes_nothing_and_leaves_nothing(
    world: World, point: Point, stale: int, jobs: int
) -> None:
    old = await Superseded.begin(world, point, stale, jobs)
    await world.edit(*old.names, input={"message": "something else"})
    await world.until_phase("Running", *old.names)
    old.release()
    await until_dropped(world, old.operator, stale * jobs)
    await world.settled()

    for name in old.names:
        assert world.status(name)["run"]["id"] == world.run_id(name, generation=stale + 1)
    await assert_completions(old.operator, applied=jobs, stale=stale * jobs)
    assert len(world.service.live_sessions()) == jobs
    old.assert_nothing_of_it_lives(world)


@VARIANTS
async def test_f9_a_run_superseded_by_a_timeout_changes_nothing_and_leaves_nothing(
    world: World, point: Point, stale: int, jobs: int
) -> None:
    old = await Superseded.begin(world, point, stale, jobs)
    await world.edit(*old.names, timeouts={"submittedSeconds": 1})
    await world.until_phase("Failed", *old.names, reason="DeadlineExceeded")
    old.release()
    await until_dropped(world, old.operator, stale * jobs)
    await world.settled()

    shown = {(world.status(name)["phase"], world.status(name)["reason"]) for name in old.names}
    assert shown == {("Failed", "DeadlineExceeded")}
    await assert_completions(old.operator, stale=stale * jobs)
    old.assert_nothing_of_it_lives(world)


@VARIANTS
async def test_f9_a_run_superseded_by_a_suspension_changes_nothing_and_leaves_nothing(
    world: World, point: Point, stale: int, jobs: int
) -> None:
    old = await Superseded.begin(world, point, stale, jobs)
    await world.edit(*old.names, suspend=True)
    await world.until_phase("Queued", *old.names, reason="Suspended")
    old.release()
    await until_dropped(world, old.operator, stale * jobs)
    await world.settled()

    shown = {(world.status(name)["phase"], world.status(name)["reason"]) for name in old.names}
    assert shown == {("Queued", "Suspended")}
    await assert_completions(old.operator, stale=stale * jobs)
    old.assert_nothing_of_it_lives(world)


@VARIANTS
async def test_f9_a_run_superseded_by_a_deletion_leaves_nothing(
    world: World, point: Point, stale: int, jobs: int
) -> None:
    old = await Superseded.begin(world, point, stale, jobs)
    for name in old.names:
        await world.cluster.delete(JOBS, name)
    old.release()
    await world.until_gone(*old.names)
    await world.settled()

    await assert_completions(old.operator, stale=stale * jobs)
    old.assert_nothing_of_it_lives(world)


@VARIANTS
async def test_f9_a_run_of_a_job_that_was_recreated_by_force_does_not_touch_the_new_one(
    world: World, point: Point, stale: int, jobs: int
) -> None:
    old = await Superseded.begin(world, point, stale, jobs)
    for name in old.names:
        await world.cluster.delete(JOBS, name)
        await world.cluster.patch(JOBS, name, {"metadata": {"finalizers": None}})
        await world.cluster.create(manifests.job(name, world.service.url, input={"message": "new"}))
    # The first rule holds the new jobs' runs too, which have the same numbers.
    await until_held(world, old.rules[0], 2 * jobs)
    old.release()
    await until_dropped(world, old.operator, stale * jobs)
    await world.until_phase("Running", *old.names)
    await world.settled()

    await assert_completions(old.operator, applied=jobs, gone=stale * jobs)
    old.assert_nothing_of_it_lives(world)
