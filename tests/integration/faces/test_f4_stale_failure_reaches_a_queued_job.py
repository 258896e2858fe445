"""F4: a stale failure reaches a job that is Queued again. It is dropped.

Queued because it is suspended, and because its new module is not there yet.
"""

from typing import Any

import pytest

from tests.harness import manifests
from tests.harness.slow_runs import Point, assert_completions, hold, sessions_of, until_dropped
from tests.harness.world import World

SUSPENDED: tuple[dict[str, Any], str] = ({"suspend": True}, "Suspended")
WITHOUT_MODULE: tuple[dict[str, Any], str] = ({"moduleRef": {"name": "later"}}, "WaitingForModule")


@pytest.mark.parametrize("point", [Point.CREATE, Point.CREATED, Point.CONFIGURE])
@pytest.mark.parametrize(("edit", "reason"), [SUSPENDED, WITHOUT_MODULE], ids=["suspended", "without-module"])
async def test_f4_a_stale_failure_leaves_a_queued_job_alone(
    world: World, point: Point, edit: dict[str, Any], reason: str
) -> None:
    await world.prepare()
    operator = await world.start_operator()
    rule = hold(world, point)
    (name,) = await world.create_jobs(1)
    await world.service.wait_held(rule)
    if point is Point.CONFIGURE:
        (session,) = sessions_of(world, [name], generation=1)
        world.service.cancel(session.id)
    await world.edit(name, **edit)
    await world.until_phase("Queued", reason=reason)

    rule.release()
    await until_dropped(world, operator, 1)
    await world.settled()

    assert (world.status()["phase"], world.status()["reason"]) == ("Queued", reason)
    await assert_completions(operator, stale=1)
    assert world.service.live_sessions() == []
    if reason == "Suspended":
        await world.edit(name, suspend=False)
    else:
        await world.cluster.create(manifests.module("later"))
    await world.until_phase("Running")
    await world.settled()
    await assert_completions(operator, applied=1, stale=1)
