"""The chart and the overlays have one source: what Helm renders is what kustomize renders, to the last field."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.controlplane.connection import Connection
from tests.chart.conftest import CHART, NAMESPACE, RELEASE, ROOT, Helm, by_identity, kustomized

_MANIFESTS = ROOT / "manifests"
_NAMESPACED = {
    "namespaces": ["curation-jobs"],
    "secrets": [{"namespace": "curation-jobs", "names": ["session-service"]}],
}
_DEVELOPMENT = {
    "image": {"tag": "dev", "pullPolicy": "IfNotPresent"},
    "replicas": 1,
    "log": {"format": "text", "level": "debug"},
    "options": ["--allow-cidr=10.0.0.0/8", "--allow-cidr=172.16.0.0/12", "--allow-cidr=192.168.0.0/16"],
}
OVERLAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "default": ("1.36.0", {}),
    "default-v1beta1": ("1.35.0", {"admission": {"mode": "v1beta1"}}),
    "default-validating": ("1.32.0", {}),
    "namespaced": ("1.37.2", _NAMESPACED),
    "development": ("1.37.2", _DEVELOPMENT),
}
"""Each overlay: a version of Kubernetes and the values with which the chart is the same."""

COMPONENTS: dict[str, dict[str, Any]] = {
    "prometheus": {"prometheus": {"enabled": True}},
    "grafana": {"grafana": {"enabled": True}},
    "admission-no-self-approval": {"admission": {"noSelfApproval": True}},
    "admission-approval-limits": {"admission": {"approvalLimits": {"enabled": True}}},
    "webhook-cert-manager": {"webhook": {"certManager": True}},
    "guest-pods": {"guestPods": {"enabled": True}},
}
"""The components that no overlay has."""


def rendered(helm: Helm, version: str, values: dict[str, Any]) -> dict[tuple[str, str, str, str], Any]:
    # The annotation that keeps a CRD is Helm's own.
    wanted = {"crds": {"keep": False}, **values}
    options = ("--kube-version", version, "--skip-tests", "--namespace", NAMESPACE)
    return by_identity(helm("template", RELEASE, str(CHART), *options, values=wanted).stdout)


def without_namespaces(objects: dict[tuple[str, str, str, str], Any]) -> dict[tuple[str, str, str, str], Any]:
    """Helm makes the namespace of a release itself, and those to work in must exist."""
    return {key: each for key, each in objects.items() if key[1] != "Namespace"}


def with_sorted_arguments(objects: dict[tuple[str, str, str, str], Any]) -> dict[tuple[str, str, str, str], Any]:
    """An overlay that replaces all arguments may have another order."""
    for each in objects.values():
        if each["kind"] == "Deployment":
            each["spec"]["template"]["spec"]["containers"][0]["args"].sort()
    return objects


def test_there_is_an_overlay_or_a_component_for_all_of_them() -> None:
    assert set(OVERLAYS) == {folder.name for folder in (_MANIFESTS / "overlays").iterdir()}
    ours = {"admission", "admission-v1beta1", "admission-validating", "namespaced", "secrets", "webhook"}
    assert set(COMPONENTS) | ours == {folder.name for folder in (_MANIFESTS / "components").iterdir()}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_chart_and_an_overlay_have_the_same_objects(overlay: str, offline: Helm, control_plane: Connection) -> None:
    version, values = OVERLAYS[overlay]
    ours = rendered(offline, version, values)
    theirs = without_namespaces(kustomized(control_plane, _MANIFESTS / "overlays" / overlay))
    if overlay == "development":
        ours, theirs = with_sorted_arguments(ours), with_sorted_arguments(theirs)
    assert ours == theirs


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_chart_and_a_component_have_the_same_objects(
    component: str, offline: Helm, control_plane: Connection, tmp_path: Path
) -> None:
    names = {"resources": ["overlays/default"], "components": [f"components/{component}"]}
    kustomization: dict[str, Any] = {
        what: [os.path.relpath(_MANIFESTS / path, tmp_path.resolve()) for path in paths]
        for what, paths in names.items()
    }
    kustomization |= {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    (tmp_path / "kustomization.yaml").write_text(json.dumps(kustomization))
    theirs = without_namespaces(kustomized(control_plane, tmp_path))
    ours = without_namespaces(rendered(offline, "1.37.2", COMPONENTS[component]))
    # The overlay of a user adds a component without the labels of ours; and an annotation is kustomize's own check.
    for each in (*ours.values(), *theirs.values()):
        each["metadata"].get("labels", {}).pop("app.kubernetes.io/part-of", None)
        each["metadata"].get("annotations", {}).pop("curation.dev/needs", None)
        for field in ("labels", "annotations"):
            if not each["metadata"].get(field, True):
                del each["metadata"][field]
    assert ours == theirs


def test_another_namespace_takes_the_place_of_the_default_one_everywhere(offline: Helm) -> None:
    text = offline("template", RELEASE, str(CHART), "--kube-version", "1.37.2", "--namespace", "123").stdout
    assert "curation-system" not in text
    assert "system:serviceaccount:123:curation-operator" in text
    objects = by_identity(text)
    assert {key[2] for key in objects} == {"", "123"}


@pytest.mark.parametrize(("version", "mutating"), [("1.36.0", True), ("1.37.2-eks-5", True), ("1.35.9", False)])
def test_the_admission_policies_follow_the_version_of_the_cluster(version: str, mutating: bool, offline: Helm) -> None:
    kinds = {key[1] for key in rendered(offline, version, {})}
    assert ("MutatingAdmissionPolicy" in kinds) == mutating
    assert "ValidatingAdmissionPolicy" in kinds


def test_an_image_is_named_by_digest_where_there_is_one(offline: Helm) -> None:
    def image(values: dict[str, str]) -> str:
        found = rendered(offline, "1.37.2", {"image": values})
        container = found["apps/v1", "Deployment", NAMESPACE, "curation-operator"]["spec"]["template"]["spec"]
        text: str = container["containers"][0]["image"]
        return text

    assert image({"repository": "r.example.com/c"}) == "r.example.com/c:0.1.0"
    assert image({"repository": "r.example.com/c", "tag": "9"}) == "r.example.com/c:9"
    digest = f"sha256:{'a' * 64}"
    assert image({"repository": "r.example.com/c", "tag": "9", "digest": digest}) == f"r.example.com/c@{digest}"


def test_the_pods_of_a_release_go_where_the_values_say(offline: Helm) -> None:
    values = {
        "imagePullSecrets": [{"name": "registry"}],
        "podAnnotations": {"example.com/a": "b"},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "only", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "high",
        "resources": {"limits": {"memory": "8Gi"}},
        "networkPolicy": {"enabled": False},
        "replicas": 1,
        "prometheus": {"enabled": True, "labels": {"release": "x"}},
        "log": {"format": "text", "level": "error"},
        "namespaces": ["a", "b"],
        "clusterPolicies": True,
        "options": ["--max-concurrent-runs=8"],
    }
    found = rendered(offline, "1.37.2", values)
    template = found["apps/v1", "Deployment", NAMESPACE, "curation-operator"]["spec"]["template"]
    pod, container = template["spec"], template["spec"]["containers"][0]
    assert template["metadata"]["annotations"] == values["podAnnotations"]
    for name in ("imagePullSecrets", "nodeSelector", "tolerations", "affinity", "priorityClassName"):
        assert pod[name] == values[name]
    assert container["resources"]["limits"] == {"memory": "8Gi"}
    assert container["args"][-6:] == ["--log-level=error", "-n", "a", "-n", "b", "--max-concurrent-runs=8"]
    assert "--log-format=text" in container["args"]
    kinds = {key[1] for key in found}
    assert not kinds & {"NetworkPolicy", "PodDisruptionBudget", "ClusterRoleBinding"}
    roles = {key[2] for key in found if key[1] == "RoleBinding" and key[3] == "curation-operator"}
    assert roles == {"a", "b"}
    for kind in ("ServiceMonitor", "PrometheusRule"):
        assert (
            found["monitoring.coreos.com/v1", kind, NAMESPACE, "curation-operator"]["metadata"]["labels"]["release"]
            == "x"
        )


def test_the_alerts_link_to_runbooks_where_people_find_them(offline: Helm) -> None:
    values = {"prometheus": {"enabled": True, "runbookUrl": "https://git.example.com/c/blob/main/"}}
    found = rendered(offline, "1.37.2", values)
    rules = found["monitoring.coreos.com/v1", "PrometheusRule", NAMESPACE, "curation-operator"]["spec"]["groups"][0][
        "rules"
    ]
    for rule in rules:
        page = f"docs/runbooks/{rule['alert']}.md"
        assert rule["annotations"]["runbook_url"] == f"https://git.example.com/c/blob/main/{page}"
        assert (ROOT / page).exists()


_SWITCHED_OFF = {"crds": {"install": False}, "admission": {"mode": "none"}, "webhook": {"enabled": False}}


def test_what_is_switched_off_is_not_there(offline: Helm) -> None:
    found = rendered(offline, "1.37.2", _SWITCHED_OFF)
    kinds = {key[1] for key in found}
    assert not {
        kind for kind in kinds if "Admission" in kind or "Webhook" in kind or kind == "CustomResourceDefinition"
    }


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"replica": 3}, "replica"),
        ({"replicas": 0}, "replicas"),
        ({"replicas": "2"}, "replicas"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"image": {"repository": ""}}, "repository"),
        ({"admission": {"mode": "v2"}}, "mode"),
        ({"namespaces": ["Team_A"]}, "namespaces"),
        ({"options": ["allow-cidr"]}, "options"),
        ({"secrets": [{"namespace": "a"}]}, "names"),
        ({"secrets": [{"namespace": "a", "names": []}]}, "names"),
        ({"log": {"level": "trace"}}, "level"),
        ({"crds": {"keep": "yes"}}, "keep"),
    ],
)
def test_a_value_that_is_wrong_is_refused_by_name(values: dict[str, Any], named: str, offline: Helm) -> None:
    ended = offline("template", RELEASE, str(CHART), values=values, check=False)
    assert ended.returncode != 0
    assert "values don't meet the specifications of the schema" in ended.stderr
    assert named in ended.stderr


def _paths(values: dict[str, Any], to: str = "") -> list[str]:
    """`image`, `image.repository`, ...: each value that has a default, but for what a map of the user's holds."""
    found = []
    for name, value in values.items():
        found.append(f"{to}{name}")
        if isinstance(value, dict) and name not in ("resources", "global"):
            found += _paths(value, f"{to}{name}.")
    return found


