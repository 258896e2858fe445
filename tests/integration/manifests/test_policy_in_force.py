"""Only the operator records which revision of a policy is in force, whatever rights on the status others have."""

import json

import pytest

from testing.controlplane.connection import ADMIN, Connection, Kubectl
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from tests.integration.api.objects import until

_RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces"
_CURATION = "/apis/curation.dev/v1alpha1"
_FORGED = {
    "uid": "u",
    "generation": 1,
    "digest": "sha256:" + "0" * 64,
    "cedar": "permit (principal, action, resource);",
}
_DOCUMENT = {
    "apiVersion": "curation.dev/v1alpha1",
    "kind": "CurationPolicy",
    "metadata": {"name": "p"},
    "spec": {"cedar": "permit (principal"},
}
_PATCH = ("--subresource=status", "--type=merge", "-p")


@pytest.fixture
def policy(installed: Connection, namespace: str) -> str:
    code, answer = installed.request("POST", f"{_CURATION}/namespaces/{namespace}/curationpolicies", _DOCUMENT)
    assert code == 201, answer
    return "p"


@pytest.fixture
def status_writer(installed: Connection, namespace: str, kubectl: Kubectl) -> str:
    """Somebody whom RBAC lets patch the statuses of policies."""
    rule = {
        "apiGroups": ["curation.dev"],
        "resources": ["curationpolicies", "curationpolicies/status"],
        "verbs": ["get", "patch", "update"],
    }
    user = "status-writer"
    role = {"metadata": {"name": user}, "rules": [rule]}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
    binding = {"metadata": {"name": user}, "roleRef": reference, "subjects": [subject]}
    for plural, document in (("roles", role), ("rolebindings", binding)):
        code, answer = installed.request("POST", f"{_RBAC}/{namespace}/{plural}", document)
        assert code == 201, answer
    until(
        lambda: (
            kubectl("auth", "can-i", "patch", "curpol/p", "--subresource=status", user=user, check=False).returncode
            == 0
        )
    )
    return user


def _body(in_force: object, **more: object) -> str:
    return json.dumps({"status": {"inForce": in_force, **more}})


def test_nobody_but_the_operator_changes_the_record(kubectl: Kubectl, policy: str, status_writer: str) -> None:
    for user in (status_writer, ADMIN):
        refused = kubectl("patch", "curpol", policy, *_PATCH, _body(_FORGED), user=user, check=False)
        assert refused.returncode != 0, user
        assert "only its service account may change it" in refused.stderr
    # Server-side apply, since kubectl's patch reads the status first, which the operator may not.
    applied = {**_DOCUMENT, "status": {"inForce": _FORGED}}
    apply = ("apply", "--server-side", "--force-conflicts", "--subresource=status", "-f", "-")
    kubectl(*apply, input=json.dumps(applied), user=OPERATOR_USER, groups=OPERATOR_GROUPS)
    written = json.loads(kubectl("get", "curpol", policy, "-o", "json").stdout)
    assert written["status"]["inForce"] == _FORGED
    for change in (None, {"cedar": "forbid (principal, action, resource);"}, {"judgedGeneration": 9}):
        refused = kubectl("patch", "curpol", policy, *_PATCH, _body(change), user=status_writer, check=False)
        assert "status.inForce is what the operator has found valid" in refused.stderr
    other = json.dumps({"status": {"policies": 1}})
    kubectl("patch", "curpol", policy, *_PATCH, other, user=status_writer)


def test_the_record_cannot_come_in_beside_the_spec(kubectl: Kubectl, policy: str) -> None:
    kubectl("patch", "curpol", policy, "--type=merge", "-p", _body(_FORGED))
    shown = json.loads(kubectl("get", "curpol", policy, "-o", "json").stdout)
    assert "inForce" not in shown.get("status", {})
