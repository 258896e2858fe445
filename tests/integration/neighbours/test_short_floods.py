"""One namespace floods, another one works: the short form of `tests/neighbours`."""

from pathlib import Path

import pytest

from tests.faults.neighbours import SHORT
from tests.harness.neighbours import another_namespace, flooding, hostile_server, work
from tests.harness.world import World


@pytest.mark.own_operator
@pytest.mark.parametrize("name", SHORT)
async def test_another_namespace_has_its_jobs_done_while_one_floods(world: World, tmp_path: Path, name: str) -> None:
    await world.prepare()
    async with another_namespace(world, "noisy") as noisy, hostile_server() as url:
        options = ("--max-concurrent-runs", "16", "--workers-memory", "64Gi")
        operator = world.operator("-n", noisy.namespace, *options)
        await operator.start()
        flood = SHORT[name](url)
        async with flooding(noisy, flood, tmp_path, served=True):
            await work(world, "quiet", 2)
            assert flood.bites(await noisy.list("curationjobs")), "the flood goes on"
            await operator.kill()
