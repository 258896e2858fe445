"""What the default overlay consists of, and what keeps the operator safe and available in it, as rendered."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.controlplane.connection import Connection

_DEFAULT = Path(__file__).parents[3] / "manifests" / "overlays" / "default"
Document = dict[str, Any]


@pytest.fixture(scope="module")
def parts(control_plane: Connection) -> list[Document]:
    return [item for item in yaml.safe_load_all(control_plane.kubectl("kustomize", str(_DEFAULT)).stdout) if item]


def one(parts: list[Document], kind: str, name: str = "curation-operator") -> Document:
    [found] = [item for item in parts if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def pod(parts: list[Document]) -> Document:
    template: Document = one(parts, "Deployment")["spec"]["template"]
    return template


def containers(parts: list[Document]) -> tuple[Document, Document]:
    """The operator's, and its workers'."""
    operator, workers = pod(parts)["spec"]["containers"]
    assert (operator["name"], workers["name"]) == ("operator", "workers")
    return operator, workers


def test_the_default_overlay_has_every_part(parts: list[Document]) -> None:
    ours = {item["kind"] for item in parts if item["metadata"]["name"] == "curation-operator"}
    assert ours == {
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Deployment",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "Service",
        "ValidatingWebhookConfiguration",
    }
    one(parts, "Role", "curation-operator-lease")
    one(parts, "RoleBinding", "curation-operator-lease")
    crds = {item["spec"]["names"]["kind"] for item in parts if item["kind"] == "CustomResourceDefinition"}
    assert crds == {
        "CurationJob",
        "CurationModule",
        "CurationPolicy",
        "ClusterCurationPolicy",
        "CurationApproval",
    }
    roles = {item["metadata"]["name"] for item in parts if item["kind"] == "ClusterRole"}
    assert roles >= {"curation-approver", "curation-job-author", "curation-policy-admin", "curation-viewer"}


def test_the_namespace_enforces_restricted_pod_security(parts: list[Document]) -> None:
    labels = one(parts, "Namespace", "curation-system")["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {"restricted"}


def test_no_role_has_a_wildcard_and_the_operator_touches_no_secret_but_its_certificate(parts: list[Document]) -> None:
    for role in (item for item in parts if item["kind"] in ("ClusterRole", "Role")):
        for rule in role.get("rules") or ():
            words = [
                word for key in ("apiGroups", "resources", "verbs", "nonResourceURLs") for word in rule.get(key, ())
            ]
            assert "*" not in "".join(words), role["metadata"]["name"]
            if "secrets" in words:
                place = (role["kind"], role["metadata"]["namespace"], role["metadata"]["name"])
                assert place == ("Role", "curation-system", "curation-operator-webhook")
                assert rule["resourceNames"] == ["curation-operator-webhook"]


def test_two_replicas_run_without_privileges_on_a_root_that_nobody_writes(parts: list[Document]) -> None:
    assert one(parts, "Deployment")["spec"]["replicas"] == 2
    spec = pod(parts)["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    operator, workers = containers(parts)
    assert workers["securityContext"]["runAsUser"] not in (0, spec["securityContext"]["runAsUser"])
    for container in (operator, workers):
        assert (
            container["securityContext"].items()
            >= {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }.items()
        )
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


def test_the_workers_container_is_given_no_token(parts: list[Document]) -> None:
    projected = {
        volume["name"]
        for volume in pod(parts)["spec"]["volumes"]
        if any("serviceAccountToken" in source for source in volume.get("projected", {}).get("sources", ()))
    }
    assert projected
    operator, workers = containers(parts)
    assert projected <= {mount["name"] for mount in operator["volumeMounts"]}
    assert not projected & {mount["name"] for mount in workers["volumeMounts"]}


def test_each_probe_asks_a_page_that_the_operator_serves(parts: list[Document]) -> None:
    container, _ = containers(parts)
    asked = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}
    assert {probe: get["path"] for probe, get in asked.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    [port] = [each for each in container["ports"] if each["name"] == "http"]
    assert {get["port"] for get in asked.values()} == {port["name"]}
    assert f"--http-bind=:{port['containerPort']}" in container["args"]


def test_budget_service_and_network_policy_are_about_the_operators_pods(parts: list[Document]) -> None:
    labels = pod(parts)["metadata"]["labels"].items()
    budget, service, network = (
        one(parts, kind)["spec"] for kind in ("PodDisruptionBudget", "Service", "NetworkPolicy")
    )
    for selector in (budget["selector"]["matchLabels"], service["selector"], network["podSelector"]["matchLabels"]):
        assert selector
        assert selector.items() <= labels
    assert (budget.get("maxUnavailable"), budget.get("minAvailable")) in ((1, None), (None, 1))
    assert set(network["policyTypes"]) == {"Ingress", "Egress"}
    [ingress] = network["ingress"]
    assert ingress["from"] == [{"namespaceSelector": {"matchLabels": {"curation.dev/monitoring": "true"}}}]
    for page in ("install", "security", "operations"):
        text = (Path(__file__).parents[3] / "docs" / f"{page}.md").read_text(encoding="utf-8")
        assert "curation.dev/monitoring=true" in text, page
    container, _ = containers(parts)
    [webhook] = one(parts, "NetworkPolicy", "curation-operator-webhook")["spec"]["ingress"]
    assert "from" not in webhook, "nobody knows the API server's address"
    reached = [port["port"] for rule in (ingress, webhook) for port in rule["ports"]]
    assert reached == [port["name"] for port in container["ports"]]
