"""`kubectl curation dashboard` as a process, and a real browser that looks at it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from testing.controlplane.connection import Connection
from tests.harness.browser import PROGRAM, WHY_NOT, Page, browser, page
from tests.integration.approvals.conftest import approvals, approver
from tests.integration.cli.running import Plugin
from tests.integration.manifests.conftest import bind

__all__ = ["approvals", "approver", "bind"]

SECONDS = 120.0
IMAGES = Path(__file__).parents[3] / "docs" / "images"


class Opens(Protocol):
    """Starts a dashboard as a user, and opens it in a page of its own."""

    async def __call__(self, user: str) -> tuple[Page, str]: ...


@pytest.fixture(scope="module")
def devtools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running browser."""
    if PROGRAM is None:
        pytest.skip(WHY_NOT)
    with browser(tmp_path_factory.mktemp("browser")) as address:
        yield address


@asynccontextmanager
async def dashboard(plugin: Plugin, user: str) -> AsyncIterator[str]:
    """The address that the program prints; it must end in good order."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "curation.cli.plugin", "dashboard", "--no-browser"),
        env=plugin.environment(user),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SECONDS):
            url = (await process.stdout.readline()).decode().strip()
        yield url
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(SECONDS):
            _, said = await process.communicate()
        assert (process.returncode, said) == (0, b""), said.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def opens(devtools: str, installed: Connection, namespace: str) -> AsyncIterator[Opens]:
    """See `Opens`."""
    plugin = Plugin(installed, namespace)
    async with AsyncExitStack() as stack:

        async def opened(user: str) -> tuple[Page, str]:
            url = await stack.enter_async_context(dashboard(plugin, user))
            found = await stack.enter_async_context(page(devtools))
            await found.open(url)
            await found.until("document.getElementById('connection').textContent === 'Live'")
            return found, url

        yield opened


async def pictured(shown: Page, name: str) -> None:
    """Keep a picture for the documentation, where `CURATION_PICTURES` asks for it."""
    if os.environ.get("CURATION_PICTURES"):
        IMAGES.mkdir(exist_ok=True)
        for scheme in ("light", "dark"):
            await shown.look(scheme)
            (IMAGES / f"{name}-{scheme}.png").write_bytes(await shown.picture())
        await shown.look("light")
