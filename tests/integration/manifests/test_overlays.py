"""Every overlay and component, applied to an API server that has seen nothing of ours before."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.controlplane.connection import Connection
from hack.controlplane.server import ControlPlane
from tests.integration.api.objects import until

_ROOT = Path(__file__).parents[3]
_MANIFESTS = _ROOT / "manifests"
_APPLY = ("apply", "--server-side")


@pytest.fixture
def empty() -> Iterator[ControlPlane]:
    """A control plane of the test's own, without CRDs."""
    with ControlPlane() as control_plane:
        yield control_plane


def _overlays() -> list[str]:
    return sorted(folder.name for folder in (_MANIFESTS / "overlays").iterdir())


def _kustomize(control_plane: Connection | ControlPlane, folder: Path) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all(control_plane.kubectl("kustomize", str(folder)).stdout) if item]


def test_these_are_the_overlays() -> None:
    assert _overlays() == ["default", "development", "namespaced"]


@pytest.mark.parametrize("overlay", _overlays())
def test_an_overlay_installs_everything_into_an_empty_cluster(empty: ControlPlane, overlay: str) -> None:
    folder = _MANIFESTS / "overlays" / overlay
    applied = empty.kubectl(*_APPLY, "-k", str(folder))
    assert "Warning" not in applied.stderr, "such as one about pod security"
    for item in _kustomize(empty, folder):
        metadata = item["metadata"]
        where = ("-n", metadata["namespace"]) if "namespace" in metadata else ()
        group, _, version = item["apiVersion"].rpartition("/")
        kind = f"{item['kind']}.{version}.{group}" if group else item["kind"]
        empty.kubectl("get", kind, metadata["name"], *where)
    # A second time nothing changes.
    assert empty.kubectl("diff", "--server-side", "-k", str(folder)).stdout == ""
    deployment = json.loads(
        empty.kubectl("get", "deploy", "curation-operator", "-n", "curation-system", "-o", "json").stdout
    )
    pod = deployment["spec"]["template"]
    # Restricted pod security: the namespace enforces it, so that a pod of the template must be admitted.
    spec = {"metadata": {"name": "probe", "namespace": "curation-system"}, "spec": pod["spec"]}
    until(
        lambda: empty.request("GET", "/api/v1/namespaces/curation-system/serviceaccounts/curation-operator")[0] == 200
    )
    status, answer = empty.request("POST", "/api/v1/namespaces/curation-system/pods?dryRun=All", spec)
    assert status == 201, answer


def test_the_samples_are_accepted(installed: Connection) -> None:
    applied = installed.kubectl(*_APPLY, "--dry-run=server", "-o", "name", "-k", str(_MANIFESTS / "samples"))
    assert applied.stderr == ""
    assert sorted(applied.stdout.split()) == [
        "clustercurationpolicy.curation.dev/https-only",
        "configmap/hello-module",
        "curationjob.curation.dev/first",
        "curationjob.curation.dev/hello",
        "curationmodule.curation.dev/build-session-message",
        "curationmodule.curation.dev/hello",
        "curationpolicy.curation.dev/session-service",
    ]


def test_every_component_is_in_an_overlay_or_can_be_added_to_one(installed: Connection, tmp_path: Path) -> None:
    overlays = [_MANIFESTS / "overlays" / name / "kustomization.yaml" for name in _overlays()]
    used = {Path(path).name for file in overlays for path in yaml.safe_load(file.read_text("utf-8"))["components"]}
    optional = sorted({folder.name for folder in (_MANIFESTS / "components").iterdir()} - used)
    assert "admission-no-self-approval" in optional
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [_relative(tmp_path, _MANIFESTS / "overlays" / "default")],
        "components": [_relative(tmp_path, _MANIFESTS / "components" / "admission-no-self-approval")],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(kustomization), encoding="utf-8")
    applied = installed.kubectl(*_APPLY, "--dry-run=server", "--force-conflicts", "-o", "name", "-k", str(tmp_path))
    prefix = "validatingadmissionpolicybinding.admissionregistration.k8s.io"
    assert f"{prefix}/curation-approval-no-self-approval" in applied.stdout.split()


def test_the_namespaced_overlay_gives_no_right_outside_its_namespace(control_plane: Connection) -> None:
    rendered = _kustomize(control_plane, _MANIFESTS / "overlays" / "namespaced")
    bindings = [item for item in rendered if item["kind"] in ("ClusterRoleBinding", "RoleBinding")]
    assert {(item["kind"], item["metadata"].get("namespace")) for item in bindings} == {
        ("RoleBinding", "curation-jobs"),
        ("RoleBinding", "curation-system"),
    }
    deployment = next(item for item in rendered if item["kind"] == "Deployment")
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments[-2:] == ["-n", "curation-jobs"]


def _relative(folder: Path, target: Path) -> str:
    """Kustomize takes no absolute paths."""
    return os.path.relpath(target.resolve(), folder.resolve())
