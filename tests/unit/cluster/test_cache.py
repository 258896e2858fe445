"""The cache moves only forward.

Matrix: same uid (older, equal, newer) x another uid (older, newer) x deleted before (by the watch, by replacement);
listeners; memory.
"""

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.api.job import CurationJob
from curation.cluster.cache import Cache, Stored, _Parsed
from curation.cluster.resources import CLUSTER_POLICIES, JOBS


def job(version: int, *, uid: str = "u1", name: str = "a", namespace: str = "ns", **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "curation.dev/v1alpha1",
        "kind": "CurationJob",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid,
            "resourceVersion": str(version),
            "generation": 1,
            "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
        },
        "spec": {"moduleRef": {"name": "m"}},
        **more,
    }


def version_of(cache: Cache) -> tuple[str, int] | None:
    stored = cache.get("ns", "a")
    return None if stored is None else (stored.uid, stored.resource_version)


def test_a_newer_version_replaces_an_older_one() -> None:
    cache = Cache(JOBS)
    assert cache.put(job(9))
    assert cache.put(job(10))  # as text, "10" < "9"
    assert version_of(cache) == ("u1", 10)


@pytest.mark.parametrize("late", [9, 10])
def test_an_older_or_equal_version_changes_nothing(late: int) -> None:
    cache = Cache(JOBS)
    cache.put(job(10))
    assert not cache.put(job(late, status={"phase": "Failed"}))
    stored = cache.get("ns", "a")
    assert stored is not None
    assert "status" not in stored.document()


def test_a_recreated_object_replaces_the_old_one_only_with_a_greater_version() -> None:
    cache = Cache(JOBS)
    cache.put(job(10))
    assert not cache.put(job(9, uid="u0"))
    assert cache.put(job(11, uid="u2"))
    assert version_of(cache) == ("u2", 11)


def test_a_late_answer_of_our_own_write_does_not_bring_a_deleted_object_back() -> None:
    cache = Cache(JOBS)
    cache.put(job(10))
    assert cache.delete(job(12))
    assert not cache.put(job(11))
    assert not cache.put(job(13))  # a uid that is gone is gone, whatever the version
    assert version_of(cache) is None


def test_a_late_answer_does_not_bring_back_the_object_that_another_one_replaced() -> None:
    cache = Cache(JOBS)
    cache.put(job(10))
    cache.put(job(20, uid="u2"))
    cache.delete(job(21, uid="u2"))
    assert not cache.put(job(15))
    assert version_of(cache) is None


def test_the_deletion_of_a_former_object_leaves_its_successor_alone() -> None:
    cache = Cache(JOBS)
    cache.put(job(20, uid="u2"))
    assert not cache.delete(job(10, uid="u1"))
    assert version_of(cache) == ("u2", 20)


def test_a_deletion_seen_before_the_object_keeps_it_out() -> None:
    cache = Cache(JOBS)
    assert not cache.delete(job(12))
    assert not cache.put(job(11))


def test_tombstones_are_bounded_and_the_oldest_go_first() -> None:
    cache = Cache(JOBS, tombstones=2)
    for uid in ("u1", "u2", "u3"):
        cache.delete(job(10, uid=uid))
    assert not cache.put(job(11, uid="u3"))
    assert not cache.put(job(12, uid="u2"))
    assert cache.put(job(13, uid="u1"))


def test_listeners_are_notified_of_each_accepted_change_before_put_returns() -> None:
    cache = Cache(JOBS)
    notified: list[tuple[int | None, int | None]] = []

    def listen(old: Stored | None, new: Stored | None) -> None:
        assert cache.get("ns", "a") == new
        notified.append((old.resource_version if old else None, new.resource_version if new else None))

    cache.listen(listen)
    cache.put(job(10))
    assert notified == [(None, 10)]
    cache.put(job(10))
    cache.put(job(11))
    cache.put(job(12, uid="u2"))
    cache.delete(job(13, uid="u1"))
    cache.delete(job(14, uid="u2"))
    assert notified == [(None, 10), (10, 11), (11, 12), (12, None)]


