"""The decision of an approval: every pair of decisions, and what may change together with one.

Pending -> Approved | Denied (with scope and expiresAt), Approved -> Revoked, and nothing else.
"""

import itertools
import json
from typing import Any

import pytest

from testing.controlplane.connection import Connection, Kubectl
from tests.integration.api.objects import REQUEST, approval, create, path, read

_DECISIONS = ("Pending", "Approved", "Denied", "Revoked")
_ALLOWED = {("Pending", "Approved"), ("Pending", "Denied"), ("Approved", "Revoked")}
_WAY = {"Pending": (), "Approved": ("Approved",), "Denied": ("Denied",), "Revoked": ("Approved", "Revoked")}
_LATER = "2030-01-01T00:00:00Z"


def _decided(connection: Connection, namespace: str, decision: str, **spec: Any) -> None:
    """An approval that has come to this decision by the allowed way; ``spec`` is set with the first step."""
    create(connection, namespace, "curationapprovals", approval())
    for number, step in enumerate(_WAY[decision]):
        current = read(connection, namespace, "curationapprovals", "approval")
        current["spec"].update(decision=step, **(spec if number == 0 else {}))
        status, answer = connection.request("PUT", path(namespace, "curationapprovals", "approval"), current)
        assert status == 200, answer


def _patch(kubectl: Kubectl, **spec: Any) -> str:
    """What kubectl patch has to say against it; empty if nothing."""
    patch = json.dumps({"spec": spec})
    return kubectl("patch", "cappr", "approval", "--type=merge", "-p", patch, check=False).stderr


@pytest.mark.parametrize(("old", "new"), list(itertools.product(_DECISIONS, _DECISIONS)))
def test_a_decision_follows_only_where_the_table_says(
    installed: Connection, namespace: str, kubectl: Kubectl, old: str, new: str
) -> None:
    _decided(installed, namespace, old)
    refusal = _patch(kubectl, decision=new)
    found = read(installed, namespace, "curationapprovals", "approval")["spec"]["decision"]
    if old == new or (old, new) in _ALLOWED:
        assert (refusal, found) == ("", new)
    else:
        assert found == old
        assert "spec.decision" in refusal
        assert "delete the approval to let jobs ask anew" in refusal


def test_scope_and_expiry_are_set_together_with_the_decision(
    installed: Connection, namespace: str, kubectl: Kubectl
) -> None:
    create(installed, namespace, "curationapprovals", approval())
    assert _patch(kubectl, decision="Approved", scope="Host", expiresAt=_LATER) == ""
    found = read(installed, namespace, "curationapprovals", "approval")["spec"]
    assert (found["decision"], found["scope"], found["expiresAt"]) == ("Approved", "Host", _LATER)


@pytest.mark.parametrize("decision", _DECISIONS)
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scope": "Host"}, "spec.scope"),
        ({"expiresAt": "2031-01-01T00:00:00Z"}, "spec.expiresAt"),
        ({"decidedBy": "mallory"}, "spec.decidedBy"),
    ],
    ids=["scope", "expiry", "decider"],
)
def test_without_a_decision_nothing_of_it_changes(
    installed: Connection, namespace: str, kubectl: Kubectl, decision: str, change: dict[str, str], field: str
) -> None:
    _decided(installed, namespace, decision, decidedBy="alice", expiresAt=_LATER)
    assert field in _patch(kubectl, **change)


def test_the_end_of_a_grant_cannot_be_taken_out(installed: Connection, namespace: str, kubectl: Kubectl) -> None:
    _decided(installed, namespace, "Approved", expiresAt=_LATER)
    assert "spec.expiresAt" in _patch(kubectl, expiresAt=None)


def test_a_revocation_cannot_lengthen_or_widen_the_grant(
    installed: Connection, namespace: str, kubectl: Kubectl
) -> None:
    _decided(installed, namespace, "Approved", expiresAt=_LATER)
    assert "spec.scope" in _patch(kubectl, decision="Revoked", scope="Host")
    assert "spec.expiresAt" in _patch(kubectl, decision="Revoked", expiresAt="2031-01-01T00:00:00Z")


@pytest.mark.parametrize("decision", _DECISIONS)
@pytest.mark.parametrize("field", list(REQUEST))
def test_no_field_of_the_request_ever_changes(installed: Connection, namespace: str, decision: str, field: str) -> None:
    _decided(installed, namespace, decision)
    current = read(installed, namespace, "curationapprovals", "approval")
    other = {"trigger": "Cancel", "port": 8443}.get(field, "other")
    current["spec"]["request"][field] = other
    status, answer = installed.request("PUT", path(namespace, "curationapprovals", "approval"), current)
    assert status == 422
    assert "spec.request: Invalid value: request is immutable" in answer["message"]


def test_a_request_cannot_change_even_together_with_the_decision(
    installed: Connection, namespace: str, kubectl: Kubectl
) -> None:
    create(installed, namespace, "curationapprovals", approval())
    assert "request is immutable" in _patch(kubectl, decision="Approved", request={"host": "evil.example"})
    widened = [{"method": "DELETE", "path": "/*"}]
    assert "cancel is immutable" in _patch(kubectl, decision="Approved", cancel=widened)
    assert "requestDigest is immutable" in _patch(kubectl, decision="Approved", requestDigest="1" * 64)


def test_status_can_be_written_in_every_decision(installed: Connection, namespace: str) -> None:
    """The rules read the old object: none of them may get in the operator's way."""
    _decided(installed, namespace, "Revoked", decidedBy="alice", expiresAt=_LATER)
    current = read(installed, namespace, "curationapprovals", "approval")
    current["status"] = {"observedGeneration": 3, "waiting": 1, "jobs": ["a"], "requesters": ["bob"]}
    status, answer = installed.request("PUT", path(namespace, "curationapprovals", "approval") + "/status", current)
    assert status == 200, answer
    assert answer["status"] == current["status"]
