"""approve, deny, revoke against the real API server, its CRD rules, its RBAC and the shipped admission policies.

from \\ verb   approve            deny               revoke
Pending        Approved           Denied             refused: deny
Approved       same: nothing      refused: revoke    Revoked
Denied         refused: delete    same: nothing      refused: delete
Revoked        refused: delete    refused: delete    same: nothing
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from testing.controlplane.connection import Kubectl
from tests.integration.cli.running import Objects, Plugin, request

APPROVALS = "curationapprovals"
GROUPS = ("people",)


def bind(kubectl: Kubectl, role: str, user: str) -> None:
    kubectl("create", "rolebinding", f"{user}-{role}", f"--clusterrole={role}", f"--user={user}")


def managers(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {
        (entry["manager"], field)
        for entry in document["metadata"]["managedFields"]
        for field in entry["fieldsV1"].get("f:spec", {})
    }


def test_approving_writes_the_scope_and_the_end_as_manager_curation_and_shows_the_granted_policy(
    plugin: Plugin, objects: Objects
) -> None:
    name = objects.approval(request(), ["a", "b"])
    shown = plugin("approve", name, "--scope", "path", "--expires", "24h").stdout
    after = objects.get(APPROVALS, name)
    assert (after["spec"]["decision"], after["spec"]["scope"]) == ("Approved", "Path")
    assert after["spec"]["expiresAt"] > after["metadata"]["creationTimestamp"]
    assert after["spec"]["decidedBy"] == "admin"
    # The plugin sends decidedBy itself, so that it is recorded where nothing stamps it.
    fields = ("f:decision", "f:scope", "f:expiresAt", "f:decidedBy")
    assert {("curation", field) for field in fields} <= managers(after)
    assert "Under Cancel it covers every method and path of https://sessions.example.test:443" in shown
    assert "Granted before: nothing" in shown
    assert "Go on:     2 jobs: a, b\n" in shown
    cedar = shown.partition("Grants now, scope Path, until ")[2]
    assert 'context.path) == "/sessions"' in cedar
    assert "context.query" not in cedar


def test_an_approval_without_a_scope_grants_exactly_the_request(plugin: Plugin, objects: Objects) -> None:
    objects.module()
    name = objects.approval(request())
    url = "https://sessions.example.test/sessions"
    assert plugin("can-i", "POST", f"{url}?dry=1", code=1).stdout.startswith("no: no policy permits")
    plugin("approve", name)
    assert objects.get(APPROVALS, name)["spec"]["scope"] == "Request"
    assert name in plugin("can-i", "POST", f"{url}?dry=1").stdout
    plugin("can-i", "POST", f"{url}?dry=2", code=1)


def test_a_dry_run_shows_the_grant_and_changes_nothing(plugin: Plugin, objects: Objects) -> None:
    name = objects.approval(request())
    before = objects.get(APPROVALS, name)
    shown = plugin("approve", name, "--scope", "Host", "--dry-run").stdout
    assert "approved (server dry run)" in shown
    assert "permit (" in shown
    assert objects.get(APPROVALS, name) == before


def test_a_decided_approval_is_printed_as_json_for_programs(plugin: Plugin, objects: Objects) -> None:
    name = objects.approval(request())
    document = json.loads(plugin("deny", name, "-o", "json").stdout)
    assert (document["kind"], document["spec"]["decision"]) == ("CurationApproval", "Denied")
    assert plugin("deny", name, "-o", "name").stdout == f"curationapproval.curation.dev/{name}\n"


def test_denying_says_which_jobs_fail(plugin: Plugin, objects: Objects) -> None:
    name = objects.approval(request(), ["a", "b"], waiting=12)
    assert "Fail:      12 jobs: a, b and 10 more\n" in plugin("deny", name).stdout


def test_revoking_keeps_who_approved(plugin: Plugin, objects: Objects, kubectl: Kubectl) -> None:
    name = objects.approval(request())
    bind(kubectl, "curation-approver", "ada")
    plugin("approve", name, user="ada", groups=GROUPS)
    objects.status(APPROVALS, name, approvedBy="ada")
    assert "Decision:  Revoked by admin; it was Approved by ada\n" in plugin("revoke", name).stdout
    assert "admin (approved by ada)" in plugin("approvals").stdout


def test_revoking_shows_what_was_granted_and_that_nothing_is_left(plugin: Plugin, objects: Objects) -> None:
    name = objects.approval(request())
    plugin("approve", name)
    shown = plugin("revoke", name).stdout
    assert "Granted before:\n" in shown
    assert 'context.query) == "dry=1"' in shown
    assert shown.rstrip().endswith("Grants now: nothing")
    assert objects.get(APPROVALS, name)["spec"]["decision"] == "Revoked"


@pytest.mark.parametrize(
    ("start", "verb", "code", "said"),
    [
        ((), "revoke", 1, "is Pending and grants nothing; deny it with: kubectl curation deny"),
        (("approve",), "approve", 0, "is already Approved"),
        (("approve",), "deny", 1, "is Approved by admin; take that back with: kubectl curation revoke"),
        (
            ("deny",),
            "approve",
            1,
            "was Denied by admin, which is final; delete it to let jobs ask anew: kubectl delete",
        ),
        (("deny",), "deny", 0, "is already Denied"),
        (("deny",), "revoke", 1, "was Denied by admin, which is final"),
        (("approve", "revoke"), "approve", 1, "was Revoked by admin, which is final"),
        (("approve", "revoke"), "deny", 1, "was Revoked by admin, which is final"),
        (("approve", "revoke"), "revoke", 0, "is already Revoked"),
    ],
)
def test_a_transition_that_changes_nothing_or_cannot_be_says_so_and_writes_nothing(
    plugin: Plugin, objects: Objects, start: tuple[str, ...], verb: str, code: int, said: str
) -> None:
    name = objects.approval(request())
    states = {"approve": "Approved", "deny": "Denied", "revoke": "Revoked"}
    for earlier in start:
        objects.patch(APPROVALS, name, {"spec": {"decision": states[earlier]}})
    before = objects.get(APPROVALS, name)
    result = plugin(verb, name, code=code)
    assert said in (result.stderr if code else result.stdout)
    assert objects.get(APPROVALS, name)["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_another_scope_for_an_approved_one_is_refused_with_the_way_to_get_it(plugin: Plugin, objects: Objects) -> None:
    name = objects.approval(request())
    plugin("approve", name)
    said = plugin("approve", name, "--scope", "Host", code=1).stderr
    assert "with scope Request, which cannot change; revoke it with: kubectl curation revoke" in said


def test_a_grant_that_ends_in_the_past_is_wrong_usage(plugin: Plugin, objects: Objects) -> None:
    name = objects.approval(request())
    assert "is over" in plugin("approve", name, "--expires", "2020-01-01T00:00:00Z", code=2).stderr
    assert "no time zone" in plugin("approve", name, "--expires", "2099-01-01T00:00:00", code=2).stderr
    assert objects.get(APPROVALS, name)["spec"]["decision"] == "Pending"


def test_an_approver_may_decide_and_is_recorded(plugin: Plugin, objects: Objects, kubectl: Kubectl) -> None:
    name = objects.approval(request())
    bind(kubectl, "curation-approver", "ada")
    assert "Decision:  Approved by ada" in plugin("approve", name, user="ada", groups=GROUPS).stdout
    assert objects.get(APPROVALS, name)["spec"]["decidedBy"] == "ada"


def test_who_may_only_view_learns_the_verb_and_the_role_that_are_missing(
    plugin: Plugin, objects: Objects, kubectl: Kubectl
) -> None:
    name = objects.approval(request())
    bind(kubectl, "curation-viewer", "vic")
    for verb in ("approve", "deny"):
        said = plugin(verb, name, user="vic", groups=GROUPS, code=1).stderr
        assert f"you may not {verb} CurationApproval" in said
        assert "'approve'" in said
        assert "ClusterRole curation-approver" in said
        assert f"-n {objects.namespace}" in said


def test_who_may_patch_but_not_approve_learns_the_same_from_admission(
    plugin: Plugin, objects: Objects, kubectl: Kubectl
) -> None:
    name = objects.approval(request())
    kubectl("create", "role", "patcher", "--verb=get,patch", "--resource=curationapprovals.curation.dev")
    kubectl("create", "rolebinding", "patcher", "--role=patcher", "--user=pat")
    said = plugin("approve", name, user="pat", groups=GROUPS, code=1).stderr
    assert "ClusterRole curation-approver" in said
    assert "pat lacks the verb approve" in said
    assert objects.get(APPROVALS, name)["spec"]["decision"] == "Pending"


def test_an_approval_that_does_not_exist_is_named_with_its_namespace(plugin: Plugin) -> None:
    said = plugin("approve", "build-00", code=1).stderr
    assert said.startswith(f"error: there is no CurationApproval {plugin.namespace}/build-00;")


def test_a_decision_that_another_manager_has_applied_is_left_alone_unless_forced(
    plugin: Plugin, objects: Objects, kubectl: Kubectl
) -> None:
    name = objects.approval(request())
    seen = objects.get(APPROVALS, name)
    applied = {
        "apiVersion": seen["apiVersion"],
        "kind": seen["kind"],
        "metadata": {"name": name, "namespace": objects.namespace},
        "spec": {**seen["spec"], "decision": "Approved"},
    }
    apply = ("apply", "--server-side", "--force-conflicts", "--field-manager=argocd", "-f", "-")
    kubectl(*apply, input=json.dumps(applied))
    said = plugin("revoke", name, code=1).stderr
    assert f"error: spec.decision of CurationApproval {objects.namespace}/{name} was applied by 'argocd'" in said
    assert "take it out of that manifest, or use --force" in said
    assert objects.get(APPROVALS, name)["spec"]["decision"] == "Approved"
    assert "the next apply of that manifest will fail" in plugin("revoke", name, "--force").stderr
    assert objects.get(APPROVALS, name)["spec"]["decision"] == "Revoked"
