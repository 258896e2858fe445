"""Every overlay and component, applied to an API server that has seen nothing of ours before."""

import json
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.certmanager import build as certmanager
from testing.controlplane.connection import Connection
from testing.controlplane.server import ControlPlane
from tests.integration.api.objects import until
from tests.oracles import go_programs

_ROOT = Path(__file__).parents[3]
_MANIFESTS = _ROOT / "manifests"
_APPLY = ("apply", "--server-side")
_MONITORING = _ROOT / "tests" / "oracles" / "monitoring_go"
_ADMISSION = "admissionregistration.k8s.io"
_OPTIONAL = {
    "admission-no-self-approval": [
        f"validatingadmissionpolicy.{_ADMISSION}/curation-approval-no-self-approval",
        f"validatingadmissionpolicybinding.{_ADMISSION}/curation-approval-no-self-approval",
    ],
    "admission-approval-limits": [
        f"validatingadmissionpolicy.{_ADMISSION}/curation-approval-limits",
        f"validatingadmissionpolicybinding.{_ADMISSION}/curation-approval-limits",
    ],
    "grafana": ["configmap/curation-dashboard"],
    "guest-pods": [
        "namespace/curation-guests",
        "serviceaccount/curation-guest",
        *(f"{kind}.rbac.authorization.k8s.io/curation-operator-guests" for kind in ("role", "clusterrole")),
        *(
            f"{kind}.rbac.authorization.k8s.io/curation-operator-guests"
            for kind in ("rolebinding", "clusterrolebinding")
        ),
        "service/curation-operator-door",
        "secret/curation-operator-door",
        *(f"networkpolicy.networking.k8s.io/{name}" for name in ("curation-guests", "curation-operator-door")),
    ],
    "webhook-cert-manager": [
        *(f"issuer.cert-manager.io/curation-operator-webhook{suffix}" for suffix in ("", "-root")),
        *(f"certificate.cert-manager.io/curation-operator-webhook{suffix}" for suffix in ("", "-ca")),
    ],
    "prometheus": [
        "servicemonitor.monitoring.coreos.com/curation-operator",
        "prometheusrule.monitoring.coreos.com/curation-operator",
    ],
}
"""The components that no overlay has, and the objects that each adds."""
_CRDS_OF_PROMETHEUS = "example/prometheus-operator-crd/monitoring.coreos.com_{}.yaml"
_OF_OTHERS = {
    "prometheus": (
        _MONITORING,
        "github.com/prometheus-operator/prometheus-operator",
        [_CRDS_OF_PROMETHEUS.format(kind) for kind in ("servicemonitors", "prometheusrules")],
    ),
    "webhook-cert-manager": (
        certmanager.SOURCE,
        certmanager.MODULE,
        [f"deploy/crds/cert-manager.io_{kind}.yaml" for kind in ("certificates", "issuers")],
    ),
}
"""Of those, the ones with kinds of others: where the CRDs are to be had."""


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
    assert _overlays() == ["default", "default-v1beta1", "default-validating", "development", "namespaced"]


@pytest.fixture
def fitting(overlay: str) -> Iterator[ControlPlane]:
    """An empty control plane that serves what the overlay needs."""
    served = ["--runtime-config=admissionregistration.k8s.io/v1beta1=true"] if "v1beta1" in overlay else []
    with ControlPlane(arguments=served) as control_plane:
        yield control_plane


@pytest.mark.parametrize("overlay", _overlays())
def test_an_overlay_installs_everything_into_an_empty_cluster(fitting: ControlPlane, overlay: str) -> None:
    empty, folder = fitting, _MANIFESTS / "overlays" / overlay
    applied = empty.kubectl(*_APPLY, "-k", str(folder))
    # v1beta1 is deprecated in 1.37, which says so.
    warnings = [line for line in applied.stderr.splitlines() if "Warning" in line and "is deprecated in" not in line]
    assert warnings == [], "such as one about pod security"
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
    pods = "/api/v1/namespaces/curation-system/pods?dryRun=All"
    status, answer = empty.request("POST", pods, spec)
    assert status == 201, answer
    status, answer = empty.request("POST", pods, {**spec, "spec": {**spec["spec"], "hostNetwork": True}})
    assert status == 403, answer
    assert 'violates PodSecurity "restricted' in answer["message"]


def test_the_samples_are_accepted(installed: Connection) -> None:
    applied = installed.kubectl(*_APPLY, "--dry-run=server", "-o", "name", "-k", str(_MANIFESTS / "samples"))
    assert applied.stderr == ""
    assert sorted(applied.stdout.split()) == [
        "configmap/hello-module",
        "curationjob.curation.dev/first",
        "curationjob.curation.dev/hello",
        "curationmodule.curation.dev/build-session-message",
        "curationmodule.curation.dev/hello",
        "curationpolicy.curation.dev/session-service",
    ]


