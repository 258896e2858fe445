"""F3: a stale failure reaches a newer attempt that is Submitted. It is dropped; the new attempt lives.

The old run fails in: create (stopped before its next call), the answer to create, configure (the service answers 503),
the last answer (which is lost after the work was done). The last two are of a class that is retried.
"""

import pytest

from tests.harness.slow_runs import (
    Point,
    assert_completions,
    hold,
    hold_to_fail,
    supersede,
    until_dropped,
    until_held,
)
from tests.harness.world import World


@pytest.mark.variants(Point.CREATE, Point.CREATED, Point.CONFIGURE, Point.LAST_ANSWER)
async def test_f3_a_stale_failure_leaves_a_submitted_attempt_alone(
    world: World, point: Point, stale: int, jobs: int
) -> None:
    await world.prepare()
    operator = await world.start_operator()
    rules = [hold_to_fail(world, point, generation=number) for number in range(1, stale + 1)]
    newest = hold(world, Point.CREATE, generation=stale + 1)
    names = await world.create_jobs(jobs)
    await supersede(world, rules, names)
    await until_held(world, newest, jobs)
    # The service may get a call of the newest run before the watch of this test shows its claim.
    await world.until(
        lambda: all(world.status(name)["run"]["generation"] == stale + 1 for name in names), "the claims are seen"
    )
    before = {name: world.status(name)["run"] for name in names}

    for rule in rules:
        rule.release()
    await until_dropped(world, operator, stale * jobs)

    dropped = operator.logged("dropped a stale completion", trigger="Submit")
    assert all("ended with Failed" in line["message"] for line in dropped)
    assert {name: (world.status(name)["phase"], world.status(name)["run"]) for name in names} == {
        name: ("Submitted", run) for name, run in before.items()
    }
    newest.release()
    await world.until_phase("Running", *names)
    await world.settled()
    for name in names:
        assert world.status(name)["run"]["id"] == world.run_id(name, generation=stale + 1)
        assert {entry["outcome"] for entry in world.status(name)["history"]} == {"Superseded", "SessionSpawned"}
    await assert_completions(operator, applied=jobs, stale=stale * jobs)
