"""docs/write-a-module.md as it stands: from an empty folder to a Running job, with the real registry and cosign.

In each language a module is built, pushed, signed, and pulled by its digest; unsigned it is refused.
"""

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from testing.controlplane import namespaces
from testing.controlplane.connection import Connection
from tests.harness import page
from tests.harness.real_registry import RealRegistry, real_registry
from tests.harness.world import open_world
from tests.integration.operator.test_module_sources import until_ready
from tests.integration.operator.test_oci_modules import conditions

COMPILED_WITHIN = 900.0
TOOLS = {"Rust": ("cargo",), "JavaScript": ("node", "npm", "npx"), "Python": ("python3",)}


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[RealRegistry]:
    folder = tmp_path / "registry"
    folder.mkdir()
    async with real_registry(folder) as served:
        yield served


@pytest.mark.own_operator
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("language", page.LANGUAGES)
async def test_a_reader_of_the_page_gets_a_signed_module_from_a_registry_to_run_a_job(
    installed: Connection, module_cache: Path, tmp_path: Path, registry: RealRegistry, language: str
) -> None:
    lacking = [tool for tool in (*TOOLS[language], "curl") if shutil.which(tool) is None]
    if lacking:
        pytest.skip(f"{', '.join(lacking)} are not on the PATH")
    skip_what_cannot_be_had(language, tmp_path)
    team = namespaces.unused()
    way = page.way(language, "In a registry")
    [keys] = [index for index, block in enumerate(way) if "generate-key-pair" in block.text]
    [signs] = [index for index, block in enumerate(way) if "cosign sign" in block.text]
    [names] = [index for index, block in enumerate(way) if "--oci" in block.text]
    async with AsyncExitStack() as stack:
        stack.callback(namespaces.delete, installed, team)
        world = await stack.enter_async_context(open_world(installed, team, module_cache))
        home = tmp_path / "home"
        home.mkdir()
        shell = await stack.enter_async_context(
            page.shell(home, installed, sessions=world.service.url, team=team, registry=registry)
        )
        await shell.run(*way[: keys + 1])
        key = home / "my-module" / "cosign.pub"
        await world.start_operator("--ca-bundle", str(registry.authority), "--require-signature", str(key))
        await shell.run(*way[keys + 1 : signs])
        # Out of the reader's order: not signed yet.
        await shell.run(way[names])
        assert "cosign" in await until_ready(world, "False", "NotSigned", "my-module")

        await shell.run(way[signs], *way[signs + 1 : names])
        running = next(index for index, block in enumerate(way) if "curl" in block.text)
        await until_ready(world, "True", "Compiled", "my-module", seconds=COMPILED_WITHIN)
        shown = (await conditions(world, "my-module"))["SignatureVerified"]
        assert shown == ("True", "Verified", "It is signed by the key cosign.")
        listed = await shell.run(*way[names:running])
        assert "my-first-job" in listed
        assert "Running" in listed
        assert (await shell.run(*way[running:])).endswith('{"rows":7}')
        await world.settled()


def skip_what_cannot_be_had(language: str, folder: Path) -> None:
    """Skip where what builds a module cannot be fetched: a build that fails after that is a fault."""
    fetches = ["python3", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), "hatchling==1.33.0"]
    probes = {"JavaScript": ["npm", "view", "esbuild@0.28.2", "version"], "Python": fetches}
    if language in probes:
        done = subprocess.run(probes[language], capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            pytest.skip(f"what builds {language} cannot be had here: {done.stderr[-300:]}")
