"""Objects that this release cannot read: what a newer one wrote before a rollback, and what only a person can have."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from testing.controlplane import namespaces
from testing.controlplane.server import ControlPlane
from tests.harness import manifests
from tests.harness.newer import loosen
from tests.harness.world import JOBS, World, open_world
from tests.integration.cli.running import Plugin

MODULES, APPROVALS = "curationmodules", "curationapprovals"
_POLL_SECONDS = 0.05


@pytest.fixture
async def rolled_back(private_control_plane: ControlPlane, module_cache: Path) -> AsyncIterator[World]:
    """A world whose CRDs are those of a newer release."""
    connection = private_control_plane.connection
    for plural in (JOBS, MODULES, APPROVALS):
        loosen(private_control_plane, plural)
    async with open_world(connection, namespaces.create(connection, "rolled back"), module_cache) as world:
        world.jobs.may_have_holes = True
        for other in world.others.values():
            other.may_have_holes = True
        yield world
        await world.stop_operators()
        # The oracles check what this release writes.
        world.jobs.versions.clear()
        for other in world.others.values():
            other.versions.clear()


def condition(obj: dict[str, Any], kind: str) -> dict[str, Any]:
    """A condition of an object; empty if it has none of this type."""
    found = (obj.get("status") or {}).get("conditions") or []
    return next((entry for entry in found if entry["type"] == kind), {})


async def plugin(world: World, *arguments: str, code: int | None = 0) -> str:
    """What kubectl-curation prints."""
    run = Plugin(world.cluster.connection, world.namespace)
    result = await asyncio.to_thread(lambda: run(*arguments, code=code))
    return result.stdout + result.stderr


async def test_after_a_rollback_what_the_newer_release_wrote_is_reported_skipped_and_deletable(
    rolled_back: World,
) -> None:
    world = rolled_back
    await world.prepare()
    operator = await world.start_operator()
    await world.create_jobs(2)
    await world.until_phase("Running", "job-0", "job-1")
    session = world.status()["session"]["id"]
    uid = world.job()["metadata"]["uid"]
    await operator.stop()

    # The newer release: a phase, a run's field, an approval's decision and a module's limit that are unknown here.
    await world.cluster.patch(
        JOBS, "job-0", {"status": {"phase": "Paused", "pausedAt": "today", "run": {"shard": 3}}}, "status"
    )
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
    await world.cluster.create(
        {
            "apiVersion": "curation.dev/v1alpha1",
            "kind": "CurationApproval",
            "metadata": {"name": "deferred"},
            "spec": {"request": request, "requestDigest": "0" * 64, "decision": "Deferred", "decidedBy": "admin"},
        }
    )
    newer = manifests.module("newer")
    newer["spec"]["source"] = {"git": {"url": "https://git.example"}}
    await world.cluster.create(newer)

    operator = await world.start_operator()
    await world.until(lambda: world.event_count("Unreadable", name="job-0") == 1, "job-0 is reported")
    await world.until(lambda: world.event_count("Unreadable", name="deferred") == 1, "the approval is reported")
    await world.until(lambda: world.event_count("Unreadable", name="newer") == 1, "the module is reported")
    await world.until(lambda: condition(world.job(), "Stalled").get("reason") == "Unreadable", "it says so itself")
    assert condition(world.job(), "Stalled")["status"] == "True"
    assert condition(world.job(), "Ready")["status"] == "False"
    assert "status.phase" in condition(world.job(), "Stalled")["message"]
    assert world.status()["phase"] == "Paused"
    assert world.status()["run"]["shard"] == 3
    await operator.until_metric(1, "curation_unreadable_objects", kind="CurationJob")
    await operator.until_metric(1, "curation_unreadable_objects", kind="CurationModule")
    await operator.until_metric(1, "curation_unreadable_objects", kind="CurationApproval")

    # Nothing else is held up: not the other job, not a new one, not a denied one's approval, not a module's waiter.
    await world.edit("job-1", rerun="again")
    await world.create_job("fresh")
    await world.create_job("waits", moduleRef={"name": "newer"})
    denied = manifests.policy('forbid(principal, action, resource) when { context.job == "asks" };', "none")
    await world.cluster.create(denied)
    await world.until_phase("Running", "fresh", "job-1")
    await world.create_job("asks")
    await world.until_phase("AwaitingApproval", "asks")
    name = world.status("asks")["approval"]["name"]
    await world.until(lambda: name in world.others["curationapprovals"].present, "its approval is made")
    await world.until_phase("Queued", "waits", reason="WaitingForModule")
    assert "cannot be read" in world.status("waits")["message"]
    assert len(world.service.live_sessions(job=uid)) == 1

    # The command shows them beside the others.
    listed = await plugin(world, "approvals")
    assert "Unreadable" in listed
    assert name in listed
    explained = await plugin(world, "why", "job-0")
    assert "status.phase" in explained
    assert session in explained
    assert "kubectl delete curationjob job-0" in explained
    assert "job-0" in await plugin(world, "watch", "--timeout", "3s", code=None)
    assert json.loads(await plugin(world, "why", "job-0", "-o", "json"))["unreadable"]

    # Reported once each, however often it was reconciled.
    await world.cluster.patch(JOBS, "job-0", {"metadata": {"labels": {"seen": "again"}}})
    await world.edit("fresh", rerun="again")
    await world.until(lambda: (world.status("fresh").get("run") or {}).get("generation") == 2, "fresh runs again")
    assert len([line for line in operator.logged("cannot read the object") if "job-0" in line["message"]]) == 1
    assert world.event_count("Unreadable", name="job-0") == 1

    # Each can be deleted; the job's session is cancelled first.
    await asyncio.gather(
        world.cluster.delete(JOBS, "job-0"),
        world.cluster.delete(MODULES, "newer"),
        world.cluster.delete(APPROVALS, "deferred"),
    )
    await world.until_gone("job-0")
    await world.until(lambda: "newer" not in world.others["curationmodules"].present, "the module is gone")
    assert world.service.live_sessions(job=uid) == []
    await operator.until_metric(0, "curation_unreadable_objects", kind="CurationJob")


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("submitted-without-a-run", {"phase": "Submitted"}),
        ("running-without-a-run", {"phase": "Running", "session": {"id": "s", "runID": "r", "spawnedAt": "never"}}),
        ("a-run-of-no-attempt", {"phase": "Queued", "abandonedRuns": [{"id": "run"}]}),
        ("a-status-of-words", {"phase": "Done", "conditions": [{}], "run": {}, "session": {}, "abandonedRuns": [{}]}),
    ],
)
async def test_a_status_that_only_a_person_can_have_written_holds_nothing_up_and_goes_when_it_is_deleted(
    rolled_back: World, name: str, status: dict[str, Any]
) -> None:
    world = rolled_back
    await world.prepare()
    await world.create_job(name, suspend=True)
    operator = await world.start_operator()
    await world.until_phase("Queued", name)
    path = world.cluster.path(JOBS, name, "status")
    code, answer = await world.cluster.request("PATCH", path, {"status": status})
    assert code == 200, answer
    await world.until(lambda: world.event_count("Unreadable", name=name) >= 1, "it is reported")
    await world.create_job("other")
    await world.until_phase("Running", "other")
    await world.cluster.delete(JOBS, name)
    await world.until_gone(name)
    assert not operator.logged("failed and is tried again")


async def test_a_bad_condition_is_written_anew_and_the_job_goes_on(rolled_back: World) -> None:
    world = rolled_back
    await world.prepare()
    await world.start_operator()
    await world.create_jobs(1)
    await world.until_phase("Running")
    bad = {"type": "Ready", "status": "True", "reason": "x", "lastTransitionTime": "0000-01-01t00:00:00z"}
    await world.cluster.patch(JOBS, "job-0", {"status": {"conditions": [bad]}}, "status")
    await world.edit("job-0", rerun="again")
    await world.until(lambda: (world.status().get("run") or {}).get("generation") == 2, "it runs again")
    await world.until_phase("Running")
    ready = condition(world.job(), "Ready")
    assert (ready["status"], ready["lastTransitionTime"] == bad["lastTransitionTime"]) == ("False", False)
