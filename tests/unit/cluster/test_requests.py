"""The labels of the request metrics, and the paths of resources."""

import pytest

from curation.cluster.request_labels import Asked, describe
from curation.cluster.resources import CLUSTER_POLICIES, CONFIG_MAPS, JOBS, KINDS, LEASES, NAMESPACES

A = "/apis/curation.dev/v1alpha1"


@pytest.mark.parametrize(
    ("method", "path", "query", "verb", "resource", "namespace"),
    [
        ("GET", f"{A}/curationjobs", {}, "list", "curationjobs", ""),
        ("GET", f"{A}/curationjobs", {"watch": "true"}, "watch", "curationjobs", ""),
        ("GET", f"{A}/curationjobs", {"watch": "false"}, "list", "curationjobs", ""),
        ("GET", f"{A}/namespaces/ns/curationjobs", {"watch": "1"}, "watch", "curationjobs", "ns"),
        ("GET", f"{A}/namespaces/ns/curationjobs/a", {}, "get", "curationjobs", "ns"),
        ("PATCH", f"{A}/namespaces/ns/curationjobs/a/status", {}, "patch", "curationjobs/status", "ns"),
        ("PATCH", f"{A}/namespaces/ns/curationjobs/a", {}, "patch", "curationjobs", "ns"),
        ("POST", "/apis/events.k8s.io/v1/namespaces/ns/events", {}, "create", "events", "ns"),
        ("DELETE", f"{A}/namespaces/ns/curationjobs/a", {}, "delete", "curationjobs", "ns"),
        ("DELETE", f"{A}/namespaces/ns/curationjobs", {}, "deletecollection", "curationjobs", "ns"),
        ("PUT", "/api/v1/namespaces/ns/configmaps/a", {}, "update", "configmaps", "ns"),
        ("POST", f"{A}/namespaces/ns/curationapprovals", {"dryRun": "All"}, "dry-run", "curationapprovals", "ns"),
        ("GET", "/api/v1/namespaces/ns", {}, "get", "namespaces", ""),
        ("GET", "/api/v1/namespaces", {}, "list", "namespaces", ""),
        ("GET", "/version", {}, "get", "nonresource", ""),
        ("GET", "/apis", {}, "get", "nonresource", ""),
        ("GET", A, {}, "get", "nonresource", ""),
    ],
)
def test_a_request_is_described_by_its_kubernetes_verb_resource_and_namespace(
    method: str, path: str, query: dict[str, str], verb: str, resource: str, namespace: str
) -> None:
    assert describe(method, path, query) == Asked(verb, resource, namespace)


def test_paths_are_those_of_the_api_conventions() -> None:
    assert JOBS.path("ns", "a", "status") == f"{A}/namespaces/ns/curationjobs/a/status"
    assert JOBS.path(None) == f"{A}/curationjobs"
    assert CLUSTER_POLICIES.path(None, "p") == f"{A}/clustercurationpolicies/p"
    assert CLUSTER_POLICIES.path("ns", "p") == f"{A}/clustercurationpolicies/p"
    assert CONFIG_MAPS.path("ns", "c") == "/api/v1/namespaces/ns/configmaps/c"
    assert NAMESPACES.path(None, "ns") == "/api/v1/namespaces/ns"
    assert LEASES.api_version == "coordination.k8s.io/v1"


def test_a_name_cannot_leave_its_place_in_the_path() -> None:
    assert JOBS.path("ns", "../secrets?x") == f"{A}/namespaces/ns/curationjobs/..%2Fsecrets%3Fx"


def test_an_object_of_a_namespaced_kind_needs_a_namespace() -> None:
    with pytest.raises(ValueError, match="CurationJob 'a' needs a namespace"):
        JOBS.path(None, "a")


def test_the_five_kinds_are_known() -> None:
    assert sorted(KINDS) == [
        "ClusterCurationPolicy",
        "CurationApproval",
        "CurationJob",
        "CurationModule",
        "CurationPolicy",
    ]
