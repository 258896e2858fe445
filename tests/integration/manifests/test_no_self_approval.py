"""The optional policy: nobody decides for a job of their own."""

import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml

from testing.controlplane.connection import Connection, Kubectl
from tests.integration.api.objects import approval, create, read, text, until, write_status
from tests.integration.manifests.conftest import Bind

_COMPONENT = Path("manifests/components/admission-no-self-approval/approval-no-self-approval.yaml")
_ROOT = Path(__file__).parents[3]


def _decide(kubectl: Kubectl, user: str, decision: str, *options: str) -> CompletedProcess[str]:
    patch = json.dumps({"spec": {"decision": decision}})
    return kubectl("patch", "cappr", "approval", "--type=merge", "-p", patch, *options, user=user, check=False)


@pytest.fixture
def approver(installed: Connection, namespace: str, kubectl: Kubectl, bind: Bind) -> Iterator[str]:
    """An approver who has created one of the waiting jobs, in a namespace for which the policy is in force."""
    user = bind("curation-approver")
    names = []
    for document in yaml.safe_load_all((_ROOT / _COMPONENT).read_text(encoding="utf-8")):
        document["metadata"]["name"] += f"-{namespace}"
        if document["kind"].endswith("Binding"):
            document["spec"]["policyName"] += f"-{namespace}"
            labels = {"kubernetes.io/metadata.name": namespace}
            document["spec"]["matchResources"] = {"namespaceSelector": {"matchLabels": labels}}
        names.append(installed.kubectl("create", "-o", "name", "-f", "-", input=text(document)).stdout.strip())
    try:
        create(installed, namespace, "curationapprovals", approval())
        write_status(installed, namespace, "curationapprovals", "approval", {"requesters": ["bob", user]})
        until(lambda: "resumed a job" in _decide(kubectl, user, "Approved", "--dry-run=server").stderr)
        yield user
    finally:
        installed.kubectl("delete", *names)


def test_who_created_a_waiting_job_decides_nothing(
    installed: Connection, namespace: str, kubectl: Kubectl, approver: str
) -> None:
    for decision in ("Approved", "Denied"):
        refused = _decide(kubectl, approver, decision)
        assert (
            f"{approver} created, changed or resumed a job that waits for this approval: somebody else must decide"
            in refused.stderr
        )
    assert read(installed, namespace, "curationapprovals", "approval")["spec"]["decision"] == "Pending"


def test_somebody_else_decides(kubectl: Kubectl, bind: Bind, approver: str) -> None:
    other = bind("curation-approver")
    until(lambda: _decide(kubectl, other, "Approved").returncode == 0)


def test_one_may_revoke_ones_own_grant(installed: Connection, namespace: str, kubectl: Kubectl, approver: str) -> None:
    assert _decide(kubectl, "admin", "Approved").returncode == 0
    assert _decide(kubectl, approver, "Revoked").returncode == 0
    assert read(installed, namespace, "curationapprovals", "approval")["spec"]["decidedBy"] == approver


def test_a_full_list_of_requesters_may_lack_the_one_who_asks(
    installed: Connection, namespace: str, kubectl: Kubectl, approver: str
) -> None:
    full = {"requesters": [f"user-{number}" for number in range(32)]}
    write_status(installed, namespace, "curationapprovals", "approval", full)
    refused = _decide(kubectl, approver, "Approved")
    assert "allow the request by a CurationPolicy instead" in refused.stderr


def test_before_the_operator_has_said_who_asks_nobody_decides(
    installed: Connection, namespace: str, kubectl: Kubectl, approver: str
) -> None:
    write_status(installed, namespace, "curationapprovals", "approval", {})
    refused = _decide(kubectl, approver, "Approved")
    assert "status.requesters is empty, so who has asked is not known" in refused.stderr
