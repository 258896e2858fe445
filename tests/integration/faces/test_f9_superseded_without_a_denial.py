"""F9: timeouts, spec edits, deletes, suspends supersede a run without any denial. The same rules.

Slow in: create, the answer to create, configure, the last answer.
"""

import pytest

from tests.harness import manifests
from tests.harness.slow_runs import Point, assert_completions, hold, sessions_of, until_dropped
from tests.harness.world import JOBS, World

POINTS = pytest.mark.parametrize("point", list(Point))


def assert_nothing_of_the_first_run_lives(world: World, uid: str) -> None:
    """Whatever attempt 1 created is cancelled."""
    assert not any(session.live for session in world.service.sessions(run=f"{uid}.g1.a1"))


async def submit(world: World) -> str:
    """job-0, with its uid."""
    await world.prepare()
    return str((await world.create_job())["metadata"]["uid"])


@POINTS
async def test_f9_a_run_superseded_by_a_spec_edit_changes_nothing_and_leaves_nothing(
    world: World, point: Point
) -> None:
    operator, rule = await world.start_operator(), hold(world, point)
    await submit(world)
    await world.service.wait_held(rule)
    await world.edit("job-0", input={"message": "something else"})
    await world.until_phase("Running")
    rule.release()
    await until_dropped(world, operator, 1)
    await world.settled()

    assert world.status()["run"]["id"] == world.run_id(generation=2)
    await assert_completions(operator, applied=1, stale=1)
    assert len(world.service.live_sessions()) == 1
    assert not any(session.live for session in sessions_of(world, ["job-0"], generation=1))


@POINTS
async def test_f9_a_run_superseded_by_a_timeout_changes_nothing_and_leaves_nothing(world: World, point: Point) -> None:
    operator, rule = await world.start_operator(), hold(world, point)
    uid = await submit(world)
    await world.service.wait_held(rule)
    await world.edit("job-0", timeouts={"submittedSeconds": 1})
    await world.until_phase("Failed", reason="DeadlineExceeded")
    rule.release()
    await until_dropped(world, operator, 1)
    await world.settled()

    assert (world.status()["phase"], world.status()["reason"]) == ("Failed", "DeadlineExceeded")
    await assert_completions(operator, stale=1)
    assert_nothing_of_the_first_run_lives(world, uid)


@POINTS
async def test_f9_a_run_superseded_by_a_suspension_changes_nothing_and_leaves_nothing(
    world: World, point: Point
) -> None:
    operator, rule = await world.start_operator(), hold(world, point)
    uid = await submit(world)
    await world.service.wait_held(rule)
    await world.edit("job-0", suspend=True)
    await world.until_phase("Queued", reason="Suspended")
    rule.release()
    await until_dropped(world, operator, 1)
    await world.settled()

    assert (world.status()["phase"], world.status()["reason"]) == ("Queued", "Suspended")
    await assert_completions(operator, stale=1)
    assert_nothing_of_the_first_run_lives(world, uid)


@POINTS
async def test_f9_a_run_superseded_by_a_deletion_leaves_nothing(world: World, point: Point) -> None:
    operator, rule = await world.start_operator(), hold(world, point)
    uid = await submit(world)
    await world.service.wait_held(rule)
    await world.cluster.delete(JOBS, "job-0")
    rule.release()
    await world.until_gone("job-0")
    await world.settled()

    await assert_completions(operator, stale=1)
    assert_nothing_of_the_first_run_lives(world, uid)


@POINTS
async def test_f9_a_run_of_a_job_that_was_recreated_by_force_does_not_touch_the_new_one(
    world: World, point: Point
) -> None:
    operator, rule = await world.start_operator(), hold(world, point)
    uid = await submit(world)
    await world.service.wait_held(rule)
    await world.cluster.delete(JOBS, "job-0")
    await world.cluster.patch(JOBS, "job-0", {"metadata": {"finalizers": None}})
    await world.cluster.create(manifests.job("job-0", world.service.url, input={"message": "new"}))
    # The rule holds the new job's run too, which has the same numbers.
    await world.service.wait_held(rule, 2)
    rule.release()
    await until_dropped(world, operator, 1)
    await world.until_phase("Running")
    await world.settled()

    await assert_completions(operator, applied=1, gone=1)
    assert_nothing_of_the_first_run_lives(world, uid)
