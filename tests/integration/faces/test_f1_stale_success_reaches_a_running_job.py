"""F1: a stale "session spawned" reaches a Running job. It is dropped and counted; the running session lives.

Slow in: create, configure, the last answer. Stale runs: 1, 3. Jobs: 1, 50.
"""

import pytest

from tests.harness.slow_runs import Point, assert_completions, hold, sessions_of, until_dropped
from tests.harness.world import World


@pytest.mark.parametrize(
    ("point", "stale", "jobs"),
    [
        (Point.CREATE, 1, 1),
        (Point.CONFIGURE, 1, 1),
        (Point.LAST_ANSWER, 1, 1),
        (Point.CREATE, 3, 1),
        (Point.CONFIGURE, 3, 1),
        (Point.LAST_ANSWER, 3, 1),
        (Point.LAST_ANSWER, 1, 50),
    ],
)
async def test_f1_a_stale_session_spawned_leaves_a_running_job_and_its_session_alone(
    world: World, point: Point, stale: int, jobs: int
) -> None:
    await world.prepare()
    operator = await world.start_operator()
    rules = [hold(world, point, generation=number) for number in range(1, stale + 1)]
    names = await world.create_jobs(jobs)
    for number, rule in enumerate(rules, start=1):
        await world.service.wait_held(rule, jobs)
        await world.edit(*names, rerun=str(number))
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
