"""Merge patches: whatever two documents are, the patch makes the one into the other, by RFC 7396's own algorithm."""

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from curation.cluster.mergepatch import merge_patch, merged, same

scalars = st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "b"])
keys = st.sampled_from(["a", "b", "c", "d"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)
documents = st.dictionaries(keys, values, max_size=4)


def rfc7396_apply(target: Any, patch: Any) -> Any:
    """The pseudo code of RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = rfc7396_apply(result.get(name), value)
    return result


def nulls_remove_something(target: Any, patch: dict[str, Any]) -> bool:
    for name, value in patch.items():
        if value is None and (not isinstance(target, dict) or name not in target):
            return False
        if isinstance(value, dict):
            inner = target.get(name) if isinstance(target, dict) else None
            if not nulls_remove_something(inner, value):
                return False
    return True


@given(documents, documents)
def test_applying_the_patch_to_the_old_document_gives_the_new_one(old: dict[str, Any], new: dict[str, Any]) -> None:
    patch = merge_patch(old, new)
    assert same(rfc7396_apply(old, {} if patch is None else patch), new)


@given(documents, documents)
def test_there_is_no_patch_exactly_when_the_documents_are_the_same(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert (merge_patch(old, new) is None) == same(old, new)


@given(documents, documents)
def test_a_null_always_removes_something_that_was_there(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert nulls_remove_something(old, merge_patch(old, new) or {})


with_nulls = st.recursive(
    scalars | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(values, with_nulls)
def test_a_patch_is_applied_by_the_rfcs_own_algorithm_and_changes_nothing_that_is_given(old: Any, patch: Any) -> None:
    before, given_patch = copy.deepcopy(old), copy.deepcopy(patch)
    assert same(merged(old, patch), rfc7396_apply(old, patch))
    assert same(old, before)
    assert same(patch, given_patch)


@given(documents)
def test_a_document_needs_no_patch_to_itself(document: dict[str, Any]) -> None:
    assert merge_patch(document, document) is None


def test_true_replaces_one_and_one_replaces_true() -> None:
    assert merge_patch({"a": 1, "b": [True]}, {"a": True, "b": [1]}) == {"a": True, "b": [1]}


def test_a_whole_number_is_the_same_however_it_is_held() -> None:
    assert merge_patch({"a": 1}, {"a": 1.0}) is None


def test_an_empty_object_that_is_new_is_sent() -> None:
    assert merge_patch({}, {"output": {}}) == {"output": {}}


def test_a_list_is_replaced_whole() -> None:
    assert merge_patch({"a": [{"x": 1}, 2]}, {"a": [{"x": 1}]}) == {"a": [{"x": 1}]}
