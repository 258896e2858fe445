"""The operator's account changes finalizers and status of the five kinds, and nothing else, whatever it tries."""

import functools
import json
from subprocess import CompletedProcess
from typing import Any

import pytest

from curation.api.names import IN_USE_FINALIZER, SESSION_FINALIZER
from testing.controlplane.connection import Connection, Kubectl
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from tests.integration.api.objects import Document, approval, create, job, module, path, policy, read, text

Patch = dict[str, Any]


def _cluster_policy(name: str) -> Document:
    return {**policy(name), "kind": "ClusterCurationPolicy"}


@pytest.fixture
def operator(kubectl: Kubectl) -> Kubectl:
    """kubectl as the operator's service account."""
    return functools.partial(kubectl, user=OPERATOR_USER, groups=OPERATOR_GROUPS, check=False)


def _patched(kubectl: Kubectl, plural: str, name: str, patch: Patch, *options: str) -> CompletedProcess[str]:
    return kubectl("patch", plural, name, "--type=merge", "-p", json.dumps(patch), *options)


_KINDS: dict[str, tuple[Document, Patch, str]] = {
    "curationjobs": (job("it"), {"rerun": "2"}, SESSION_FINALIZER),
    "curationmodules": (module("it"), {"config": {"api_url": "https://evil.example.com"}}, IN_USE_FINALIZER),
    "curationpolicies": (policy("it"), {"cedar": "permit (principal, action, resource); // all"}, IN_USE_FINALIZER),
}
"""Kinds that the operator may patch: an object, a change of its spec, the finalizer."""

_METADATA: dict[str, Patch] = {
    "a label": {"labels": {"team": "b"}},
    "an annotation": {"annotations": {"curation.dev/observe-requested-at": "now"}},
    "an owner": {
        "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "none", "uid": "none"}],
    },
    "a finalizer of another": {"finalizers": ["example.com/hold"]},
}


@pytest.mark.parametrize("plural", _KINDS)
def test_the_operator_changes_its_finalizer_and_no_spec(
    installed: Connection, namespace: str, operator: Kubectl, plural: str
) -> None:
    document, spec, finalizer = _KINDS[plural]
    create(installed, namespace, plural, document)
    before = read(installed, namespace, plural, "it")
    refused = _patched(operator, plural, "it", {"spec": spec})
    assert "may change finalizers and status only, not spec" in refused.stderr
    # Both in one request: the finalizer is no way in.
    refused = _patched(operator, plural, "it", {"spec": spec, "metadata": {"finalizers": [finalizer]}})
    assert "may change finalizers and status only, not spec" in refused.stderr
    assert read(installed, namespace, plural, "it") == before
    assert _patched(operator, plural, "it", {"metadata": {"finalizers": [finalizer]}}).returncode == 0
    assert read(installed, namespace, plural, "it")["metadata"]["finalizers"] == [finalizer]
    assert _patched(operator, plural, "it", {"metadata": {"finalizers": None}}).returncode == 0


@pytest.mark.parametrize("plural", _KINDS)
@pytest.mark.parametrize("metadata", _METADATA.values(), ids=_METADATA.keys())
def test_the_operator_changes_nothing_else_of_metadata(
    installed: Connection, namespace: str, operator: Kubectl, plural: str, metadata: Patch
) -> None:
    create(installed, namespace, plural, _KINDS[plural][0])
    before = read(installed, namespace, plural, "it")
    refused = _patched(operator, plural, "it", {"metadata": metadata})
    assert "denied request: the operator's service account may" in refused.stderr
    assert read(installed, namespace, plural, "it") == before


