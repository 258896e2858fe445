"""The API server does not reach the webhook, or does not ask it: the operator says so, and nothing else stops."""

import asyncio
import json

import pytest

from testing.controlplane.ports import free_port
from tests.harness.doorway import BROKEN, GOOD, Doorway, policy

pytestmark = pytest.mark.own_operator

REACHED = "curation_webhook_reached"
PROBE_APPROVAL = {
    "apiVersion": "curation.dev/v1alpha1",
    "kind": "CurationApproval",
    "spec": {
        "requestDigest": "0" * 64,
        "request": {
            "module": "m",
            "moduleDigest": f"sha256:{'0' * 64}",
            "trigger": "Submit",
            "method": "GET",
            "scheme": "https",
            "host": "probe.invalid",
            "port": 443,
            "path": "/",
        },
    },
}


async def test_a_webhook_that_the_api_server_does_not_reach_is_said_and_stops_nothing_else(doorway: Doorway) -> None:
    world, run, ours = doorway.world, asyncio.to_thread, doorway.namespace
    # Nobody asks it yet: it is served, and not installed.
    operator = await doorway.start()
    await operator.until_metric(1, "curation_webhook_serving")
    await world.until(lambda: bool(operator.logged("the API server does not ask the webhook")), "that is said")
    assert (await operator.metrics()).value(REACHED) == 0
    doorway.open()
    await operator.until_metric(1, REACHED)
    assert operator.logged("the API server reaches the webhook", level="INFO")
    await world.prepare()
    await run(doorway.applied, policy("more", GOOD, namespace=ours))
    await world.until(lambda: "more" in world.others["curationpolicies"].present, "both policies are there")

    # As a firewall or a Service that leads nowhere: the operator goes on, and the API server gets no connection.
    nobody = f"https://127.0.0.1:{free_port()}"
    doorway.door.open(nobody, doorway.certificate.read_bytes())
    await operator.until_metric(0, REACHED)
    (line,) = operator.logged("the API server does not reach the webhook, so it refuses new policy texts")
    assert nobody.removeprefix("https://") in line["message"], "it says what the API server says"
    assert (await operator.metrics()).value("curation_webhook_serving") == 1
    assert (await operator.fetch("/healthz"))[0] == 200
    assert (await operator.fetch("/readyz"))[0] == 200

    code, said = await run(doorway.applied, policy("new", GOOD, namespace=ours))
    assert (code, "failed calling webhook" in said) == (1, True), said
    assert (await run(doorway.applied, policy("more", GOOD, namespace=ours, labels={"a": "b"})))[0] == 0
    await run(doorway.kubectl, "delete", "curationpolicy", "more", "--wait=false")
    await world.until(lambda: "more" not in world.others["curationpolicies"].present, "the policy is gone")
    await world.create_job()
    await world.until_phase("Running")
    await run(doorway.kubectl, "delete", "curationjob", "job-0", "--wait=false")
    await world.until_gone("job-0")
    await world.create_job("job-1")
    await world.until_phase("Running", "job-1")
    await world.cluster.request("DELETE", f"/api/v1/namespaces/{ours}")
    await doorway.until(lambda: doorway.connection.request("GET", f"/api/v1/namespaces/{ours}")[0] == 404)
    assert not world.service.live_sessions()


async def test_without_a_webhook_configuration_a_broken_policy_is_stored_without_effect_and_jobs_go_on(
    doorway: Doorway,
) -> None:
    world = doorway.world
    operator = await doorway.start()
    await world.prepare()
    await operator.until_metric(0, REACHED)
    code, said = await asyncio.to_thread(doorway.applied, policy("p", BROKEN, namespace=doorway.namespace))
    assert code == 0, said
    await operator.until_metric(1, "curation_policies", kind="CurationPolicy", ready="False")
    await world.create_job()
    await world.until_phase("Running")


async def test_what_is_really_created_and_what_others_try_is_no_question_to_the_webhook(doorway: Doorway) -> None:
    """With nobody at the door: what was asked about would be refused."""
    doorway.door.open(f"https://127.0.0.1:{free_port()}", doorway.certificate.read_bytes())

    def created(metadata: dict[str, str], *options: str) -> str:
        text = json.dumps({**PROBE_APPROVAL, "metadata": metadata})
        done = doorway.kubectl("create", *options, "-f", "-", input=text, check=False)
        return done.stdout + done.stderr

    probe = {"name": "webhook-probe"}
    await doorway.until(lambda: "failed calling webhook" in created(probe, "--dry-run=server"))
    for metadata, options in (
        ({"name": "another"}, ("--dry-run=server",)),
        ({"generateName": "webhook-probe"}, ("--dry-run=server",)),
        ({"generateName": "webhook-probe"}, ()),
        (probe, ()),
    ):
        said = await asyncio.to_thread(created, metadata, *options)
        assert "created" in said, said
