"""The real Helm, and what both it and kustomize render."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import hack.chart
from testing.controlplane.connection import Connection
from testing.controlplane.server import ControlPlane
from tests.oracles import go_programs
from tests.oracles import helm as helm_oracle

ROOT = Path(__file__).parents[2]
CHART = Path(tempfile.gettempdir()) / f"curation-chart-{os.getpid()}"
NAMESPACE = "curation-system"
RELEASE = "curation-operator"
_SECONDS = 300

Object = dict[str, Any]
Helm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def made_chart() -> Iterator[None]:
    """The whole chart, at CHART. Workers make the same, each in a folder of its own."""
    hack.chart.make(CHART)
    yield
    shutil.rmtree(CHART)


@pytest.fixture(scope="session")
def program() -> Path:
    """Helm, built from Go modules, once."""
    try:
        return helm_oracle.program()
    except go_programs.CannotBuild as reason:
        pytest.skip(str(reason))


@pytest.fixture
def empty() -> Iterator[ControlPlane]:
    """A control plane of the test's own, with nothing of ours."""
    with ControlPlane() as made:
        yield made


def _helm(program: Path, folder: Path, environment: Mapping[str, str]) -> Helm:
    def run(*arguments: str, values: object = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        chosen = ("--values", "-") if values is not None else ()
        ended = subprocess.run(
            [str(program), *arguments, *chosen],
            input=json.dumps(values) if values is not None else None,
            env={
                **environment,
                "HELM_CACHE_HOME": str(folder),
                "HELM_CONFIG_HOME": str(folder),
                "HELM_DATA_HOME": str(folder),
                "HELM_NAMESPACE": NAMESPACE,
            },
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert not check or ended.returncode == 0, ended.stderr
        return ended

    return run


@pytest.fixture
def offline(program: Path, tmp_path: Path) -> Helm:
    """`offline("template", ..., values={...})`, without a cluster."""
    return _helm(program, tmp_path, {**os.environ, "KUBECONFIG": os.devnull})


@pytest.fixture
def helm(program: Path, tmp_path: Path, empty: ControlPlane) -> Helm:
    """`helm("install", ..., values={...})`, as the administrator of `empty`."""
    return _helm(program, tmp_path, empty.connection.environment())


def by_identity(text: str) -> dict[tuple[str, str, str, str], Object]:
    """The objects of a stream of YAML, by group and version, kind, namespace and name."""
    objects = [each for each in yaml.safe_load_all(text) if each]
    found = {
        (each["apiVersion"], each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each
        for each in objects
    }
    assert len(found) == len(objects), "each once"
    return found


def kustomized(connection: Connection, folder: Path) -> dict[tuple[str, str, str, str], Object]:
    """What the real kustomize makes of a folder."""
    return by_identity(connection.kubectl("kustomize", str(folder)).stdout)
