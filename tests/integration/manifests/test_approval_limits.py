"""The component that limits what an approver may grant, with the clock of the API server itself."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from testing.controlplane.connection import Connection, Kubectl
from tests.integration.api.objects import approval, create, until

_COMPONENT = Path(__file__).parents[3] / "manifests" / "components" / "admission-approval-limits"

Approve = Callable[..., str]


@pytest.fixture
def approve(
    control_plane: Connection, installed: Connection, namespace: str, kubectl: Kubectl, tmp_path: Path
) -> Approve:
    """Approves a new approval with these fields; what the server says to it, empty if it accepts.

    The policy is bound in this namespace alone: other tests use the same server.
    """
    policy, binding = yaml.safe_load_all((_COMPONENT / "approval-limits.yaml").read_text("utf-8"))
    name = policy["metadata"]["name"] = binding["metadata"]["name"] = f"limits-{namespace}"
    binding["spec"]["policyName"] = name
    selected = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    binding["spec"]["matchResources"] = selected
    for plural, document in (
        ("validatingadmissionpolicies", policy),
        ("validatingadmissionpolicybindings", binding),
    ):
        status, answer = installed.request("POST", f"/apis/admissionregistration.k8s.io/v1/{plural}", document)
        assert status == 201, answer
    count = 0

    def attempt(**spec: object) -> str:
        nonlocal count
        count += 1
        made = f"approval-{count}"
        document = approval()
        document["metadata"]["name"] = made
        create(installed, namespace, "curationapprovals", document)
        body = json.dumps({"spec": {"decision": "Approved", **spec}})
        return kubectl("patch", "cappr", made, "--type=merge", "-p", body, check=False).stderr

    until(lambda: "scope Host may not be granted here" in attempt(scope="Host"))
    return attempt


def test_a_grant_over_the_limits_of_scope_and_time_is_refused(approve: Approve) -> None:
    now = datetime.now(UTC)

    def at(**later: int) -> str:
        return (now + timedelta(**later)).strftime("%Y-%m-%dT%H:%M:%SZ")

    assert approve(expiresAt=at(days=6)) == ""
    assert approve(expiresAt=at(days=6), scope="Path") == ""
    assert "approve with scope Request or Path" in approve(expiresAt=at(days=6), scope="Host")
    assert "expiresAt is too late: a grant may hold for at most" in approve(expiresAt=at(days=8))
    assert "must say when it ends" in approve()
    assert "must say when it ends" in approve(neverExpires=True)
    assert "must be a time such as" in approve(expiresAt="tomorrow") or "timestamp" in approve(expiresAt="tomorrow")


def test_who_decides_cannot_say_when_that_was(
    approve: Approve, namespace: str, installed: Connection, kubectl: Kubectl
) -> None:
    document = approval()
    document["metadata"]["name"] = "forged"
    create(installed, namespace, "curationapprovals", document)
    later = datetime.now(UTC) + timedelta(days=365)
    shown = json.loads(kubectl("get", "cappr", "forged", "-o", "json", "--show-managed-fields").stdout)
    managed = [
        {**entry, "time": later.strftime("%Y-%m-%dT%H:%M:%SZ"), "fieldsV1": {"f:spec": {"f:decision": {}}}}
        for entry in shown["metadata"]["managedFields"]
    ]
    ends = (later + timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {"metadata": {"managedFields": managed}, "spec": {"decision": "Approved", "expiresAt": ends}}
    said = kubectl("patch", "cappr", "forged", "--type=merge", "-p", json.dumps(body), check=False).stderr
    assert "expiresAt is too late" in said