def test_a_default_that_is_taken_away_is_refused_by_name(offline: Helm) -> None:
    # Helm takes null for "without the default", and a template without one says what nobody understands, or nothing.
    for path in _paths(yaml.safe_load((CHART / "values.yaml").read_text())):
        *_, last = path.split(".")
        ended = offline("template", RELEASE, str(CHART), "--set", f"{path}=null", check=False)
        assert ended.returncode != 0, path
        assert f"missing property '{last}'" in ended.stderr, path


def test_a_namespace_that_is_listed_twice_has_one_role_with_all_its_secrets(offline: Helm) -> None:
    secrets = [
        {"namespace": "b", "names": ["x", "y"]},
        {"namespace": "a", "names": ["z"]},
        {"namespace": "b", "names": ["y", "w"]},
    ]
    found = rendered(offline, "1.37.2", {"secrets": secrets})  # Each object once, or by_identity fails.
    roles = {key[2]: each for key, each in found.items() if key[1] == "Role" and key[3] == "curation-operator-secrets"}
    names = {namespace: role["rules"][0]["resourceNames"] for namespace, role in roles.items()}
    assert names == {"a": ["z"], "b": ["x", "y", "w"]}


def test_the_pod_of_helm_test_goes_where_the_operators_go(offline: Helm) -> None:
    values = {"nodeSelector": {"disk": "fast"}, "tolerations": [{"key": "only", "operator": "Exists"}]}
    options = ("--kube-version", "1.37.2", "--show-only", "templates/tests/access.yaml")
    pod = yaml.safe_load(offline("template", RELEASE, str(CHART), *options, values=values).stdout)
    assert {name: pod["spec"][name] for name in values} == values


