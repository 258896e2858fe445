"""The body of a status PUT: the stored status with the patch applied, or none where the stored one is not at hand."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.cluster import bounds
from curation.cluster.cache import Cache, Stored
from curation.cluster.intake import cut_event, cut_object
from curation.cluster.mergepatch import merge_patch
from curation.cluster.resources import APPROVALS, CLUSTER_POLICIES, JOBS, ResourceKind
from curation.cluster.status_body import MAX_WHOLE, status_body
from tests.unit.cluster.test_merge_patch import documents, rfc7396_apply

Document = dict[str, Any]

# Of a newer release: what this one does not know, whatever it is.
strings = st.text(st.characters(codec="utf-8"), max_size=8)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | strings
)
unknown = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3), max_leaves=12
)


def job(**fields: Any) -> Document:
    metadata = {
        "name": "a",
        "namespace": "ns",
        "uid": "u-1",
        "resourceVersion": "7",
        "generation": 3,
        "labels": {"a": "b"},
        "finalizers": ["x/y"],
        "managedFields": [{"manager": "m"}],
    }
    spec = {"moduleRef": {"name": "m"}}
    return {"apiVersion": JOBS.api_version, "kind": JOBS.kind, "metadata": metadata, "spec": spec, **fields}


def stored(obj: Document, kind: ResourceKind = JOBS) -> Stored:
    cache = Cache(kind)
    cache.put(obj)
    (found,) = cache
    return found


def taken_in(obj: Document) -> Stored:
    """As it comes from the API server, by a watch."""
    line = json.dumps({"type": "MODIFIED", "object": obj}, separators=(",", ":")).encode()
    return stored(json.loads(cut_event(line, JOBS))["object"])


@settings(deadline=None)
@given(documents, documents, st.dictionaries(strings.map("new-{}".format), unknown, max_size=3))
def test_the_status_is_the_stored_one_with_the_patch_applied(old: Document, new: Document, newer: Document) -> None:
    patch = merge_patch(old, new)
    if patch is None:
        return
    kept = {**newer, **old}
    body = status_body(JOBS, taken_in(job(status=kept)), patch)
    assert body is not None
    # As text: to Python, True is 1.
    assert json.dumps(body["status"], sort_keys=True) == json.dumps(rfc7396_apply(kept, patch), sort_keys=True)
    assert json.dumps(body["status"], sort_keys=True) == json.dumps({**newer, **new}, sort_keys=True)


def test_the_body_says_which_object_it_is_and_nothing_else_of_it() -> None:
    body = status_body(JOBS, stored(job(status={"phase": "Queued"})), {"phase": "Submitted"})
    assert body == {
        "apiVersion": "curation.dev/v1alpha1",
        "kind": "CurationJob",
        "metadata": {"name": "a", "namespace": "ns", "uid": "u-1"},
        "status": {"phase": "Submitted"},
    }


def test_a_cluster_scoped_object_is_named_without_a_namespace() -> None:
    policy = job()
    del policy["metadata"]["namespace"]
    body = status_body(CLUSTER_POLICIES, stored(policy, CLUSTER_POLICIES), {"policies": 1})
    assert body is not None
    assert body["metadata"] == {"name": "a", "uid": "u-1"}
    assert body["kind"] == "ClusterCurationPolicy"


@pytest.mark.parametrize("status", [{}, {"status": {}}])
def test_an_object_without_a_status_gets_one(status: Document) -> None:
    body = status_body(JOBS, stored(job(**status)), {"phase": "Queued", "gone": None})
    assert body is not None
    assert body["status"] == {"phase": "Queued"}


def test_what_is_stored_is_not_changed_by_a_body() -> None:
    found = stored(job(status={"session": {"id": "s"}}))
    before = copy.deepcopy(found.document())
    assert status_body(JOBS, found, {"session": {"id": "t"}}) is not None
    assert found.document() == before


@pytest.mark.parametrize(
    "status",
    [
        {"output": {"text": "x" * (bounds.MAX_STATUS_FIELD + 1)}},
        {"conditions": ["x" * (bounds.MAX_CONDITIONS + 1)]},
        {"session": {"id": "s", "progress": "x" * (bounds.MAX_STATUS_FIELD + 1)}},
        {"newer": json.loads("[" * 300 + "]" * 300)},
    ],
    ids=["a field", "a large field", "a session that is kept without its progress", "a deep field"],
)
def test_a_status_that_was_cut_has_no_body(status: Document) -> None:
    found = taken_in(job(status={"phase": "Running", **status}))
    assert found.document()["status"] != {"phase": "Running", **status}
    assert status_body(JOBS, found, {"phase": "Failed"}) is None


def test_the_mark_of_a_cut_status_goes_with_what_was_cut() -> None:
    large = taken_in(job(status={"output": {"text": "x" * 70_000}}))
    again = cut_object(large.body, JOBS)  # nothing in it is over a bound any more, and nothing says that it was
    assert bounds.STATUS_CUT_FIELD not in json.loads(again)


def test_an_object_whose_spec_and_metadata_were_cut_has_a_body() -> None:
    obj = job(status={"phase": "Queued"})
    obj["spec"]["input"] = {"text": "x" * 1_000_000}
    obj["metadata"]["annotations"] = {"a": "x" * 100_000}
    found = taken_in(obj)
    assert len(found.body) < 10_000
    body = status_body(JOBS, found, {"phase": "Failed"})
    assert body is not None
    assert body["status"] == {"phase": "Failed"}


def test_a_large_status_has_no_body_though_it_is_known_whole() -> None:
    entries = [{"id": "x" * 1000} for _ in range(MAX_WHOLE // 1000 + 1)]
    found = taken_in(job(status={"phase": "Running", "abandonedRuns": entries}))
    assert len(found.document()["status"]["abandonedRuns"]) == len(entries)
    assert status_body(JOBS, found, {"phase": "Failed"}) is None


def test_nobody_can_set_the_mark_from_outside() -> None:
    """The API server prunes it; and should it not, it is set anew."""
    found = taken_in(job(**{bounds.STATUS_CUT_FIELD: True, "status": {"phase": "Queued"}}))
    assert status_body(JOBS, found, {"phase": "Failed"}) is not None


def test_a_status_that_is_no_object_has_no_body() -> None:
    assert status_body(APPROVALS, stored(job(status=[1]), APPROVALS), {"waiting": 1}) is None
