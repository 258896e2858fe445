"""Objects of the largest size that the API server takes, written by somebody at full speed: they cost others nothing.

What is over its bound is still shown, failed and deleted.
"""

import asyncio
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hack.controlplane.connection import Kubectl
from tests.faults.large_jobs import large_job
from tests.harness.cluster import Cluster
from tests.harness.leases import election
from tests.harness.slow_runs import Point, hold
from tests.harness.world import JOBS, World

ROOT = Path(__file__).parents[3]
LARGE_JOBS = 18
LARGE_BYTES = 1_400_000
ANNOTATIONS = 3
"""Of each job: 54 in all."""
EVIDENT = 5
"""Jobs of another namespace that are timed while a flood is on."""


@asynccontextmanager
async def another_namespace(world: World, suffix: str) -> AsyncIterator[Cluster]:
    name = f"{world.namespace}-{suffix}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    code, answer = await world.cluster.request("POST", "/api/v1/namespaces", body)
    assert code == 201, answer
    async with Cluster(world.cluster.connection, name) as cluster:
        try:
            yield cluster
        finally:
            await world.cluster.request("DELETE", f"/api/v1/namespaces/{name}")


@asynccontextmanager
async def flood(cluster: Cluster, annotations: int = ANNOTATIONS) -> AsyncIterator[asyncio.subprocess.Process]:
    """The flood of this namespace, all its jobs made; it has annotated them when the process has ended with 0."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.large_jobs", str(cluster.connection.kubeconfig()), cluster.namespace),
        *map(str, (LARGE_JOBS, LARGE_BYTES, annotations)),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"made\n"
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def seconds_to_running(world: World, name: str) -> float:
    """How long a new job takes to be Running."""
    begun = time.monotonic()
    await world.create_job(name)
    await world.until_phase("Running", name)
    return time.monotonic() - begun


@pytest.mark.own_operator
async def test_a_flood_of_large_objects_delays_no_other_namespace_by_a_second_and_loses_no_lease(world: World) -> None:
    """Compared with the same flood in a namespace that the operator does not serve: what the API server suffers of it
    is the same."""
    await world.prepare()
    async with (
        another_namespace(world, "unserved") as unserved,
        another_namespace(world, "served") as served,
        election(world) as lease,
    ):
        operator = world.operator("-n", served.namespace, lease=True)
        await operator.start()
        assert await lease.leader() is operator
        took: dict[str, list[float]] = {}
        for cluster in (unserved, served):
            times = took[cluster.namespace] = []
            async with flood(cluster) as flooding:
                while flooding.returncode is None or len(times) < EVIDENT:
                    times.append(await seconds_to_running(world, f"job-{len(took)}-{len(times)}"))
                assert await flooding.wait() == 0
        control, flooded = took.values()
        shown = f"{control} without, {flooded} with the flood in a namespace that is served"
        assert statistics.median(flooded) <= statistics.median(control) + 1.0, shown
        assert max(flooded) <= max(control) + 5.0, shown

        phases = [(job["status"]["phase"], job["status"]["reason"]) for job in await served.list(JOBS)]
        assert phases == [("Failed", "InvalidSpec")] * LARGE_JOBS
        assert operator.running
        assert len(lease.holders()) == 1
        assert lease.transitions() == 0
        await world.settled()


async def test_a_job_that_becomes_too_large_is_failed_shown_and_deleted_and_its_session_is_cancelled(
    world: World, kubectl: Kubectl, tmp_path: Path
) -> None:
    await world.prepare()
    await world.start_operator()
    await world.create_jobs(1)
    await world.until_phase("Running")
    (session,) = world.service.live_sessions()

    patch = tmp_path / "patch.json"
    patch.write_text(json.dumps({"spec": {"input": {"words": ["x" * 20] * (LARGE_BYTES // 23)}}}), encoding="utf-8")
    await asyncio.to_thread(kubectl, "patch", "cjob", "job-0", "--type=merge", f"--patch-file={patch}")
    await world.until_phase("Failed", reason="InvalidSpec")
    assert "spec.input is " in world.status()["message"]
    assert "give the module a reference to it" in world.status()["message"]
    assert world.status()["observedGeneration"] == world.job()["metadata"]["generation"]
    await world.until(lambda: not world.status().get("abandonedRuns"), "the session is cancelled")
    assert [found.state for found in world.service.sessions() if found.id == session.id] == ["cancelled"]
    # What others have written is as it was.
    assert len(world.job()["spec"]["input"]["words"]) == LARGE_BYTES // 23
    shown = await asyncio.to_thread(kubectl, "get", "cjob", "job-0")
    assert "InvalidSpec" in shown.stdout

    file = tmp_path / "new.json"
    file.write_bytes(large_job("large", LARGE_BYTES))
    await asyncio.to_thread(kubectl, "create", "-f", str(file))
    await asyncio.to_thread(kubectl, "wait", "--for=condition=Stalled", "cjob/large", "--timeout=120s")
    # Mended, it runs.
    await world.edit("job-0", input={"message": "mended", "words": None})
    await world.until_phase("Running")
    await asyncio.to_thread(kubectl, "delete", "cjob", "large", "job-0", "--timeout=120s")
    await world.until_gone("large", "job-0")
    assert world.service.live_sessions() == []


async def test_a_job_in_flight_that_is_given_too_many_labels_ends_without_a_session(world: World) -> None:
    await world.prepare()
    await world.start_operator()
    held = hold(world, Point.CREATED)
    await world.create_jobs(1)
    await world.service.wait_held(held)
    labels = {f"label-{number}": "x" * 60 for number in range(1000)}
    await world.cluster.patch(JOBS, "job-0", {"metadata": {"labels": labels}})
    await world.until_phase("Failed", reason="InvalidSpec")
    assert "metadata.labels" in world.status()["message"]
    held.release()
    await world.until(lambda: not world.status().get("abandonedRuns"), "its run is cleaned")
    assert world.service.live_sessions() == []


@pytest.mark.own_operator
async def test_an_operator_starts_beside_many_large_objects_and_serves_the_others(world: World) -> None:
    await world.prepare()
    async with another_namespace(world, "served") as served:
        async with flood(served, annotations=1) as flooding:
            assert await flooding.wait() == 0
        await world.create_jobs(3)
        operator = world.operator("-n", served.namespace)
        await operator.start()
        await world.until_phase("Running", "job-0", "job-1", "job-2")
        async with asyncio.timeout(120):
            while True:
                jobs = await served.list(JOBS)
                if all(job.get("status", {}).get("reason") == "InvalidSpec" for job in jobs):
                    break
                await asyncio.sleep(0.5)
        # Pages of such a list are given up and asked for again with fewer objects.
        await operator.stop()
        again = world.operator("-n", served.namespace)
        await again.start()
        await world.create_job("job-3")
        await world.until_phase("Running", "job-3")
        await world.settled()
