"""Fixtures of tests whose jobs run in pods. A folder's `conftest.py` names those that it wants."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from testing.controlplane.binaries import OLDEST_OF_DEFAULT_OVERLAY
from testing.controlplane.build import find_or_build
from testing.controlplane.connection import Connection
from testing.controlplane.install import install
from testing.controlplane.server import ControlPlane
from tests.harness.pods import Pods, open_pods


@pytest.fixture(scope="session")
def whole_plane() -> Iterator[ControlPlane]:
    """A control plane with the Job controller too."""
    binaries = find_or_build(oldest=OLDEST_OF_DEFAULT_OVERLAY)
    if binaries.controller_manager is None:
        pytest.skip("there is no kube-controller-manager here")
    with ControlPlane(binaries=binaries, more_controllers=("job-controller",)) as control_plane:
        install(control_plane.connection)
        yield control_plane


@pytest.fixture(scope="session")
def plane(whole_plane: ControlPlane) -> Connection:
    """How to reach it."""
    return whole_plane.connection


@pytest.fixture
async def pods(whole_plane: ControlPlane, request: pytest.FixtureRequest, module_cache: Path) -> AsyncIterator[Pods]:
    """See `Pods`; no operator runs yet."""
    async with open_pods(whole_plane, request.node.nodeid, module_cache) as opened:
        yield opened
