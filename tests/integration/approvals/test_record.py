"""The approval records the evaluated tuple, and grants exactly its scope of it, for exactly one build of the module."""

import base64
import hashlib

import pytest

from curation.api.approval import EvaluatedRequest, approval_name, request_digest
from tests.guests.wat import Script
from tests.harness import manifests
from tests.harness.world import World
from tests.integration.approvals.decisions import Approvals, permit, wire

ASKS = "asks"


async def test_the_approval_the_status_and_the_gate_have_the_same_request(world: World, approvals: Approvals) -> None:
    guest = Script().call({"method": "GET", "url": f"{world.service.url}/a/../b?x=1&y=%20"}).answer()
    for document in manifests.wasm_module(ASKS, guest):
        await world.cluster.create(document)
    await world.start_operator()
    await world.create_job(moduleRef={"name": ASKS})
    approval = await approvals.one()
    status, spec = world.status(), approval["spec"]

    # The canonical form: what Cedar was asked and what would have been connected to.
    assert spec["request"] == {
        "module": ASKS,
        "moduleDigest": f"sha256:{hashlib.sha256(guest).hexdigest()}",
        "trigger": "Submit",
        "method": "GET",
        "scheme": "http",
        "host": "127.0.0.1",
        "port": int(world.service.url.rsplit(":", 1)[1]),
        "path": "/b",
        "query": "x=1&y=%20",
    }
    assert wire(status["approval"]["request"]) == wire(spec["request"])
    request = EvaluatedRequest.model_validate(spec["request"])
    assert spec["requestDigest"] == status["approval"]["requestDigest"] == request_digest(request)
    assert approval["metadata"]["name"] == status["approval"]["name"] == approval_name(request)
    assert approval["metadata"]["labels"]["curation.dev/module"] == ASKS
    assert spec["scope"] == "Request"
    # The grant is shown before the decision.
    cedar = approvals.status(approval["metadata"]["name"])["cedar"]
    assert f'"{request.module_digest}"' in cedar
    assert '"x=1&y=%20"' in cedar
    authorized = next(c for c in status["conditions"] if c["type"] == "Authorized")
    assert authorized["status"] == "False"
    assert "/b?x=1&y=%20" in authorized["message"]
    assert "/b?x=1&y=%20" in status["message"]


@pytest.mark.parametrize(
    ("scope", "passed"),
    [
        ("Request", [("GET", "/a")]),
        ("Path", [("GET", "/a"), ("GET", "/a")]),
        ("Host", [("GET", "/a"), ("GET", "/a"), ("POST", "/a"), ("GET", "/b")]),
    ],
)
async def test_a_grant_covers_its_scope_and_no_more(
    world: World, approvals: Approvals, scope: str, passed: list[tuple[str, str]]
) -> None:
    url = world.service.url
    guest = (
        Script()
        .call({"method": "GET", "url": f"{url}/a?x=1"})
        .call({"method": "GET", "url": f"{url}/a?x=2"})
        .call({"method": "POST", "url": f"{url}/a?x=1"})
        .call({"method": "GET", "url": f"{url}/b"})
        .call({"method": "GET", "url": "http://127.0.0.1:9/a?x=1"})
        .ok({"action": "Completed", "output": {}})
    )
    for document in manifests.wasm_module(ASKS, guest):
        await world.cluster.create(document)
    operator = await world.start_operator()
    request = await approvals.request(module=ASKS, method="GET", path="/a", query="x=1")
    name = await approvals.grant(request, scope)
    await approvals.until_ready(name, "Approved")

    await world.create_job(moduleRef={"name": ASKS})
    await world.until_phase("Completed")

    assert [(entry.method, entry.path) for entry in world.service.log()] == passed
    metrics = await operator.metrics()
    assert metrics.value("curation_http_calls_total", decision="allowed") == len(passed)
    assert metrics.value("curation_http_calls_total", decision="denied") == 5 - len(passed)


async def test_a_grant_of_one_request_lets_what_it_started_be_cancelled(world: World, approvals: Approvals) -> None:
    await world.cluster.create(manifests.module())
    await world.start_operator()
    await world.create_job()
    first = await approvals.one()
    assert first["spec"]["request"]["path"] == "/workspaces"

    await approvals.curation("approve", first["metadata"]["name"])  # scope Request
    await approvals.until(lambda: len(approvals.made) == 2, "the next call is asked for")
    await world.settled()

    run = world.run_id(generation=1, attempt=2)
    calls = [(entry.caller.trigger, entry.path) for entry in world.service.log(run=run)]
    assert calls == [("Submit", "/workspaces"), ("Cancel", f"/runs/{run}/cancel")]
    assert world.service.live_workspaces() == []


def submitted(world: World) -> list[str]:
    """The paths of the calls that Submit runs made."""
    return [entry.path for entry in world.service.log() if entry.caller.trigger == "Submit"]


async def test_another_build_of_the_module_asks_anew(world: World, approvals: Approvals) -> None:
    call = {"method": "GET", "url": f"{world.service.url}/a"}
    builds = [Script().call(call).answer(), Script().log("another build").call(call).answer()]
    for document in manifests.wasm_module(ASKS, builds[0]):
        await world.cluster.create(document)
    await world.start_operator()
    await world.create_job(moduleRef={"name": ASKS})
    first = await approvals.one()
    await approvals.decide(first["metadata"]["name"], "Approved", scope="Host")
    await world.until_phase("Failed", reason="ModuleError")  # the answer to the call is no result
    assert submitted(world) == ["/a"]

    data = {"module.wasm": base64.b64encode(builds[1]).decode()}
    digest = f"sha256:{hashlib.sha256(builds[1]).hexdigest()}"
    await world.cluster.patch("configmaps", f"{ASKS}-wasm", {"binaryData": data})
    await world.cluster.patch("curationmodules", ASKS, {"spec": {"digest": digest}})
    await approvals.until_module_is(ASKS, digest)
    await world.edit("job-0", rerun="2")
    await world.until_phase("AwaitingApproval")

    assert world.status()["approval"]["request"]["moduleDigest"] == digest
    assert world.status()["approval"]["name"] != first["metadata"]["name"]
    assert submitted(world) == ["/a"]


async def test_on_denied_fail_makes_no_approval_and_a_rerun_works_after_a_policy(
    world: World, approvals: Approvals
) -> None:
    await world.cluster.create(manifests.module())
    await world.start_operator()
    await world.create_job(onDenied="Fail")
    await world.until_phase("Failed", reason="Denied")
    assert "/workspaces" in world.status()["message"]
    assert world.service.log() == []

    await world.cluster.create(manifests.policy(permit("true")))
    await world.until_policy_counts("allow")
    assert world.status()["phase"] == "Failed"
    await world.edit("job-0", rerun="2")
    await world.until_phase("Running")
    await world.settled()

    assert world.status()["run"]["id"] == world.run_id(generation=2)
    assert approvals.made == []
