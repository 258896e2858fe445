"""Fixtures that give tests a real API server.

Loaded by `tests/conftest.py`. A run of pytest has one control plane, shared by the workers of pytest-xdist. It starts
when the first test asks for it: a run of unit tests neither starts nor builds one. Tests that break the server use
`private_control_plane`, which nobody shares.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from testing.controlplane import namespaces
from testing.controlplane.binaries import OLDEST_OF_DEFAULT_OVERLAY
from testing.controlplane.build import find_or_build
from testing.controlplane.connection import Connection, Kubectl
from testing.controlplane.install import install
from testing.controlplane.server import ControlPlane
from testing.controlplane.shared import SharedControlPlane, ask

_SHARED = pytest.StashKey[SharedControlPlane]()
_INVITATION = "curation_control_plane"


def _make() -> ControlPlane:
    # The audit log costs about 0.15 ms of CPU a write, of 1.1 (measured); counting the writes of a user is worth it.
    return ControlPlane(binaries=find_or_build(oldest=OLDEST_OF_DEFAULT_OVERLAY), audit_log=True)


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the sharing; nothing is started."""
    if not hasattr(config, "workerinput"):
        config.stash[_SHARED] = SharedControlPlane(_make)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a worker of pytest-xdist the place to ask."""
    node.workerinput[_INVITATION] = node.config.stash[_SHARED].invitation()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what was started, also after an interrupt or an internal error; a SIGKILL is the supervisor's to clean."""
    if shared := config.stash.get(_SHARED, None):
        shared.stop()


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Connection:
    """The control plane of this run, without the operator's CRDs (see `installed`). Do not break it: it is shared."""
    worker: dict[str, Any] | None = getattr(request.config, "workerinput", None)
    if worker is not None:
        return ask(worker[_INVITATION])
    capture = request.config.pluginmanager.getplugin("capturemanager")
    # The first build takes minutes: its progress must be seen.
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        return request.config.stash[_SHARED].connection()


@pytest.fixture(scope="session")
def installed(control_plane: Connection) -> Connection:
    """The control plane of this run with the CRDs and the manifests of this repository in effect."""
    install(control_plane)
    return control_plane


@pytest.fixture
def namespace(installed: Connection, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh namespace for one test; it is deleted afterwards, and nobody waits for that."""
    name = namespaces.create(installed, request.node.nodeid)
    yield name
    namespaces.delete(installed, name)


@pytest.fixture
def kubectl(installed: Connection, namespace: str) -> Kubectl:
    """Runs kubectl in the test's namespace: `kubectl("get", "cjob", user=..., groups=..., input=..., check=...)`."""
    return functools.partial(installed.kubectl, "--namespace", namespace)


@pytest.fixture
def private_control_plane() -> Iterator[ControlPlane]:
    """A control plane of the test's own, with the CRDs, to be stopped, killed, paused and restarted (about 5 s)."""
    with _make() as control_plane:
        install(control_plane.connection)
        yield control_plane
