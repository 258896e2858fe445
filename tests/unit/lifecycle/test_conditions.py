"""Conditions follow from the status, and show kstatus and Flux the truth in every phase."""

from collections.abc import Callable
from typing import Any

import pytest

from curation.api.job import CurationJob, status_to_wire
from curation.api.names import FailureClass
from curation.lifecycle.conditions import derive, find
from curation.lifecycle.decide import decide
from curation.lifecycle.outcome import Calls, Completed, Liveness, SessionRef, SessionSpawned
from tests.oracles import kstatus
from tests.oracles.flux import check_conditions
from tests.oracles.kstatus import Status
from tests.unit.lifecycle.builders import (
    IN_EVERY_PHASE,
    NOW,
    awaiting,
    claimed,
    completed,
    deleted,
    denied,
    edited,
    facts,
    failed,
    new_job,
    running,
    seconds,
    stepped,
)

TYPES = ["Ready", "Reconciling", "Stalled", "Finished", "Succeeded", "Authorized", "Suspended"]
SEEN = {name: make for name, make in IN_EVERY_PHASE.items() if name != "new"}

IN_PROGRESS = {"Ready": "False", "Reconciling": "True"}
EXPECTED = {
    "Queued": IN_PROGRESS,
    "Queued for a backoff": IN_PROGRESS,
    "Suspended": {**IN_PROGRESS, "Suspended": "True"},
    "Submitted": IN_PROGRESS,
    "AwaitingApproval": IN_PROGRESS,
    "Running": IN_PROGRESS,
    "Completed": {"Ready": "True", "Finished": "True", "Succeeded": "True"},
    "Failed": {"Ready": "False", "Stalled": "True", "Finished": "True", "Succeeded": "False"},
}


def raw(job: CurationJob) -> dict[str, Any]:
    document = job.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {**document, "status": {"observedGeneration": -1, **status_to_wire(job.status)}}


def value(job: CurationJob, kind: str) -> str | None:
    condition = find(job.status.conditions, kind)
    return None if condition is None else condition.status


@pytest.mark.parametrize(("name", "expected"), EXPECTED.items(), ids=EXPECTED)
def test_the_conditions_of_a_phase_are_these_in_this_order(name: str, expected: dict[str, str]) -> None:
    shown = {condition.type: condition.status for condition in SEEN[name]().status.conditions}
    assert list(shown) == [kind for kind in TYPES if kind in shown]
    shown.pop("Authorized", None)
    assert shown == expected


def as_written_before(job: CurationJob) -> CurationJob:
    """The same job as the release wrote it that showed what is False, too."""
    shown = {condition.type: condition for condition in job.status.conditions}
    ready = shown["Ready"]
    absent = {"Succeeded": "Unknown", "Authorized": "Unknown"}
    conditions = tuple(
        shown.get(kind, ready.model_copy(update={"type": kind, "status": absent.get(kind, "False"), "message": ""}))
        for kind in TYPES
    )
    return job.model_copy(update={"status": job.status.model_copy(update={"conditions": conditions})})


@pytest.mark.parametrize("make", SEEN.values(), ids=SEEN)
def test_a_job_of_an_earlier_release_is_not_written_for_its_conditions_alone(make: Callable[[], CurationJob]) -> None:
    job = make()
    old = as_written_before(job)
    assert len(old.status.conditions) == len(TYPES)
    assert derive(old.status, NOW + seconds(5)) == old.status.conditions
    assert kstatus.compute(raw(old)) is kstatus.compute(raw(job))
    here: dict[str, Any] = {"liveness": Liveness.ALIVE, "slot": False, "module_digest": None}
    assert decide(old, facts(**here, module_message=job.status.message)).status == old.status


def test_the_next_write_of_a_job_of_an_earlier_release_leaves_out_what_is_false() -> None:
    old = as_written_before(running())
    done = completed(claimed(), Completed({}), now=NOW + seconds(90))
    after = derive(done.status.model_copy(update={"conditions": old.status.conditions}), NOW + seconds(90))
    assert {c.type: c.status for c in after} == {c.type: c.status for c in done.status.conditions}


