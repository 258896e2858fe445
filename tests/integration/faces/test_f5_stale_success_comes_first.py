"""F5: a stale success arrives before the new attempt's own. Dropped: only the current attempt may win.

Slow in create an old run cannot succeed: it is stopped before its next call (F3).
"""

import pytest

from tests.harness.slow_runs import (
    Point,
    assert_completions,
    hold,
    sessions_of,
    supersede,
    until_dropped,
    until_held,
)
from tests.harness.world import World


@pytest.mark.variants(Point.CONFIGURE, Point.LAST_ANSWER)
async def test_f5_a_stale_success_does_not_win_while_the_current_attempt_is_under_way(
    world: World, point: Point, stale: int, jobs: int
) -> None:
    await world.prepare()
    operator = await world.start_operator()
    rules = [hold(world, point, generation=number) for number in range(1, stale + 1)]
    newest = hold(world, Point.CREATE, generation=stale + 1)
    names = await world.create_jobs(jobs)
    await supersede(world, rules, names)
    await until_held(world, newest, jobs)

    for rule in rules:
        rule.release()
    await until_dropped(world, operator, stale * jobs)

    dropped = operator.logged("dropped a stale completion", trigger="Submit")
    assert all("ended with SessionSpawned" in line["message"] for line in dropped)
    assert {world.status(name)["phase"] for name in names} == {"Submitted"}
    assert not any("session" in world.status(name) for name in names)
    newest.release()
    await world.until_phase("Running", *names)
    await world.settled()
    for name in names:
        assert world.status(name)["session"]["runID"] == world.run_id(name, generation=stale + 1)
    await assert_completions(operator, applied=jobs, stale=stale * jobs)
    for number in range(1, stale + 1):
        late = sessions_of(world, names, generation=number)
        assert [session.state for session in late] == ["cancelled"] * jobs
