"""The harness as pytest fixtures."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hack.controlplane.connection import Connection
from hack.sessions import SessionService
from tests.harness.world import World, open_world


@pytest.fixture(scope="session")
def module_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the operators of one test worker keep compiled modules: compiling takes longer than most tests."""
    folder = tmp_path_factory.mktemp("modules")
    folder.chmod(0o700)
    return folder


@pytest.fixture
async def world(installed: Connection, namespace: str, module_cache: Path) -> AsyncIterator[World]:
    """A namespace of the shared control plane, with a session service and the history of its jobs; no operator yet."""
    async with open_world(installed, namespace, module_cache) as opened:
        yield opened


@pytest.fixture
def sessions(world: World) -> SessionService:
    """The world's session service."""
    return world.service
