"""F4: a stale failure reaches a job that is Queued again. It is dropped.

Queued because it is suspended, and because its new module is not there yet. The old run fails as in F3.
"""

from typing import Any

import pytest

from tests.harness import manifests
from tests.harness.slow_runs import (
    Point,
    assert_completions,
    hold_to_fail,
    supersede,
    until_dropped,
    until_held,
)
from tests.harness.world import World

SUSPENDED: tuple[dict[str, Any], str] = ({"suspend": True}, "Suspended")
WITHOUT_MODULE: tuple[dict[str, Any], str] = ({"moduleRef": {"name": "later"}}, "WaitingForModule")


@pytest.mark.variants(Point.CREATE, Point.CREATED, Point.CONFIGURE, Point.LAST_ANSWER)
@pytest.mark.parametrize(("edit", "reason"), [SUSPENDED, WITHOUT_MODULE], ids=["suspended", "without-module"])
async def test_f4_a_stale_failure_leaves_a_queued_job_alone(
    world: World, point: Point, stale: int, jobs: int, edit: dict[str, Any], reason: str
) -> None:
    await world.prepare()
    operator = await world.start_operator()
    rules = [hold_to_fail(world, point, generation=number) for number in range(1, stale + 1)]
    names = await world.create_jobs(jobs)
    await supersede(world, rules[:-1], names)
    await until_held(world, rules[-1], jobs)
    await world.edit(*names, **edit)
    await world.until_phase("Queued", *names, reason=reason)

    for rule in rules:
        rule.release()
    await until_dropped(world, operator, stale * jobs)
    await world.settled()

    assert {(world.status(name)["phase"], world.status(name)["reason"]) for name in names} == {("Queued", reason)}
    await assert_completions(operator, stale=stale * jobs)
    assert world.service.live_sessions() == []
    if reason == "Suspended":
        await world.edit(*names, suspend=False)
    else:
        await world.cluster.create(manifests.module("later"))
    await world.until_phase("Running", *names)
    await world.settled()
    await assert_completions(operator, applied=jobs, stale=stale * jobs)
