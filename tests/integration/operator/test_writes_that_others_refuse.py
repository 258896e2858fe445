"""Writes of ours that a quota or an admission policy refuses: reported once, on the object, until they may be made."""

import asyncio

from testing.admin_client import Document
from testing.operator_process import OperatorProcess
from tests.harness import manifests
from tests.harness.objections import objection, quota
from tests.harness.world import JOBS, SECONDS, World
from tests.integration.cli.running import Plugin

APPROVALS = "curationapprovals"
_POLL_SECONDS = 0.05


def an_approval() -> Document:
    """One that nothing is wrong with."""
    request = {
        "module": "m",
        "moduleDigest": "sha256:0",
        "trigger": "Submit",
        "method": "GET",
        "scheme": "http",
        "host": "h",
        "port": 1,
        "path": "/",
    }
    return {
        "apiVersion": "curation.dev/v1alpha1",
        "kind": "CurationApproval",
        "metadata": {"name": "probe"},
        "spec": {"request": request, "requestDigest": "0" * 64},
    }


async def until_refused(operator: OperatorProcess, times: int, **labels: str) -> None:
    """Wait until the API server has refused the operator so often."""
    async with asyncio.timeout(SECONDS):
        while True:
            metrics = await operator.metrics()
            codes = ("403", "422")
            if sum(metrics.value("curation_api_requests_total", code=code, **labels) for code in codes) >= times:
                return
            await asyncio.sleep(_POLL_SECONDS)


async def why(world: World, name: str) -> str:
    """What the command says of a job."""
    plugin = Plugin(world.cluster.connection, world.namespace)
    return (await asyncio.to_thread(lambda: plugin("why", name))).stdout


async def test_a_quota_of_approvals_shows_on_the_jobs_and_they_ask_once_there_is_room(world: World) -> None:
    await world.cluster.create(manifests.module())
    probe = ("POST", world.cluster.path(APPROVALS), an_approval())
    async with quota(world, "count/curationapprovals.curation.dev", probe):
        operator = await world.start_operator()
        await world.create_jobs(3)
        await world.until_phase("AwaitingApproval", "job-0", "job-1", "job-2", reason="ApprovalRefused")
        await until_refused(operator, 4, verb="create", resource=APPROVALS)
        for name in ("job-0", "job-1", "job-2"):
            message = world.status(name)["message"]
            assert "exceeded quota: none" in message
            assert "Waits for CurationApproval" not in message
        await world.until(lambda: world.event_count("WriteRefused", note="exceeded quota") > 0, "it is reported")
        explained = await why(world, "job-0")
        assert "quota" in explained.split("You can:")[1]
        assert "kubectl curation approve" not in explained
        assert len(operator.logged("exceeded quota", level="ERROR")) == 1
        await operator.until_metric(1, "curation_refused_writes", kind="CurationApproval")
    await world.until_phase("AwaitingApproval", "job-0", "job-1", "job-2", reason="Denied")
    name = world.status()["approval"]["name"]
    await world.until(lambda: name in world.others["curationapprovals"].present, "the approval is made")
    await operator.until_metric(0, "curation_refused_writes", kind="CurationApproval")
    await world.cluster.patch(APPROVALS, name, {"spec": {"decision": "Approved", "scope": "Host"}})
    await world.until_phase("Running", "job-0", "job-1", "job-2")
    await world.settled()


async def test_a_deletion_that_is_refused_is_reported_once_and_done_once_it_may_be(world: World) -> None:
    await world.prepare()
    await world.create_job("probe", suspend=True)
    probe = ("DELETE", world.cluster.path(JOBS, "probe"), None)
    async with objection(world, "nothing is thrown away", "DELETE", JOBS, probe):
        operator = await world.start_operator()
        await world.create_job(
            "job-0", ttlSecondsAfterFinished=0, timeouts={"queuedSeconds": 1}, moduleRef={"name": "no"}
        )
        await world.until_phase("Failed")
        await world.until(
            lambda: world.event_count("WriteRefused", note="nothing is thrown away") == 1, "it is reported"
        )
        await until_refused(operator, 3, verb="delete", resource=JOBS)
        assert len(operator.logged("nothing is thrown away")) == 1
        assert "WriteRefused" in await why(world, "job-0")
    await world.until_gone("job-0")
    assert len(operator.logged("nothing is thrown away")) == 1


async def test_a_finalizer_that_may_not_be_removed_is_reported_once_and_goes_once_it_may(world: World) -> None:
    await world.prepare()
    await world.create_job("probe", suspend=True)
    probe = ("PATCH", world.cluster.path(JOBS, "probe"), {"metadata": {"finalizers": ["a.b/c"]}})
    kept = "object.metadata.?finalizers.orValue([]) == oldObject.metadata.?finalizers.orValue([])"
    async with objection(world, "finalizers stay", "UPDATE", JOBS, probe, kept):
        operator = await world.start_operator()
        await world.create_jobs(1)
        await world.until_phase("Running")
        await world.cluster.delete(JOBS, "job-0")
        await world.until(lambda: world.event_count("WriteRefused", note="finalizers stay") == 1, "it is reported")
        await until_refused(operator, 3, verb="patch", resource=JOBS)
        assert not world.service.live_sessions()
        assert len(operator.logged("finalizers stay")) == 1
    await world.until_gone("job-0")


async def test_events_that_are_refused_are_in_the_log_and_that_is_said_once(world: World) -> None:
    await world.prepare()
    event = {
        "metadata": {"name": "probe"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "a/b",
        "reportingInstance": "c",
        "action": "a",
        "reason": "r",
        "type": "Normal",
        "regarding": {"kind": "Pod", "namespace": world.namespace, "name": "p"},
    }
    probe = ("POST", world.cluster.path("events"), event)
    async with objection(world, "no noise", "CREATE", "events", probe, group="events.k8s.io"):
        operator = await world.start_operator()
        await world.create_jobs(4)
        await world.until_phase("Running", "job-0", "job-1", "job-2", "job-3")
        await world.until(lambda: len(operator.logged("The event was refused")) >= 4, "the log has them")
        assert len(operator.logged("no noise")) == 1
        assert operator.logged("SessionSpawned CurationJob")
    await world.create_job("later")
    await world.until(lambda: world.event_count("SessionSpawned", name="later") == 1, "events are taken again")


async def test_a_status_of_an_approval_that_is_refused_is_reported_once(world: World) -> None:
    await world.cluster.create(manifests.module())
    await world.cluster.create(an_approval())
    probe = ("PATCH", world.cluster.path(APPROVALS, "probe", "status"), {"status": {"waiting": 3}})
    async with objection(world, "approvals are silent", "UPDATE", f"{APPROVALS}/status", probe):
        operator = await world.start_operator()
        await world.create_jobs(1)
        await world.until_phase("AwaitingApproval")
        name = world.status()["approval"]["name"]
        await world.until(
            lambda: world.event_count("WriteRefused", name=name, note="approvals are silent") == 1, "it is reported"
        )
        await until_refused(operator, 4, resource=f"{APPROVALS}/status")
        assert len([line for line in operator.logged("approvals are silent") if name in line["message"]]) == 1
    await world.until(
        lambda: bool(world.others["curationapprovals"].present[name].get("status", {}).get("jobs")),
        "its status is written",
    )
