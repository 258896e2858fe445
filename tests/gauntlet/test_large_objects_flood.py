"""Objects of the largest size that the API server takes, written at full speed: they cost others nothing."""

import asyncio
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from testing.admin_client import AdminClient
from tests.harness.leases import election
from tests.harness.neighbours import another_namespace
from tests.harness.world import JOBS, World

ROOT = Path(__file__).parents[2]
LARGE_JOBS = 18
LARGE_BYTES = 1_400_000
ANNOTATIONS = 3
"""Of each job: 54 in all."""
EVIDENT = 5
"""Jobs of another namespace that are timed while a flood is on."""


@asynccontextmanager
async def flood(cluster: AdminClient, annotations: int = ANNOTATIONS) -> AsyncIterator[asyncio.subprocess.Process]:
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
