"""F3: a stale failure reaches a newer attempt that is Submitted. It is dropped; the new attempt lives.

The old run fails in: create (stopped before its next call), the answer to create, configure (refused by the service).
"""

import pytest

from tests.harness.slow_runs import Point, assert_completions, hold, sessions_of, until_dropped
from tests.harness.world import World


@pytest.mark.parametrize("stale", [1, 3])
@pytest.mark.parametrize("point", [Point.CREATE, Point.CREATED, Point.CONFIGURE])
async def test_f3_a_stale_failure_leaves_a_submitted_attempt_alone(world: World, point: Point, stale: int) -> None:
    await world.prepare()
    operator = await world.start_operator()
    rules = [hold(world, point, generation=number) for number in range(1, stale + 1)]
    newest = hold(world, Point.CREATE, generation=stale + 1)
    (name,) = await world.create_jobs(1)
    for number, rule in enumerate(rules, start=1):
        await world.service.wait_held(rule)
        if point is Point.CONFIGURE:
            (session,) = sessions_of(world, [name], generation=number)
            world.service.cancel(session.id)  # the answer to configure will be 409
        await world.edit(name, rerun=str(number))
    await world.service.wait_held(newest)
    assert world.status()["phase"] == "Submitted"
    before = world.status()

    for rule in rules:
        rule.release()
    await until_dropped(world, operator, stale)

    dropped = operator.logged("dropped a stale completion", trigger="Submit")
    assert all("ended with Failed" in line["message"] for line in dropped)
    assert (world.status()["phase"], world.status()["run"]) == ("Submitted", before["run"])
    newest.release()
    await world.until_phase("Running")
    await world.settled()
    assert world.status()["run"]["id"] == world.run_id(generation=stale + 1)
    await assert_completions(operator, applied=1, stale=stale)
    assert all(entry["outcome"] in ("Superseded", "SessionSpawned") for entry in world.status()["history"])
