"""What a CRD's schema admits, this release reads: else a tenant could make an object that nobody handles or deletes."""

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from curation.api.crd import CRD_KINDS, Kind, crd
from curation.api.job import CurationJob, status_to_wire
from curation.api.policy import CurationPolicy
from curation.api.reading import Unreadable, mended, read
from curation.api.remains import remains_of
from curation.api.schema import Model
from tests.harness.admitted import values

_METADATA = {
    "name": "x",
    "namespace": "ns",
    "uid": "u",
    "resourceVersion": "1",
    "generation": 1,
    "creationTimestamp": "2026-01-01T00:00:00Z",
}
# What the rules of a schema say, which only the API server can evaluate, as the models say it.
_RULES = ("exactly one of", "digest is required", "there is no run", "there is no session", "has no room")


def schemas(kind: Kind) -> dict[str, Any]:
    """The schemas of spec and status."""
    root: dict[str, Any] = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    return {part: root[part] for part in ("spec", "status")}


@pytest.mark.parametrize("kind", CRD_KINDS, ids=lambda kind: kind.name)
@given(data=st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_the_schema_of_a_kind_admits_is_read_and_can_be_written_again(kind: Kind, data: st.DataObject) -> None:
    drawn = {part: data.draw(values(schema)) for part, schema in schemas(kind).items()}
    document = {"metadata": _METADATA, **drawn}
    try:
        found = read(kind.model, document)
    except Unreadable as error:
        assume(not any(rule in error.fault.problem for rule in _RULES))
        raise
    status = getattr(found, "status")  # noqa: B009 - each kind has a type of its own for it
    assert isinstance(status, Model)
    again = read(kind.model, {**document, "status": status_to_wire(status)})
    assert status_to_wire(getattr(again, "status")) == status_to_wire(status)  # noqa: B009


@given(value=st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=4))
@settings(max_examples=50, deadline=None)
def test_of_any_job_at_all_something_is_left_that_can_be_let_go(value: object) -> None:
    for part in ("spec", "status"):
        for field in ("run", "session", "abandonedRuns", "phase", "config", "moduleRef"):
            left = remains_of({"metadata": _METADATA, part: {field: value}})
            assert (left.metadata.name, left.status.phase) == ("x", None)
    assert remains_of({"metadata": _METADATA, "spec": value, "status": value}).status.abandoned_runs == ()


def test_what_may_own_a_session_is_found_in_a_status_that_cannot_be_read() -> None:
    document = {
        "metadata": _METADATA,
        "spec": {"moduleRef": {"name": "m"}, "config": {"api_url": "http://s"}},
        "status": {
            "phase": "Paused",
            "run": {"id": "u.g3.a2", "module": {"name": "m", "digest": "d"}, "submittedAt": "long ago"},
            "session": {"id": "s-1", "runID": "u.g3.a2"},
            "abandonedRuns": [{"id": "u.g2.a1", "since": "yesterday"}, {"session": {"id": "s-0"}}, "nothing", {}],
        },
    }
    with pytest.raises(Unreadable) as error:
        read(CurationJob, document)
    assert error.value.field == "status.phase"
    found = {entry.id: entry for entry in remains_of(document).status.abandoned_runs}
    assert set(found) == {"u.g2.a1", "u.g1.a2", "u.g3.a2"}
    sessions = {name: entry.session.id for name, entry in found.items() if entry.session is not None}
    assert sessions == {"u.g1.a2": "s-0", "u.g3.a2": "s-1"}
    assert found["u.g3.a2"].module.digest == "d"
    assert found["u.g2.a1"].config == {"api_url": "http://s"}


@pytest.mark.parametrize("phase", ["Completed", "Failed"])
def test_the_session_of_a_finished_job_is_not_taken_for_one_that_lives(phase: str) -> None:
    status = {"phase": phase, "run": {"id": "u.g1.a1"}, "session": {"id": "s", "runID": "u.g1.a1"}}
    assert remains_of({"metadata": _METADATA, "spec": {}, "status": status}).status.abandoned_runs == ()


@pytest.mark.parametrize(
    "status",
    [
        {"phase": "Submitted"},
        {"phase": "Running", "run": {}},
        {"phase": "Resting"},
        {"phaseSince": "0000-01-01T00:00:00Z"},
        {"abandonedRuns": [{"id": "x"}]},
    ],
)
def test_a_status_that_the_operator_cannot_have_written_is_unreadable_and_names_its_field(status: object) -> None:
    with pytest.raises(Unreadable) as error:
        read(CurationJob, {"metadata": _METADATA, "spec": {"moduleRef": {"name": "m"}}, "status": status})
    assert error.value.field.startswith("status")
    assert error.value.remedy


def test_conditions_that_cannot_be_read_are_left_out_since_they_follow_from_the_rest() -> None:
    bad = {"type": "Ready", "status": "True", "reason": "x", "lastTransitionTime": "0000-01-01T00:00:00Z"}
    status = {"phase": "Completed", "conditions": [bad]}
    job = read(CurationJob, {"metadata": _METADATA, "spec": {"moduleRef": {"name": "m"}}, "status": status})
    assert job.status.phase == "Completed"
    assert job.status.conditions == ()


def test_a_policy_counts_by_its_spec_though_the_record_of_another_release_cannot_be_read() -> None:
    spec, record = {"cedar": "forbid (principal, action, resource);"}, {"uid": "u", "digest": "sha512:x"}
    policy, left_out = mended(CurationPolicy, {"metadata": _METADATA, "spec": spec, "status": {"inForce": record}})
    assert policy.spec.cedar == spec["cedar"]
    assert policy.status.in_force is None
    assert left_out == {"inForce": record}
