"""Who may decide an approval, in every way of writing one, and whose name it then bears."""

import json
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

from testing.controlplane.connection import Connection, Kubectl
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from tests.integration.api.objects import approval, create, read, text, until
from tests.integration.manifests.conftest import Bind, Edits

_RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces"
_LATER = "2030-01-01T00:00:00Z"

Decide = Callable[..., CompletedProcess[str]]


@pytest.fixture
def pending(installed: Connection, namespace: str) -> None:
    create(installed, namespace, "curationapprovals", approval())


@pytest.fixture
def approver(kubectl: Kubectl, bind: Bind) -> str:
    """Somebody with the shipped role."""
    user = bind("curation-approver")
    until(lambda: kubectl("get", "cappr", user=user, check=False).returncode == 0)
    return user


@pytest.fixture
def editor(installed: Connection, namespace: str, kubectl: Kubectl) -> str:
    """Somebody who may update and patch approvals, and lacks the verb approve."""
    rule = {"apiGroups": ["curation.dev"], "resources": ["curationapprovals"],
            "verbs": ["get", "list", "watch", "create", "update", "patch"]}  # fmt: skip
    user = "mere-editor"
    role = {"metadata": {"name": user}, "rules": [rule]}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
    binding = {"metadata": {"name": user}, "roleRef": reference, "subjects": [subject]}
    for plural, document in (("roles", role), ("rolebindings", binding)):
        status, answer = installed.request("POST", f"{_RBAC}/{namespace}/{plural}", document)
        assert status == 201, answer
    until(lambda: kubectl("get", "cappr", user=user, check=False).returncode == 0)
    return user


def _spec(connection: Connection, namespace: str) -> dict[str, str]:
    return dict(read(connection, namespace, "curationapprovals", "approval")["spec"])


def _ways(kubectl: Kubectl, edits: Edits) -> dict[str, Decide]:
    """Every way to write a decision; each takes the user and what else is to be set beside it."""

    def patch(user: str, decision: str, **more: str) -> CompletedProcess[str]:
        body = json.dumps({"spec": {"decision": decision, **more}})
        return kubectl("patch", "cappr", "approval", "--type=merge", "-p", body, user=user, check=False)

    def edit(user: str, decision: str, **more: str) -> CompletedProcess[str]:
        # The exclamation mark keeps a second edit from adding the lines again.
        added = "".join(f"\\n  {key}: {value}" for key, value in more.items())
        edits(f"/^  decision: {decision}$/!s/^  decision: .*/  decision: {decision}{added}/")
        return kubectl("edit", "cappr", "approval", user=user, check=False)

    def replace(user: str, decision: str, **more: str) -> CompletedProcess[str]:
        document = approval(decision=decision, **more)
        return kubectl("replace", "-f", "-", input=text(document), user=user, check=False)

    def apply(user: str, decision: str, **more: str) -> CompletedProcess[str]:
        document = approval()
        document["spec"] = {"decision": decision, **more}
        command = ("apply", "--server-side", "--force-conflicts", "--validate=ignore", "-f", "-")
        return kubectl(*command, input=text(document), user=user, check=False)

    return {"patch": patch, "edit": edit, "replace": replace, "server-side apply": apply}


_WAYS = ("patch", "edit", "replace", "server-side apply")


@pytest.mark.usefixtures("pending")
@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("decision", ["Approved", "Denied"])
def test_an_approver_decides_and_the_approval_bears_the_name(
    installed: Connection, namespace: str, kubectl: Kubectl, edits: Edits, approver: str, way: str, decision: str
) -> None:
    result = _ways(kubectl, edits)[way](approver, decision)
    assert result.returncode == 0, result.stderr
    spec = _spec(installed, namespace)
    assert (spec["decision"], spec["decidedBy"]) == (decision, approver)


@pytest.mark.usefixtures("pending")
@pytest.mark.parametrize("way", _WAYS)
def test_update_and_patch_without_the_verb_approve_decide_nothing(
    installed: Connection, namespace: str, kubectl: Kubectl, edits: Edits, editor: str, way: str
) -> None:
    result = _ways(kubectl, edits)[way](editor, "Approved")
    assert result.returncode != 0
    assert f"{editor} lacks the verb approve on curationapprovals in namespace {namespace}" in result.stderr
    assert "bind the ClusterRole curation-approver" in result.stderr
    spec = _spec(installed, namespace)
    assert spec["decision"] == "Pending"
    assert "decidedBy" not in spec


@pytest.mark.usefixtures("pending")
@pytest.mark.parametrize("way", _WAYS)
def test_a_forged_decider_is_overwritten(
    installed: Connection, namespace: str, kubectl: Kubectl, edits: Edits, approver: str, way: str
) -> None:
    result = _ways(kubectl, edits)[way](approver, "Approved", decidedBy="the-boss")
    assert result.returncode == 0, result.stderr
    assert _spec(installed, namespace)["decidedBy"] == approver


