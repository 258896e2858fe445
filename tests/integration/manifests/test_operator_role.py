"""What the operator's service account may do: exactly what the table says, asked of the API server's authorizer."""

import itertools

from testing.controlplane.connection import Connection
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER

_VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
_CURATION = ("curationjobs", "curationmodules", "curationpolicies", "clustercurationpolicies", "curationapprovals")

# (group, resource, subresource): verbs, in any namespace.
_MAY: dict[tuple[str, str, str], set[str]] = {
    ("curation.dev", "curationjobs", ""): {"get", "list", "watch", "patch", "delete"},
    ("curation.dev", "curationmodules", ""): {"get", "list", "watch", "patch"},
    ("curation.dev", "curationpolicies", ""): {"get", "list", "watch", "patch"},
    ("curation.dev", "clustercurationpolicies", ""): {"get", "list", "watch", "patch"},
    ("curation.dev", "curationapprovals", ""): {"get", "list", "watch", "create", "delete"},
    **{("curation.dev", plural, "status"): {"update", "patch"} for plural in _CURATION},
    ("", "configmaps", ""): {"get"},
    ("", "namespaces", ""): {"get"},
    ("events.k8s.io", "events", ""): {"create", "patch"},
}
_MAY_NOT = (
    ("", "secrets", ""),
    ("", "pods", ""),
    ("", "serviceaccounts", "token"),
    ("", "events", ""),
    ("batch", "jobs", ""),
    ("apps", "deployments", ""),
    ("coordination.k8s.io", "leases", ""),
    ("apiextensions.k8s.io", "customresourcedefinitions", ""),
    ("rbac.authorization.k8s.io", "clusterroles", ""),
    ("rbac.authorization.k8s.io", "rolebindings", ""),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies", ""),
    *(("curation.dev", plural, "finalizers") for plural in _CURATION),
)


def _allowed(connection: Connection, attributes: dict[str, str]) -> bool:
    spec = {"user": OPERATOR_USER, "groups": OPERATOR_GROUPS, "resourceAttributes": attributes}
    status, answer = connection.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": spec})
    assert status == 201, answer
    return bool(answer["status"]["allowed"])


def test_the_operator_may_do_exactly_what_the_table_says(installed: Connection, namespace: str) -> None:
    found: dict[tuple[str, str, str], set[str]] = {}
    for (group, resource, subresource), verb in itertools.product((*_MAY, *_MAY_NOT), (*_VERBS, "approve", "bind")):
        attributes = {"group": group, "resource": resource, "subresource": subresource, "verb": verb}
        if _allowed(installed, {**attributes, "namespace": namespace}):
            found.setdefault((group, resource, subresource), set()).add(verb)
    assert found == _MAY


def test_the_operator_may_use_its_own_lease_and_no_other(installed: Connection) -> None:
    def verbs(namespace: str, name: str) -> set[str]:
        lease = {"group": "coordination.k8s.io", "resource": "leases", "namespace": namespace, "name": name}
        return {verb for verb in _VERBS if _allowed(installed, {**lease, "verb": verb})}

    assert verbs("curation-system", "curation-operator") == {"create", "get", "patch"}
    assert verbs("curation-system", "other") == {"create"}
    assert verbs("default", "curation-operator") == set()


def test_nothing_of_the_operator_namespace_itself_is_its_to_read(installed: Connection) -> None:
    for resource in ("secrets", "pods", "serviceaccounts"):
        assert not _allowed(
            installed, {"group": "", "resource": resource, "namespace": "curation-system", "verb": "get"}
        )
