"""F2: the stale run had already created a session. That orphan is cancelled: exactly, where the run told it.

Slow in: the answer to create, configure, the last answer. Stale runs: 1, 3.
"""

import pytest

from tests.harness.slow_runs import Point, hold, sessions_of, until_dropped
from tests.harness.world import World


@pytest.mark.parametrize("stale", [1, 3])
@pytest.mark.parametrize("point", [Point.CREATED, Point.CONFIGURE, Point.LAST_ANSWER])
async def test_f2_a_session_that_a_stale_run_had_created_is_cancelled(world: World, point: Point, stale: int) -> None:
    await world.prepare()
    operator = await world.start_operator()
    rules = [hold(world, point, generation=number) for number in range(1, stale + 1)]
    (name,) = await world.create_jobs(1)
    for number, rule in enumerate(rules, start=1):
        await world.service.wait_held(rule)
        assert [session.live for session in sessions_of(world, [name], generation=number)] == [True]
        await world.edit(name, rerun=str(number))
    await world.until_phase("Running")

    for rule in rules:
        rule.release()
    await until_dropped(world, operator, stale)
    await world.settled()

    for number in range(1, stale + 1):
        (orphan,) = sessions_of(world, [name], generation=number)
        run = world.run_id(generation=number)
        assert orphan.state == "cancelled"
        # A run that was stopped before it could name its session is cancelled by its id.
        known = point is not Point.CREATED
        wanted = f"/sessions/{orphan.id}/cancel" if known else f"/runs/{run}/cancel"
        cancels = [entry.path for entry in world.service.log(run=run) if entry.caller.trigger == "Cancel"]
        assert cancels == [wanted]
    await world.until(
        lambda: world.event_count("SessionCancelled", name=name) == stale, "the cancelled sessions are told of"
    )
