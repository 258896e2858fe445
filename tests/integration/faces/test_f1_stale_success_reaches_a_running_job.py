"""F1: a stale "session spawned" reaches a Running job. It is dropped and counted; the running session lives."""

import pytest

from tests.harness.slow_runs import Point, assert_completions, hold, sessions_of, supersede, until_dropped
from tests.harness.world import World


@pytest.mark.variants(Point.CREATE, Point.CREATED, Point.CONFIGURE, Point.LAST_ANSWER)
async def test_f1_a_stale_session_spawned_leaves_a_running_job_and_its_session_alone(
    world: World, point: Point, stale: int, jobs: int
) -> None:
    await world.prepare()
    operator = await world.start_operator()
    rules = [hold(world, point, generation=number) for number in range(1, stale + 1)]
    names = await world.create_jobs(jobs)
    await supersede(world, rules, names)
    await world.until_phase("Running", *names)
    owned = {name: world.status(name)["session"]["id"] for name in names}

    for rule in rules:
        rule.release()
    await until_dropped(world, operator, stale * jobs)
    await world.settled()

    assert {name: (world.status(name)["phase"], world.status(name)["session"]["id"]) for name in names} == {
        name: ("Running", session) for name, session in owned.items()
    }
    await assert_completions(operator, applied=jobs, stale=stale * jobs)
    for number in range(1, stale + 1):
        late = sessions_of(world, names, generation=number)
        assert [session.state for session in late] == ["cancelled"] * jobs
    await world.until(
        lambda: all(world.event_count("StaleCompletionDropped", name=name) == stale for name in names),
        f"each job has {stale} Events of dropped completions",
    )