def test_an_observation_that_fails_in_the_same_way_again_rewrites_no_job_of_an_earlier_release() -> None:
    job = running()
    failing = derive(job.status, NOW, observation_error="no answer")
    old = as_written_before(job.model_copy(update={"status": job.status.model_copy(update={"conditions": failing})}))
    assert derive(old.status, NOW + seconds(60), observation_error="no answer") == old.status.conditions
    assert derive(old.status, NOW + seconds(60), observation_error="another") != old.status.conditions


@pytest.mark.parametrize("make", SEEN.values(), ids=SEEN)
def test_every_condition_carries_a_reason_a_time_and_the_observed_generation(make: Callable[[], CurationJob]) -> None:
    job = make()
    for condition in job.status.conditions:
        assert condition.reason
        assert condition.observed_generation == job.status.observed_generation
        assert condition.last_transition_time <= NOW
    ready = find(job.status.conditions, "Ready")
    assert ready is not None
    assert (ready.reason, ready.message) == (job.status.reason, job.status.message)


@pytest.mark.parametrize("make", IN_EVERY_PHASE.values(), ids=IN_EVERY_PHASE)
def test_kstatus_sees_the_truth_in_every_phase_and_after_every_edit(make: Callable[[], CurationJob]) -> None:
    job = make()
    verdict = kstatus.compute(raw(job))
    wanted = {"Completed": Status.CURRENT, "Failed": Status.FAILED}.get(str(job.status.phase), Status.IN_PROGRESS)
    assert verdict is wanted
    for edit in ({"rerun": "1"}, {"observe_interval_seconds": 5}):
        assert kstatus.compute(raw(edited(job, **edit))) is Status.IN_PROGRESS
    assert kstatus.compute(raw(deleted(job))) is Status.TERMINATING
    acted_on = stepped(edited(job, rerun="1"), slot=False, now=NOW + seconds(10))
    assert kstatus.compute(raw(acted_on)) is Status.IN_PROGRESS
    check_conditions([raw(job), raw(acted_on), raw(edited(job, rerun="1"))])


def test_a_transition_time_moves_only_with_its_status() -> None:
    before = claimed()
    after = completed(before, SessionSpawned(SessionRef("s1")), now=NOW + seconds(90))
    assert {c.type for c in after.status.conditions if c.last_transition_time != NOW} == {"Authorized"}
    done = completed(before, Completed({}), now=NOW + seconds(90))
    moved = {c.type for c in done.status.conditions if c.last_transition_time == NOW + seconds(90)}
    assert moved == {"Ready", "Finished", "Succeeded", "Authorized"}


def test_authorized_is_absent_before_false_after_a_denial_and_true_after_an_allowed_call() -> None:
    job = claimed()
    assert value(job, "Authorized") is None
    job = awaiting(job)
    assert value(job, "Authorized") == "False"
    condition = find(job.status.conditions, "Authorized")
    assert condition is not None
    assert "https://sessions.example/sessions" in condition.message
    job = claimed(stepped(job, request_allowed=True))
    assert value(job, "Authorized") == "False"  # nothing is known of the new attempt yet
    assert value(running(job), "Authorized") == "True"


def test_authorized_stays_as_it_was_when_a_run_asked_for_nothing() -> None:
    assert value(completed(claimed(), failed(FailureClass.TRAP), calls=Calls()), "Authorized") is None
    assert value(completed(claimed(), Completed({}), calls=Calls()), "Authorized") is None


def test_a_run_that_failed_after_an_allowed_call_was_authorized() -> None:
    assert value(completed(claimed(), failed(FailureClass.TRAP)), "Authorized") == "True"


@pytest.mark.parametrize("on_denied", ["AwaitApproval", "Fail"])
def test_every_denial_shows_in_authorized(on_denied: str) -> None:
    job = completed(claimed(new_job(onDenied=on_denied)), denied())
    assert value(job, "Authorized") == "False"