def test_no_self_approval_without_recorded_names_is_refused_with_the_remedy(offline: Helm) -> None:
    options = ("template", RELEASE, str(CHART), "--kube-version", "1.35.0")
    ended = offline(*options, values={"admission": {"noSelfApproval": True}}, check=False)
    assert ended.returncode != 0
    assert "admission.mode is validating here: set admission.mode to v1 or v1beta1" in ended.stderr


def test_an_older_kubernetes_is_refused(offline: Helm) -> None:
    ended = offline("template", RELEASE, str(CHART), "--kube-version", "1.31.9", check=False)
    assert "chart requires kubeVersion: >=1.32.0-0" in ended.stderr


def test_the_chart_passes_lint_and_is_packaged(offline: Helm, tmp_path: Path) -> None:
    offline("lint", "--strict", str(CHART))
    offline("package", str(CHART), "--destination", str(tmp_path))
    assert (tmp_path / "curation-operator-0.1.0.tgz").exists()


def test_what_is_not_the_whole_chart_is_refused_with_the_command_that_makes_it(offline: Helm) -> None:
    options = ("--kube-version", "1.37.2")
    ended = offline("template", RELEASE, str(ROOT / "manifests" / "chart"), *options, check=False)
    assert ended.returncode != 0
    assert "make helm writes it to dist/chart" in ended.stderr
