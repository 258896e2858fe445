"""Conditions follow from the status, and tell kstatus and Flux the truth in every phase."""

from collections.abc import Callable
from typing import Any

import pytest

from curation.api.job import CurationJob, status_to_wire
from curation.api.names import FailureClass
from curation.lifecycle.conditions import find
from curation.lifecycle.outcome import Calls, Completed, SessionRef, SessionSpawned
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
    failed,
    new_job,
    running,
    seconds,
    stepped,
)

TYPES = ["Ready", "Reconciling", "Stalled", "Finished", "Succeeded", "Authorized", "Suspended"]
SEEN = {name: make for name, make in IN_EVERY_PHASE.items() if name != "new"}

EXPECTED = {
    #                        Ready   Reconciling Stalled  Finished Succeeded Suspended
    "Queued": ("False", "True", "False", "False", "Unknown", "False"),
    "Queued for a backoff": ("False", "True", "False", "False", "Unknown", "False"),
    "Suspended": ("False", "True", "False", "False", "Unknown", "True"),
    "Submitted": ("False", "True", "False", "False", "Unknown", "False"),
    "AwaitingApproval": ("False", "True", "False", "False", "Unknown", "False"),
    "Running": ("False", "True", "False", "False", "Unknown", "False"),
    "Completed": ("True", "False", "False", "True", "True", "False"),
    "Failed": ("False", "False", "True", "True", "False", "False"),
}


def raw(job: CurationJob) -> dict[str, Any]:
    document = job.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {**document, "status": {"observedGeneration": -1, **status_to_wire(job.status)}}


def value(job: CurationJob, kind: str) -> str:
    condition = find(job.status.conditions, kind)
    assert condition is not None
    return condition.status


@pytest.mark.parametrize(("name", "expected"), EXPECTED.items(), ids=EXPECTED)
def test_the_conditions_of_a_phase_are_these(name: str, expected: tuple[str, ...]) -> None:
    job = SEEN[name]()
    assert [condition.type for condition in job.status.conditions] == TYPES
    assert tuple(value(job, kind) for kind in TYPES if kind != "Authorized") == expected


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
def test_kstatus_is_told_the_truth_in_every_phase_and_after_every_edit(make: Callable[[], CurationJob]) -> None:
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
    assert moved == {"Ready", "Reconciling", "Finished", "Succeeded", "Authorized"}


def test_authorized_is_unknown_before_false_after_a_denial_and_true_after_an_allowed_call() -> None:
    job = claimed()
    assert value(job, "Authorized") == "Unknown"
    job = awaiting(job)
    assert value(job, "Authorized") == "False"
    condition = find(job.status.conditions, "Authorized")
    assert condition is not None
    assert "https://sessions.example/sessions" in condition.message
    job = claimed(stepped(job, request_allowed=True))
    assert value(job, "Authorized") == "False"  # nothing is known of the new attempt yet
    assert value(running(job), "Authorized") == "True"


def test_authorized_stays_as_it_was_when_a_run_asked_for_nothing() -> None:
    assert value(completed(claimed(), failed(FailureClass.TRAP), calls=Calls()), "Authorized") == "Unknown"
    assert value(completed(claimed(), Completed({}), calls=Calls()), "Authorized") == "Unknown"


def test_a_run_that_failed_after_an_allowed_call_was_authorized() -> None:
    assert value(completed(claimed(), failed(FailureClass.TRAP)), "Authorized") == "True"


@pytest.mark.parametrize("on_denied", ["AwaitApproval", "Fail"])
@pytest.mark.parametrize("policy_invalid", [True, False])
def test_every_denial_shows_in_authorized(on_denied: str, policy_invalid: bool) -> None:
    job = completed(claimed(new_job(onDenied=on_denied)), denied(policy_invalid=policy_invalid))
    assert value(job, "Authorized") == "False"
