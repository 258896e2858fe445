import pytest

from testing.controlplane.connection import Connection
from tests.harness.world import World
from tests.integration.approvals.decisions import Approvals
from tests.integration.cli.running import Plugin
from tests.integration.manifests.conftest import Bind, bind

__all__ = ["approvals", "approver", "bind"]


@pytest.fixture
def approvals(world: World, installed: Connection, namespace: str) -> Approvals:
    """The approvals of the world's namespace."""
    return Approvals(world, Plugin(installed, namespace))


@pytest.fixture
def approver(bind: Bind) -> str:
    """Somebody with the shipped role curation-approver in the namespace."""
    return bind("curation-approver")
