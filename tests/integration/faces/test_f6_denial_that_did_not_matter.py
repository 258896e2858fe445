"""F6: a run tolerated a denied call and succeeded, or was approved midway. It succeeded.

A guest that ignores the denial of its first call; a run whose next call is approved while its last one is slow.
"""

import pytest

from tests.guests.wat import Script
from tests.harness import manifests
from tests.harness.slow_runs import Point, assert_completions, hold
from tests.harness.world import World

NOT_SECRET = f'{manifests.PERMIT_LOCAL} forbid(principal, action, resource) when {{ context.path == "/secret" }};'
NO_CONFIGURE = manifests.PERMIT_LOCAL.removesuffix(";") + ' unless { context.path like "*/configure" };'


@pytest.mark.parametrize("on_denied", ["Fail", "AwaitApproval"])
async def test_f6_a_run_that_tolerated_a_denied_call_succeeded(world: World, on_denied: str) -> None:
    url = world.service.url
    guest = (
        Script()
        .call({"method": "GET", "url": f"{url}/secret"})
        .call({"method": "POST", "url": f"{url}/workspaces", "body": '{"name": "w"}'})
        .ok({"action": "Completed", "output": {"done": True}})
    )
    for document in (*manifests.wasm_module("tolerant", guest), manifests.policy(NOT_SECRET)):
        await world.cluster.create(document)
    operator = await world.start_operator()
    await world.create_job(moduleRef={"name": "tolerant"}, onDenied=on_denied)

    await world.until_phase("Completed", output={"done": True})

    assert [entry.path for entry in world.service.log()] == ["/workspaces"]
    metrics = await operator.metrics()
    assert metrics.value("curation_http_calls_total", decision="denied") == 1
    await assert_completions(operator, applied=1)
    assert await world.cluster.list("curationapprovals") == []
    assert [entry["outcome"] for entry in world.status()["history"]] == ["Completed"]


@pytest.mark.parametrize("point", [Point.CREATE, Point.CREATED])
async def test_f6_a_run_that_was_approved_midway_succeeded(world: World, point: Point) -> None:
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy(NO_CONFIGURE))
    operator = await world.start_operator()
    await world.create_job("asks")
    await world.until_phase("AwaitingApproval", "asks")
    slow = hold(world, point)
    await world.create_job("slow")
    await world.service.wait_held(slow)

    approval = world.status("asks")["approval"]["name"]
    await world.cluster.patch("curationapprovals", approval, {"spec": {"decision": "Approved", "scope": "Host"}})
    await world.until_phase("Running", "asks")
    slow.release()
    await world.until_phase("Running", "slow")
    await world.settled()

    assert world.status("asks")["run"]["attempt"] == 2
    assert world.status("slow")["run"]["attempt"] == 1
    await assert_completions(operator, applied=3)
