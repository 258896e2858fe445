from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from testing.controlplane.connection import Connection
from tests.harness.history import History
from tests.harness.world import World
from tests.integration.approvals.decisions import APPROVALS, MODULES, POLICIES, Approvals
from tests.integration.cli.running import Plugin
from tests.integration.manifests.conftest import Bind, bind

__all__ = ["approvals", "approver", "bind"]


@pytest.fixture
async def approvals(world: World, installed: Connection, namespace: str) -> AsyncIterator[Approvals]:
    """The approvals of the world's namespace."""
    histories = {
        plural: History(world.cluster, plural, world._changes.notify) for plural in (APPROVALS, POLICIES, MODULES)
    }
    async with AsyncExitStack() as stack:
        for history in histories.values():
            await stack.enter_async_context(history)
        yield Approvals(world, histories[APPROVALS], histories, Plugin(installed, namespace))


@pytest.fixture
def approver(bind: Bind) -> str:
    """Somebody with the shipped role curation-approver in the namespace."""
    return bind("curation-approver")