def test_every_component_is_in_an_overlay_or_is_applied_below() -> None:
    overlays = [_MANIFESTS / "overlays" / name / "kustomization.yaml" for name in _overlays()]
    used = {Path(path).name for file in overlays for path in yaml.safe_load(file.read_text("utf-8"))["components"]}
    assert {folder.name for folder in (_MANIFESTS / "components").iterdir()} == used | set(_OPTIONAL)


@pytest.mark.parametrize(("overlay", "refused"), [("default", False), ("default-validating", True)])
def test_no_self_approval_is_not_built_where_nobody_stamps_who_asks(
    control_plane: Connection, tmp_path: Path, overlay: str, refused: bool
) -> None:
    _kustomization(tmp_path, "admission-no-self-approval", overlay)
    built = control_plane.kubectl("kustomize", str(tmp_path), check=False)
    assert (built.returncode != 0) == refused
    said = "nothing selected by MutatingAdmissionPolicy.[noVer].[noGrp]/curation-job-provenance"
    assert (said in built.stderr) == refused


@pytest.mark.parametrize("component", [name for name in _OPTIONAL if name not in _OF_OTHERS])
def test_an_optional_component_is_applied_with_the_default_overlay(
    empty: ControlPlane, tmp_path: Path, component: str
) -> None:
    _apply_with_default(empty, tmp_path, component)


@pytest.mark.parametrize("component", _OF_OTHERS)
def test_a_component_with_kinds_of_others_fits_their_crds(empty: ControlPlane, tmp_path: Path, component: str) -> None:
    source, module, names = _OF_OTHERS[component]
    try:
        folder = go_programs.module(source, module)
    except go_programs.CannotBuild as reason:
        pytest.skip(str(reason))
    for name in names:
        crd = folder / name
        empty.kubectl(*_APPLY, "-f", str(crd))
        # Trap: the second alone fails at once where the kind has no conditions yet.
        empty.kubectl("wait", "--for=jsonpath={.status.conditions}", "--timeout=60s", "-f", str(crd))
        empty.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(crd))
    _apply_with_default(empty, tmp_path, component)


def test_where_cert_manager_makes_the_certificate_the_operator_has_no_right_to_a_secret_or_a_webhook_configuration(
    control_plane: Connection, tmp_path: Path
) -> None:
    _kustomization(tmp_path, "webhook-cert-manager", "default")
    rendered = _kustomize(control_plane, tmp_path)
    rules = [rule for item in rendered if item["kind"] in ("Role", "ClusterRole") for rule in item.get("rules") or ()]
    granted = {resource for rule in rules for resource in rule["resources"]}
    assert "curationjobs" in granted
    assert granted.isdisjoint({"secrets", "validatingwebhookconfigurations"})
    assert "Secret" not in {item["kind"] for item in rendered}


def _apply_with_default(empty: ControlPlane, folder: Path, component: str) -> None:
    """Apply it, and see that its objects are there, to the last field."""
    _kustomization(folder, component, "default")
    # Strict: a field that the schema does not know is an error.
    applied = empty.kubectl(*_APPLY, "--validate=strict", "-o", "name", "-k", str(folder)).stdout.split()
    for name in _OPTIONAL[component]:
        assert name in applied
    assert empty.kubectl("diff", "--server-side", "-k", str(folder)).stdout == ""


def _kustomization(folder: Path, component: str, overlay: str) -> None:
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [_relative(folder, _MANIFESTS / "overlays" / overlay)],
        "components": [_relative(folder, _MANIFESTS / "components" / component)],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization), encoding="utf-8")


def test_the_namespaced_overlay_gives_no_right_outside_its_namespace(control_plane: Connection) -> None:
    rendered = _kustomize(control_plane, _MANIFESTS / "overlays" / "namespaced")
    bindings = [item for item in rendered if item["kind"] in ("ClusterRoleBinding", "RoleBinding")]
    assert {(item["kind"], item["metadata"].get("namespace")) for item in bindings} == {
        ("RoleBinding", "curation-jobs"),
        ("RoleBinding", "curation-system"),
    }
    deployment = next(item for item in rendered if item["kind"] == "Deployment")
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert ("-n", "curation-jobs") in pairwise(arguments)
    assert "--without-cluster-policies" in arguments


def _relative(folder: Path, target: Path) -> str:
    """Kustomize takes no absolute paths."""
    return os.path.relpath(target.resolve(), folder.resolve())
