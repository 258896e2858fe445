"""A job near etcd's limit, whose status does not fit beside it: visible, and deletable."""

import asyncio
from typing import Any

import pytest

from tests.harness import manifests
from tests.harness.world import JOBS, SECONDS, World
from tests.integration.cli.running import Plugin


async def asked(world: World, method: str, name: str, body: object = None) -> tuple[int, Any]:
    """One request about a job, as admin. (aiohttp warns of bodies of this size.)"""
    return await asyncio.to_thread(world.cluster.connection.request, method, world.cluster.path(JOBS, name), body)


async def deleted(world: World, name: str) -> None:
    """Delete a job that was made smaller."""
    # Trap: the API server begins a deletion with the version in its cache, which may still be the large one.
    async with asyncio.timeout(SECONDS):
        while (await asked(world, "DELETE", name))[0] >= 300:  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.1)


async def removed(world: World, name: str) -> None:
    """Remove a job of no operator's."""
    await asked(world, "PATCH", name, {"spec": {"input": None}})
    await deleted(world, name)
    await asked(world, "PATCH", name, {"metadata": {"finalizers": None}})
    async with asyncio.timeout(SECONDS):
        while (await asked(world, "GET", name))[0] != 404:  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.1)


@pytest.mark.own_operator
async def test_a_job_whose_status_does_not_fit_says_so_and_goes_once_it_is_made_smaller(world: World) -> None:
    await world.prepare()
    room, full = 1_500_000, 1_600_000
    while full - room > 64:  # the greatest input that the store takes beside the rest
        size = (room + full) // 2
        code, answer = await asked(
            world, "POST", "", manifests.job("probe", world.service.url, input={"x": "x" * size})
        )
        if code == 201:
            room = size
            await removed(world, "probe")
        else:
            assert "too large" in str(answer), answer
            full = size
    code, _ = await asked(world, "POST", "", manifests.job("job-0", world.service.url, input={"x": "x" * room}))
    assert code == 201
    operator = await world.start_operator()
    await world.until(lambda: world.event_count("WriteRefused", name="job-0", note="too large") >= 1, "it is reported")
    await world.create_job("other")
    await world.until_phase("Running", "other")
    assert len(operator.logged("request is too large", level="ERROR")) == 1
    plugin = Plugin(world.cluster.connection, world.namespace)
    explained = (await asyncio.to_thread(lambda: plugin("why", "job-0"))).stdout
    assert "too large" in explained
    assert "kubectl patch curationjob job-0" in explained.split("You can:")[1]
    await world.cluster.patch(JOBS, "job-0", {"spec": {"input": None}})
    await deleted(world, "job-0")
    await world.until_gone("job-0")