def test_a_listener_that_raises_keeps_neither_the_change_nor_the_other_listeners_from_happening(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = Cache(JOBS)
    notified: list[Stored | None] = []

    def broken(_old: Stored | None, _new: Stored | None) -> None:
        raise RuntimeError("broken listener")

    cache.listen(broken)
    cache.listen(lambda _old, new: notified.append(new))
    assert cache.put(job(10))
    assert len(notified) == 1
    assert "broken listener" in caplog.text


def test_objects_can_be_changed_while_going_through_them() -> None:
    cache = Cache(JOBS)
    for number in range(5):
        cache.put(job(10 + number, name=f"j{number}", uid=f"u{number}"))
        cache.put(job(20 + number, name=f"j{number}", uid=f"v{number}", namespace="other"))
    assert len(cache) == 10
    for stored in cache.in_namespace("ns"):
        assert cache.forget("ns", stored.name, stored.uid)
    assert {stored.namespace for stored in cache} == {"other"}


def test_a_cluster_scoped_object_is_found_under_no_namespace() -> None:
    cache = Cache(CLUSTER_POLICIES)
    cache.put({"metadata": {"name": "p", "uid": "u", "resourceVersion": "5"}, "spec": {"cedar": ""}})
    stored = cache.get(None, "p")
    assert stored is not None
    assert stored is cache.get("", "p")


def test_the_stored_document_has_everything_but_managed_fields() -> None:
    given_object = job(10, status={"message": "grün"})
    cache = Cache(JOBS)
    cache.put(given_object)
    stored = cache.get("ns", "a")
    assert stored is not None
    assert "managedFields" in given_object["metadata"]
    expected = json.loads(json.dumps(given_object))
    del expected["metadata"]["managedFields"]
    assert stored.document() == expected
    parsed = stored.parse(CurationJob)
    assert (parsed.metadata.uid, parsed.spec.module_ref.name) == ("u1", "m")


def test_an_item_of_a_list_is_stored_with_the_kind_that_lists_leave_out() -> None:
    item = job(10)
    del item["kind"], item["apiVersion"]
    cache = Cache(JOBS)
    cache.put(item)
    stored = cache.get("ns", "a")
    assert stored is not None
    assert stored.document()["kind"] == "CurationJob"
    assert stored.document()["apiVersion"] == "curation.dev/v1alpha1"


@pytest.mark.parametrize("version", ["", "abc", "-1", "1.5", "٣"])
def test_a_resource_version_that_is_no_decimal_integer_is_refused(version: str) -> None:
    broken = job(1)
    broken["metadata"]["resourceVersion"] = version
    with pytest.raises(ValueError, match="not a decimal integer"):
        Cache(JOBS).put(broken)


changes = st.lists(st.tuples(st.sampled_from(["put", "delete"]), st.integers(1, 3), st.integers(1, 40)), max_size=40)


@given(changes)
def test_whatever_comes_in_whatever_order_nothing_moves_backwards(sequence: list[tuple[str, int, int]]) -> None:
    """Versions rise within a name; a uid that was deleted never shows again; listeners see exactly the changes."""
    cache = Cache(JOBS)
    shown: list[Stored | None] = []
    cache.listen(lambda _old, new: shown.append(new))
    dead: set[str] = set()
    for what, number, version in sequence:
        uid, before = f"u{number}", cache.get("ns", "a")
        changed = cache.put(job(version, uid=uid)) if what == "put" else cache.delete(job(version, uid=uid))
        after = cache.get("ns", "a")
        assert changed == (after != before)
        if before and after and changed:
            assert after.resource_version > before.resource_version
        if what == "delete":
            dead.add(uid)
        if before and after and before.uid != after.uid:
            dead.add(before.uid)
        assert after is None or after.uid not in dead
        if changed:
            assert shown[-1] == after


def versions(count: int, size: int) -> list[Stored]:
    cache = Cache(JOBS)
    for number in range(count):
        cache.put(job(10 + number, uid=f"u{number}", name=f"n{number}", spec=spec_of(size)))
    return list(cache)


def spec_of(size: int) -> dict[str, Any]:
    return {"moduleRef": {"name": "m"}, "input": {"text": "i" * size}}


def test_the_models_of_the_versions_that_were_asked_about_last_are_kept_up_to_a_bound_in_bytes() -> None:
    one, two, three = versions(3, 1000)
    parsed = _Parsed(most=len(one.body) + len(two.body))
    models = [parsed.of(each, CurationJob) for each in (one, two)]
    assert parsed.of(one, CurationJob) is models[0]
    parsed.of(three, CurationJob)
    assert parsed.of(one, CurationJob) is models[0]
    assert parsed.of(two, CurationJob) is not models[1]


def test_a_version_larger_than_the_bound_is_parsed_once_and_kept_alone() -> None:
    (small,) = versions(1, 10)
    (large,) = versions(1, 5000)
    parsed = _Parsed(most=1000)
    before, model = parsed.of(small, CurationJob), parsed.of(large, CurationJob)
    assert parsed.of(large, CurationJob) is model
    assert parsed.of(small, CurationJob) is not before


def test_a_finished_job_takes_less_than_ten_kilobytes() -> None:
    """The cache's part of 10 KB a finished job (docs/performance.md): a job with a 1 KiB input and a full status."""
    status = {
        "phase": "Completed",
        "conditions": [
            {"type": kind, "status": "True", "reason": "Completed", "message": "m" * 80, "observedGeneration": 1}
            for kind in ("Ready", "Reconciling", "Stalled", "Finished", "Succeeded", "Authorized", "Suspended")
        ],
        "history": [{"id": "x" * 50, "outcome": "Completed", "reason": "Completed"}] * 5,
        "run": {"id": "x" * 50, "holder": "y" * 80, "log": "z" * 200},
        "output": {"text": "o" * 500},
    }
    cache = Cache(JOBS)
    cache.put(job(10, spec={"moduleRef": {"name": "m"}, "input": {"text": "i" * 1024}}, status=status))
    stored = cache.get("ns", "a")
    assert stored is not None
    fields = (stored, stored.namespace, stored.name, stored.uid, stored.resource_version, stored.body)
    assert sum(map(sys.getsizeof, fields)) < 5 * 1024
