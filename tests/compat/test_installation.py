"""Which component fits, what it does, and what the API server says where another one was taken."""

import functools
import json
import subprocess
from typing import Any

import pytest

from curation.api.names import ANNOTATION_CREATED_BY, ANNOTATION_REQUESTED_BY, SESSION_FINALIZER
from testing.controlplane.connection import Connection, Kubectl
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from tests.compat.conftest import ROOT, Installation, Setup
from tests.integration.api.objects import approval, create, job, path, read, text, until

_KINDS = ("curationjob", "curationmodule", "curationpolicy", "clustercurationpolicy", "curationapproval")


@pytest.fixture
def kubectl(installation: Installation, place: str) -> Kubectl:
    """kubectl in the test's namespace."""
    return functools.partial(installation.connection.kubectl, "--namespace", place)


def test_the_documented_check_says_which_component_fits(server: Connection, setup: Setup) -> None:
    script = ROOT / "manifests" / "choose-admission.sh"
    environment = {**server.environment(), "SECONDS_TO_WAIT": "10" if setup.inert else "100"}
    said = subprocess.run([str(script)], env=environment, capture_output=True, text=True, check=True, timeout=170)
    assert said.stdout == f"{setup.component}\n"
    why = "but does nothing" if setup.inert else "and works" if setup.stamps else "serves no MutatingAdmissionPolicy"
    assert why in said.stderr
    if setup.served:
        for kind in ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"):
            left = server.kubectl("get", f"{kind}.{setup.served}.admissionregistration.k8s.io", "-o", "name").stdout
            assert "choose-admission" not in left, "it leaves nothing behind"


def test_the_overlay_is_applied_whole_and_a_second_time_changes_nothing(installation: Installation) -> None:
    kubectl = installation.connection.kubectl
    folder = str(ROOT / installation.setup.overlay)
    kubectl("apply", "--server-side", "-k", folder)
    assert kubectl("diff", "--server-side", "-k", folder).stdout == ""
    nobody_at_the_door(installation)


def nobody_at_the_door(installation: Installation) -> None:
    """The webhook of an overlay that was applied whole: no operator answers it here."""
    installation.connection.kubectl(
        "delete", "validatingwebhookconfiguration", "curation-operator", "--ignore-not-found"
    )


def test_names_are_recorded_or_absent_and_never_false(installation: Installation, place: str, kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", input=text(job("plain")))
    metadata = read(installation.connection, place, "curationjobs", "plain")["metadata"]
    names = {
        name: metadata.get("annotations", {}).get(name) for name in (ANNOTATION_CREATED_BY, ANNOTATION_REQUESTED_BY)
    }
    assert set(names.values()) == ({"admin"} if installation.setup.stamps else {None})
    assert metadata.get("finalizers", []) == ([SESSION_FINALIZER] if installation.setup.stamps else [])
    forged = job("forged")
    forged["metadata"]["annotations"] = {ANNOTATION_CREATED_BY: "mallory"}
    made = kubectl("create", "-f", "-", input=text(forged), check=False)
    if installation.setup.stamps:
        found = read(installation.connection, place, "curationjobs", "forged")["metadata"]
        assert found["annotations"][ANNOTATION_CREATED_BY] == "admin"
    else:
        assert "it must be absent or 'admin', not 'mallory'" in made.stderr


def test_a_decision_takes_the_verb_and_the_right_name(installation: Installation, place: str, kubectl: Kubectl) -> None:
    server = installation.connection
    create(server, place, "curationapprovals", approval())
    kubectl("create", "rolebinding", "edits", "--clusterrole=curation-job-author", "--user=eve")
    address = path(place, "curationapprovals", "approval")

    def decide(**more: str) -> tuple[int, str]:
        status, answer = server.request("PATCH", address, {"spec": {"decision": "Approved", **more}})
        return status, answer.get("message", "")

    refused = kubectl(
        "patch", "cappr", "approval", "--type=merge", "-p", '{"spec":{"decision":"Approved"}}', user="eve", check=False
    )
    assert "forbidden" in refused.stderr.lower()
    if not installation.setup.stamps:
        status, message = decide()
        assert status == 403
        assert "set it to 'admin' with the decision" in message
        assert decide(decidedBy="mallory")[0] == 403
        assert decide(decidedBy="admin") == (200, "")
    else:
        assert decide(decidedBy="mallory") == (200, "")
    assert read(server, place, "curationapprovals", "approval")["spec"]["decidedBy"] == "admin"


def test_the_operators_account_changes_no_spec(installation: Installation, place: str, kubectl: Kubectl) -> None:
    create(installation.connection, place, "curationjobs", job())
    operator = functools.partial(kubectl, user=OPERATOR_USER, groups=OPERATOR_GROUPS, check=False)
    patch: dict[str, Any] = {"spec": {"rerun": "2"}}
    refused = operator("patch", "cjob", "job", "--type=merge", "-p", json.dumps(patch))
    assert "may change finalizers and status only, not spec" in refused.stderr


def test_a_bad_manifest_is_refused_with_the_field(kubectl: Kubectl) -> None:
    refused = kubectl("create", "-f", "-", input=text(job("bad", retry={"limit": 99})), check=False)
    assert "spec.retry.limit" in refused.stderr


@pytest.mark.parametrize("kind", _KINDS)
def test_explain_documents_each_kind(kubectl: Kubectl, kind: str) -> None:
    said = kubectl("explain", f"{kind}.spec").stdout
    assert "DESCRIPTION" in said
    assert "<no description>" not in said


def test_git_applies_the_same_manifest_again_without_a_change(
    installation: Installation, place: str, kubectl: Kubectl
) -> None:
    manifest = text(job(input={"message": "hello"}))
    for command in (("apply",), ("apply", "--server-side", "--force-conflicts")):
        kubectl(*command, "-f", "-", input=manifest)
        before = read(installation.connection, place, "curationjobs", "job")["metadata"]
        kubectl(*command, "-f", "-", input=manifest)
        after = read(installation.connection, place, "curationjobs", "job")["metadata"]
        assert (after["resourceVersion"], after["generation"]) == (before["resourceVersion"], 1)


def test_an_overlay_that_does_not_fit_says_so_when_a_job_is_made(
    installation: Installation, place: str, kubectl: Kubectl
) -> None:
    if installation.setup.stamps:
        pytest.skip("it fits")
    other = "default-v1beta1" if installation.setup.served == "v1beta1" else "default"
    admin = installation.connection.kubectl
    apply = ("apply", "--server-side", "--force-conflicts", "-k")
    made = functools.partial(kubectl, "create", "--dry-run=server", "-f", "-", input=text(job("late")), check=False)
    applied = admin(*apply, str(ROOT / "manifests/overlays" / other), check=False)
    try:
        assert (applied.returncode == 0) == installation.setup.inert, applied.stderr
        until(lambda: made().returncode != 0)
        said = made().stderr
        assert "MutatingAdmissionPolicy curation-job-provenance, which sets it, is not at work" in said
        assert "components/admission-validating" in said
    finally:
        admin(*apply, str(ROOT / installation.setup.overlay))
        nobody_at_the_door(installation)
        until(lambda: made().returncode == 0)
