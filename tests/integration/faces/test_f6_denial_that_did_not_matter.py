"""F6: a run tolerated a denied call and succeeded, or was approved midway. It succeeded.

A guest that ignores the denial of its first call, and is slow in one of the three that follow; a run whose next call is
approved while an earlier one is slow.
"""

from typing import Literal

import pytest

from testing.sessions.faults import Rule
from tests.guests.wat import Script
from tests.harness import manifests
from tests.harness.slow_runs import (
    Point,
    assert_completions,
    hold,
    supersede,
    until_dropped,
    until_held,
)
from tests.harness.world import World

NOT_SECRET = f'{manifests.PERMIT_LOCAL} forbid(principal, action, resource) when {{ context.path == "/secret" }};'
# A guest of a script cannot read the id of a session, so it makes none.
CALLS = (("POST", "/workspaces"), ("GET", "/sessions"), ("GET", "/sessions/none"))
SLOW_IN: dict[Point, tuple[str, Literal["before", "after"]]] = {
    Point.CREATE: ("/workspaces", "before"),
    Point.CREATED: ("/workspaces", "after"),
    Point.CONFIGURE: ("/sessions", "before"),
    Point.LAST_ANSWER: ("/sessions/none", "after"),
}


def _hold(world: World, point: Point, generation: int) -> Rule:
    path, when = SLOW_IN[point]
    return world.service.add_rule("hold", when, path=path, generation=generation)


async def prepare_tolerant(world: World) -> None:
    """A module that does not mind that its first call is denied."""
    guest = Script()
    guest.on("Cancel", guest.returning({"action": "Cancelled"})).call(
        {"method": "GET", "url": f"{world.service.url}/secret"}
    )
    for method, path in CALLS:
        guest.call({"method": method, "url": world.service.url + path, **({"body": "{}"} if method == "POST" else {})})
    component = guest.ok({"action": "Completed", "output": {"done": True}})
    for document in (*manifests.wasm_module("tolerant", component), manifests.policy(NOT_SECRET)):
        await world.cluster.create(document)


@pytest.mark.variants(Point.CREATE, Point.CREATED, Point.CONFIGURE, Point.LAST_ANSWER)
@pytest.mark.parametrize("on_denied", ["Fail", "AwaitApproval"])
async def test_f6_a_run_that_tolerated_a_denied_call_succeeded(
    world: World, point: Point, stale: int, jobs: int, on_denied: str
) -> None:
    await prepare_tolerant(world)
    operator = await world.start_operator()
    rules = [_hold(world, point, number) for number in range(1, stale + 2)]
    names = await world.create_jobs(jobs, moduleRef={"name": "tolerant"}, onDenied=on_denied)
    await supersede(world, rules[:-1], names)
    await until_held(world, rules[-1], jobs)
    rules[-1].release()

    await world.until_phase("Completed", *names, output={"done": True})
    for rule in rules:
        rule.release()
    await until_dropped(world, operator, stale * jobs)
    await world.settled()

    assert "/secret" not in {entry.path for entry in world.service.log()}
    metrics = await operator.metrics()
    assert metrics.value("curation_http_calls_total", decision="denied") == (stale + 1) * jobs
    await assert_completions(operator, applied=jobs, stale=stale * jobs)
    assert await world.cluster.list("curationapprovals") == []
    for name in names:
        assert world.status(name)["output"] == {"done": True}
        assert [entry["outcome"] for entry in world.status(name)["history"]] == ["Superseded"] * stale + ["Completed"]


NO_CONFIGURE = manifests.PERMIT_LOCAL.removesuffix(";") + ' unless { context.path like "*/configure" };'


@pytest.mark.variants(Point.CREATE, Point.CREATED)
async def test_f6_a_run_that_was_approved_midway_succeeded(world: World, point: Point, stale: int, jobs: int) -> None:
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy(NO_CONFIGURE))
    operator = await world.start_operator()
    await world.create_job("asks")
    await world.until_phase("AwaitingApproval", "asks")
    rules = [hold(world, point, generation=number) for number in range(1, stale + 2)]
    names = await world.create_jobs(jobs)
    await supersede(world, rules[:-1], names)
    await until_held(world, rules[-1], jobs)

    approval = world.status("asks")["approval"]["name"]
    await world.cluster.patch("curationapprovals", approval, {"spec": {"decision": "Approved", "scope": "Host"}})
    # Its second attempt; the rules hold first ones, and are released from the newest on.
    await world.until_phase("Running", "asks")
    for rule in reversed(rules):
        rule.release()
    await world.until_phase("Running", *names)
    await until_dropped(world, operator, stale * jobs)
    await world.settled()

    assert world.status("asks")["run"]["attempt"] == 2
    for name in names:
        assert world.status(name)["run"]["id"] == world.run_id(name, generation=stale + 1)
    await assert_completions(operator, applied=jobs + 2, stale=stale * jobs)
