"""The template digest and the request digest: what changes them and what must not."""

import math
from typing import Any

import pytest

from curation.api.approval import EvaluatedRequest, approval_name, request_digest
from curation.api.digest import template_digest
from curation.api.job import JobSpec
from curation.api.module import quantity_bytes
from curation.api.names import Trigger

_REQUEST = EvaluatedRequest(
    module="m", module_digest="sha256:0", trigger=Trigger.SUBMIT, method="POST", scheme="https", host="h", port=443,
    path="/p", query="q=1",
)  # fmt: skip


def _digest(**spec: Any) -> str:
    return template_digest(JobSpec.model_validate({"moduleRef": {"name": "m"}, **spec}))


def test_it_is_versioned_and_the_same_everywhere() -> None:
    """A release that computed another one would run every job of a cluster again. The literal is sha256sum's, of
    `{"moduleRef":{"name":"m"}}`."""
    assert _digest() == "v1:50a40a76c84f31aa9c03db7b0d7defd6a23062e40986334d30930b10a95af505"


@pytest.mark.parametrize(
    "spec",
    [
        {"input": {}},
        {"config": {}},
        {"rerun": ""},
        {"executor": {}},
        {"executor": {"type": "InProcess"}},
        {"input": {"a": None}},
        {"suspend": True},
        {"onDenied": "Fail"},
        {"retry": {"limit": 0}},
        {"timeouts": {"runningSeconds": 5}},
        {"observe": {"intervalSeconds": 5, "maxIntervalSeconds": 5}},
        {"observeIntervalSeconds": 60},
        {"ttlSecondsAfterFinished": 5},
        {"aFieldOfALaterRelease": 1},
    ],
    ids=str,
)
def test_defaults_nulls_and_controls_do_not_count(spec: dict[str, Any]) -> None:
    assert _digest(**spec) == _digest()


@pytest.mark.parametrize(
    "spec",
    [
        {"moduleRef": {"name": "other"}},
        {"input": {"a": 1}},
        {"config": {"a": "1"}},
        {"rerun": "1"},
        {"executor": {"type": "Job"}},
        {"executor": {"type": "Job", "job": {"nodeSelector": {"pool": "guests"}}}},
        {"input": {"a": {}}},
        {"input": {"a": [None]}},
    ],
    ids=str,
)
def test_each_field_of_the_template_counts(spec: dict[str, Any]) -> None:
    assert _digest(**spec) != _digest()


def test_the_order_of_keys_and_the_spelling_of_numbers_do_not_count() -> None:
    assert _digest(input={"a": 1, "b": 2.0}) == _digest(input={"b": 2, "a": 1.0})


def test_the_same_words_in_another_field_are_another_template() -> None:
    assert len({_digest(rerun="x"), _digest(input={"rerun": "x"}), _digest(config={"rerun": "x"})}) == 3


def test_nulls_deep_in_an_input_do_not_count_but_those_of_a_list_do() -> None:
    assert _digest(input={"a": {"b": None, "c": 1}}) == _digest(input={"a": {"c": 1}})
    assert _digest(input={"a": [None, 1]}) != _digest(input={"a": [1]})


def test_a_number_that_json_cannot_keep_is_an_error() -> None:
    with pytest.raises(ValueError):
        _digest(input={"a": math.inf})


@pytest.mark.parametrize("field", EvaluatedRequest.model_fields)
def test_every_field_of_a_request_counts(field: str) -> None:
    other: dict[str, Any] = {"trigger": Trigger.CANCEL, "port": 8443}
    assert request_digest(_REQUEST.model_copy(update={field: other.get(field, "other")})) != request_digest(_REQUEST)


def test_the_name_of_an_approval_is_a_valid_name_for_the_longest_module() -> None:
    longest = _REQUEST.model_copy(update={"module": "m" * 52})
    assert approval_name(longest) == f"{'m' * 52}-{request_digest(longest)[:20]}"


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0), ("12", 12), ("1k", 1000), ("64Mi", 64 << 20), ("1Gi", 1 << 30), ("2M", 2 * 10**6)]
)
def test_a_quantity_in_bytes(text: str, expected: int) -> None:
    assert quantity_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "Mi", "1.5Mi", "-1", "1 Mi", "1Ti", "1KiB", "\N{ARABIC-INDIC DIGIT ONE}k", "1MM"])
def test_another_text_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity such as 64Mi"):
        quantity_bytes(text)
