"""Argo CD's actions on a job: each changes exactly the field it should."""

import copy
from typing import Any

import pytest

from tests.unit.gitops import documents
from tests.unit.gitops.argocd import NOW, act, discover

JOBS = documents.walked()


def enabled(obj: dict[str, Any]) -> set[str]:
    return {name for name, action in discover(obj).items() if not action["disabled"]}


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize(
    ("action", "field", "value"), [("rerun", "rerun", NOW), ("suspend", "suspend", True), ("resume", "suspend", False)]
)
def test_an_action_changes_one_field_of_the_spec_and_nothing_else(
    name: str, action: str, field: str, value: object
) -> None:
    expected = copy.deepcopy(JOBS[name])
    expected["spec"][field] = value
    changed = act(JOBS[name], action)
    assert changed == expected
    assert changed["spec"][field] is value or isinstance(value, str)


def test_a_second_rerun_within_the_same_second_is_a_new_value_too() -> None:
    once = act(JOBS["Failed"], "rerun")
    twice = act(once, "rerun")
    third = act(twice, "rerun", now="2030-01-01T12:00:01Z")
    assert len({JOBS["Failed"]["spec"]["rerun"], *(obj["spec"]["rerun"] for obj in (once, twice, third))}) == 4


def test_a_rerun_of_a_job_that_has_no_such_field_yet_adds_it() -> None:
    job = copy.deepcopy(JOBS["Failed"])
    del job["spec"]["rerun"]
    assert act(job, "rerun")["spec"] == {**job["spec"], "rerun": NOW}


@pytest.mark.parametrize("name", sorted(JOBS.keys() - {"Suspended"}))
def test_a_job_can_be_rerun_and_suspended(name: str) -> None:
    assert enabled(JOBS[name]) == {"rerun", "suspend"}


def test_a_suspended_job_can_be_rerun_and_resumed() -> None:
    assert enabled(JOBS["Suspended"]) == {"rerun", "resume"}


@pytest.mark.parametrize("name", JOBS)
def test_nothing_can_be_done_to_a_job_that_is_being_deleted(name: str) -> None:
    assert enabled(documents.being_deleted(JOBS[name])) == set()
    assert set(discover(JOBS[name])) == {"rerun", "suspend", "resume"}