@pytest.mark.usefixtures("pending")
@pytest.mark.parametrize("way", _WAYS)
def test_scope_and_expiry_come_with_the_decision(
    installed: Connection, namespace: str, kubectl: Kubectl, edits: Edits, approver: str, way: str
) -> None:
    more = {"expiresAt": f'"{_LATER}"'} if way == "edit" else {"expiresAt": _LATER, "scope": "Host"}
    assert _ways(kubectl, edits)[way](approver, "Approved", **more).returncode == 0
    spec = _spec(installed, namespace)
    assert spec["expiresAt"] == _LATER
    assert spec["scope"] == ("Request" if way == "edit" else "Host")


@pytest.mark.usefixtures("pending")
@pytest.mark.parametrize("way", _WAYS)
def test_who_revokes_needs_the_verb_and_bears_the_name(
    installed: Connection, namespace: str, kubectl: Kubectl, edits: Edits, approver: str, editor: str, way: str
) -> None:
    ways = _ways(kubectl, edits)
    assert ways["patch"]("admin", "Approved").returncode == 0
    assert _spec(installed, namespace)["decidedBy"] == "admin"
    assert "lacks the verb approve" in ways[way](editor, "Revoked").stderr
    assert _spec(installed, namespace)["decision"] == "Approved"
    assert ways[way](approver, "Revoked").returncode == 0
    spec = _spec(installed, namespace)
    assert (spec["decision"], spec["decidedBy"]) == ("Revoked", approver)


@pytest.mark.usefixtures("pending")
def test_the_decider_of_a_decision_cannot_be_rewritten_later(
    installed: Connection, namespace: str, kubectl: Kubectl, edits: Edits, approver: str
) -> None:
    ways = _ways(kubectl, edits)
    ways["patch"](approver, "Approved")
    refused = ways["patch"]("admin", "Approved", decidedBy="somebody-else")
    assert "decidedBy is set by admission when the decision changes" in refused.stderr
    assert _spec(installed, namespace)["decidedBy"] == approver


@pytest.mark.usefixtures("pending")
def test_a_replacement_that_leaves_the_decider_out_keeps_it(
    installed: Connection, namespace: str, kubectl: Kubectl, edits: Edits, approver: str
) -> None:
    ways = _ways(kubectl, edits)
    ways["patch"](approver, "Approved")
    assert ways["replace"]("admin", "Approved").returncode == 0
    assert _spec(installed, namespace)["decidedBy"] == approver


def test_nobody_creates_a_decided_approval(kubectl: Kubectl, editor: str) -> None:
    for user in (editor, "admin"):
        for decision in ("Approved", "Denied", "Revoked"):
            document = text(approval(decision=decision, decidedBy=user))
            result = kubectl("create", "-f", "-", input=document, user=user, check=False)
            assert result.returncode != 0
            assert "create it without decision" in result.stderr or "lacks the verb approve" in result.stderr


def test_an_editor_creates_a_pending_one(kubectl: Kubectl, editor: str) -> None:
    kubectl("create", "-f", "-", input=text(approval()), user=editor)


@pytest.mark.usefixtures("pending")
def test_the_operator_cannot_decide_even_as_a_cluster_administrator(
    installed: Connection, namespace: str, kubectl: Kubectl
) -> None:
    patch = ("patch", "cappr", "approval", "--type=merge", "-p", '{"spec":{"decision":"Approved"}}')
    by_its_role = kubectl(*patch, user=OPERATOR_USER, groups=OPERATOR_GROUPS, check=False)
    assert "cannot patch resource" in by_its_role.stderr
    with_all_rights = kubectl(*patch, user=OPERATOR_USER, groups=["system:masters"], check=False)
    # Two policies refuse it, each in its own words; the API server answers with those of either.
    words = ("the operator's service account cannot decide", "may change finalizers and status only, not spec")
    assert any(each in with_all_rights.stderr for each in words), with_all_rights.stderr
    assert _spec(installed, namespace)["decision"] == "Pending"


@pytest.mark.usefixtures("pending")
def test_an_approver_of_another_namespace_decides_nothing_here(
    installed: Connection, namespace: str, kubectl: Kubectl, editor: str, approver: str
) -> None:
    """The verb is asked of the approval's own namespace."""
    elsewhere = f"{namespace}-b"
    status, answer = installed.request("POST", "/api/v1/namespaces", {"metadata": {"name": elsewhere}})
    assert status == 201, answer
    try:
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "curation-approver"}
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": editor}
        binding = {"metadata": {"name": "b"}, "roleRef": reference, "subjects": [subject]}
        assert installed.request("POST", f"{_RBAC}/{elsewhere}/rolebindings", binding)[0] == 201
        create(installed, elsewhere, "curationapprovals", approval())
        patch = ("patch", "cappr", "approval", "--type=merge", "-p", '{"spec":{"decision":"Approved"}}')
        here = kubectl(*patch, user=editor, check=False)
        assert "lacks the verb approve" in here.stderr
        until(lambda: installed.kubectl("-n", elsewhere, *patch, user=editor, check=False).returncode == 0)
        assert kubectl(*patch, user=approver).returncode == 0
    finally:
        installed.request("DELETE", f"/api/v1/namespaces/{elsewhere}")
