"""A control plane of the Kubernetes version that is asked for, once for each way to set its API server up."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from testing.controlplane import namespaces
from testing.controlplane.binaries import MODULE, find, kubernetes_version
from testing.controlplane.build import find_or_build
from testing.controlplane.connection import Connection
from testing.controlplane.install import install
from testing.controlplane.releases import parse
from testing.controlplane.server import ControlPlane

ROOT = Path(__file__).parents[2]
_RELEASE = os.environ.get("CURATION_COMPAT") or None
"""The Kubernetes version that `make compat` asks for; none: the pinned one."""
_GATE = "--feature-gates=MutatingAdmissionPolicy=true"
_SERVED = "--runtime-config=admissionregistration.k8s.io/v1beta1=true"
_OVERLAYS = {
    "admission": "default",
    "admission-v1beta1": "default-v1beta1",
    "admission-validating": "default-validating",
}


@dataclass(frozen=True)
class Setup:
    """One way to start an API server, and what fits it."""

    arguments: tuple[str, ...]
    component: str
    served: str = ""
    """The version in which MutatingAdmissionPolicy is served."""

    @property
    def inert(self) -> bool:
        """MutatingAdmissionPolicy is served and does nothing."""
        return bool(self.served) and not self.stamps

    @property
    def overlay(self) -> Path:
        """The overlay that has the component."""
        return Path("manifests/overlays") / _OVERLAYS[self.component]

    @property
    def stamps(self) -> bool:
        """Whether admission records names."""
        return self.component != "admission-validating"


@dataclass(frozen=True)
class Installation:
    """A control plane with the operator's manifests."""

    connection: Connection
    setup: Setup


def minor_of(version: str) -> int:
    """`35` of `v1.35.4`."""
    return int(version.removeprefix("v").split(".")[1])


def setups(version: str, *, switches: bool) -> dict[str, Setup]:
    """The ways to set up a version, by name."""
    minor = minor_of(version)
    if minor >= 36:
        plain = {"plain": Setup((), "admission", "v1")}
        off = {
            "switched-off": Setup(
                ("--disable-admission-plugins=MutatingAdmissionPolicy",), "admission-validating", "v1"
            )
        }
        return {**plain, **off} if switches else plain
    plain = {"plain": Setup((), "admission-validating")}
    if minor < 34 or not switches:
        return plain
    return {
        **plain,
        "switched-on": Setup((_GATE, _SERVED), "admission-v1beta1", "v1beta1"),
        "inert": Setup((_SERVED,), "admission-validating", "v1beta1"),
    }


def version_asked_for() -> str:
    """The version that is asked for, without a build of it: tests are collected where none is to be run, too."""
    if _RELEASE is not None:
        return parse(_RELEASE)
    given = find(os.environ)
    return given.version if given else kubernetes_version((MODULE / "go.mod").read_text())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test in each setup of the version."""
    if "setup" in metafunc.fixturenames:
        version = version_asked_for()
        found = setups(version, switches=not os.environ.get("CURATION_COMPAT_WITHOUT_SWITCHES"))
        metafunc.parametrize("setup", found.values(), ids=[f"{version}-{name}" for name in found], scope="session")


@pytest.fixture(scope="session")
def server(setup: Setup) -> Iterator[Connection]:
    """The API server, without anything of ours."""
    with ControlPlane(binaries=find_or_build(release=_RELEASE), arguments=setup.arguments) as control_plane:
        yield control_plane.connection


@pytest.fixture(scope="session")
def installation(setup: Setup, server: Connection) -> Installation:
    """The API server with the overlay that fits."""
    install(server, overlay=setup.overlay)
    return Installation(server, setup)


@pytest.fixture
def place(installation: Installation, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh namespace for one test."""
    name = namespaces.create(installation.connection, request.node.nodeid)
    yield name
    namespaces.delete(installation.connection, name)
