from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from testing.controlplane.connection import Connection, Kubectl
from tests.harness.doorway import Doorway
from tests.harness.world import World


@pytest.fixture
async def doorway(world: World, installed: Connection, kubectl: Kubectl, tmp_path: Path) -> AsyncIterator[Doorway]:
    """A world with a webhook; its door is closed at the end."""
    made = Doorway(world, installed, kubectl, tmp_path)
    yield made
    made.door.close()
