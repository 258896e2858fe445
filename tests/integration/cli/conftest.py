from __future__ import annotations

import pytest

from testing.controlplane.connection import Connection
from tests.integration.cli.running import Objects, Plugin


@pytest.fixture
def plugin(installed: Connection, namespace: str) -> Plugin:
    """Runs kubectl-curation in the test's namespace: `plugin("why", "build", user=..., code=1)`."""
    return Plugin(installed, namespace)


@pytest.fixture
def objects(installed: Connection, namespace: str) -> Objects:
    """Makes objects in the test's namespace."""
    return Objects(installed, namespace)
