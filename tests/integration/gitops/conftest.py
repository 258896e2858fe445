import pytest

from testing.controlplane.connection import Connection
from tests.integration.cli.running import Plugin


@pytest.fixture
def plugin(installed: Connection, namespace: str) -> Plugin:
    """Runs kubectl-curation in the test's namespace."""
    return Plugin(installed, namespace)
