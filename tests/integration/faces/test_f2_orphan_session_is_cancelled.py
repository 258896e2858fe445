"""F2: the stale run had already created a session. That orphan is cancelled: exactly, where the run reported it.

Slow in create, the service creates it only after the run was superseded.
"""

import pytest

from tests.harness.slow_runs import Point, hold, sessions_of, until_dropped, until_held
from tests.harness.world import World


@pytest.mark.variants(Point.CREATE, Point.CREATED, Point.CONFIGURE, Point.LAST_ANSWER)
async def test_f2_a_session_that_a_stale_run_had_created_is_cancelled(
    world: World, point: Point, stale: int, jobs: int
) -> None:
    await world.prepare()
    operator = await world.start_operator()
    rules = [hold(world, point, generation=number) for number in range(1, stale + 1)]
    names = await world.create_jobs(jobs)
    for number, rule in enumerate(rules, start=1):
        await until_held(world, rule, jobs)
        made = [session.live for session in sessions_of(world, names, generation=number)]
        assert made == ([] if point is Point.CREATE else [True] * jobs)
        await world.edit(*names, rerun=str(number))
    await world.until_phase("Running", *names)

    for rule in rules:
        rule.release()
    await until_dropped(world, operator, stale * jobs)
    await world.settled()

    for name in names:
        for number in range(1, stale + 1):
            (orphan,) = sessions_of(world, [name], generation=number)
            run = world.run_id(name, generation=number)
            assert orphan.state == "cancelled"
            # A run that was stopped before it could name its session is cancelled by its id.
            known = point in (Point.CONFIGURE, Point.LAST_ANSWER)
            wanted = f"/sessions/{orphan.id}/cancel" if known else f"/runs/{run}/cancel"
            cancels = [entry.path for entry in world.service.log(run=run) if entry.caller.trigger == "Cancel"]
            assert cancels == [wanted]
    await world.until(
        lambda: all(world.event_count("SessionCancelled", name=name) == stale for name in names),
        "the cancelled sessions have Events",
    )
