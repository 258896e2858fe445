"""A new release's CRD has a new field with a default: no run and no write.

The API server shows the default in old objects at an unchanged generation; it is persisted with the next update.
"""

import asyncio
from pathlib import Path
from typing import Any

from testing.controlplane import namespaces
from testing.controlplane.audit import AuditRecord
from testing.controlplane.install import OPERATOR_USER
from testing.controlplane.server import ControlPlane
from tests.harness.world import JOBS, SECONDS, World, open_world

_POLL_SECONDS = 0.05

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/curationjobs.curation.dev"


def add_field(control_plane: ControlPlane) -> None:
    """Add spec.urgency, with a default."""
    status, crd = control_plane.request("GET", CRD)
    assert status == 200, crd
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["urgency"] = {"type": "string", "default": "normal", "description": "How urgent it is."}
    status, answer = control_plane.request("PUT", CRD, crd)
    assert status == 200, answer


def job_writes(control_plane: ControlPlane) -> list[AuditRecord]:
    """What the operator has written to jobs."""
    return [
        record
        for record in control_plane.audit_records()
        if record.user == OPERATOR_USER and record.is_write and record.resource == JOBS
    ]


async def until_shown(world: World) -> dict[str, Any]:
    """Wait until the API server shows the default in job-0."""
    async with asyncio.timeout(SECONDS):
        while True:
            job = await world.cluster.find(JOBS, "job-0")
            if job is not None and job["spec"].get("urgency") == "normal":
                return job
            await asyncio.sleep(_POLL_SECONDS)


async def test_a_new_defaulted_field_in_the_crd_causes_no_run_and_no_write(
    private_control_plane: ControlPlane, module_cache: Path
) -> None:
    connection = private_control_plane.connection
    async with open_world(connection, namespaces.create(connection, "defaulted field"), module_cache) as world:
        await world.prepare()
        operator = await world.start_operator()
        await world.create_jobs(2)
        await world.until_phase("Running", "job-0", "job-1")
        before = {name: world.job(name) for name in ("job-0", "job-1")}
        await operator.stop()
        written = len(job_writes(private_control_plane))

        world.jobs.may_have_holes = True
        add_field(private_control_plane)
        shown = await until_shown(world)
        assert shown["metadata"]["resourceVersion"] == before["job-0"]["metadata"]["resourceVersion"]
        operator = await world.start_operator()
        # A label edit stores the default; the operator sees the object anew, at the same generation.
        await world.cluster.patch(JOBS, "job-0", {"metadata": {"labels": {"seen": "again"}}})
        # What is made afterwards is decided afterwards: the first two had their turn.
        await world.create_job("after")
        await world.until_phase("Running", "after")
        await world.settled()

        for name, job in before.items():
            assert world.status(name) == job["status"]
            assert world.job(name)["metadata"]["generation"] == job["metadata"]["generation"]
        after_uid = world.job("after")["metadata"]["uid"]
        mine = [entry for entry in world.service.log() if entry.caller.job != after_uid]
        assert {entry.caller.run_id for entry in mine} == {
            world.run_id(name, generation=1) for name in ("job-0", "job-1")
        }
        await operator.stop()
        names = [record.name for record in job_writes(private_control_plane)[written:]]
        assert set(names) == {"after"}