@pytest.mark.parametrize("plural", _KINDS)
def test_a_write_of_its_status_changes_nothing_but_the_status(
    installed: Connection, namespace: str, operator: Kubectl, plural: str
) -> None:
    document, spec, _ = _KINDS[plural]
    create(installed, namespace, plural, document)
    before = read(installed, namespace, plural, "it")
    # Server-side apply, since kubectl's patch reads the status first, which the operator may not.
    applied = {**before, "spec": {**before["spec"], **spec}, "status": {"observedGeneration": 1}}
    applied["metadata"] = {"name": "it", "labels": {"team": "b"}}
    command = ("apply", "--server-side", "--force-conflicts", "--subresource=status", "-f", "-")
    done = operator(*command, input=text(applied))
    assert done.returncode == 0, done.stderr
    after = read(installed, namespace, plural, "it")
    assert after["spec"] == before["spec"]
    assert after["metadata"].get("labels") == before["metadata"].get("labels")
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert after["status"]["observedGeneration"] == 1


def test_the_operator_changes_no_cluster_policy(installed: Connection, namespace: str, operator: Kubectl) -> None:
    # Its cedar permits nothing new to anybody: the tests beside this one share the cluster.
    document = _cluster_policy(f"held-{namespace}")
    document["spec"] = {"cedar": "forbid (principal, action, resource) when { false };"}
    installed.kubectl("create", "-f", "-", input=text(document))
    try:
        patch = {"spec": {"cedar": "permit (principal, action, resource);"}}
        refused = _patched(operator, "clustercurationpolicies", f"held-{namespace}", patch)
        assert "may change finalizers and status only, not spec" in refused.stderr
    finally:
        installed.kubectl("delete", "ccurpol", f"held-{namespace}", "--wait=false")
        installed.kubectl(
            "patch",
            "ccurpol",
            f"held-{namespace}",
            "--type=merge",
            "-p",
            '{"metadata":{"finalizers":null}}',
            check=False,
        )


def test_a_finalizer_of_another_stays_through_the_operators_patch(
    installed: Connection, namespace: str, operator: Kubectl
) -> None:
    document = module("it")
    document["metadata"]["finalizers"] = ["example.com/hold", IN_USE_FINALIZER]
    create(installed, namespace, "curationmodules", document)
    refused = _patched(operator, "curationmodules", "it", {"metadata": {"finalizers": None}})
    assert f"may add or remove the finalizer {IN_USE_FINALIZER} only" in refused.stderr
    left = {"metadata": {"finalizers": ["example.com/hold"]}}
    assert _patched(operator, "curationmodules", "it", left).returncode == 0


def test_the_operator_deletes_only_what_is_its_to_delete(
    installed: Connection, namespace: str, operator: Kubectl
) -> None:
    for name, spec in (("kept", {}), ("temporary", {"ttlSecondsAfterFinished": 1})):
        create(installed, namespace, "curationjobs", job(name, **spec))
    assert "deletes approvals, and jobs that have ttlSecondsAfterFinished" in operator("delete", "cjob", "kept").stderr
    assert operator("delete", "cjob", "temporary", "--wait=false").returncode == 0
    create(installed, namespace, "curationapprovals", approval())
    decision = {"spec": {"decision": "Denied"}}
    assert installed.request("PATCH", path(namespace, "curationapprovals", "approval"), decision)[0] == 200
    assert "does not undo a denial" in operator("delete", "cappr", "approval").stderr


def test_somebody_who_holds_more_rights_than_the_role_gives_is_held_all_the_same(
    installed: Connection, namespace: str, operator: Kubectl
) -> None:
    """A binding that somebody adds to the operator's account later gives it no further reach into these kinds."""
    binding = {
        "metadata": {"name": "too-much"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "curation-policy-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "curation-operator", "namespace": "curation-system"}],
    }
    address = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"
    assert installed.request("POST", address, binding)[0] == 201
    refused = operator("create", "-f", "-", input=text(policy("mine")))
    while "forbidden: User" in refused.stderr:  # The binding counts a moment later.
        refused = operator("create", "-f", "-", input=text(policy("mine")))
    assert "the operator's service account creates approvals only" in refused.stderr
