"""Whether a write whose answer was lost has landed: of each kind of write, what shows it and what does not."""

from datetime import timedelta
from typing import Any

import pytest

from curation.api.job import CurationJob, JobStatus
from curation.api.names import FailureClass, Trigger
from curation.lifecycle.decide import decide
from curation.lifecycle.landed import landed
from curation.lifecycle.outcome import Liveness, Result, SessionRef, SessionSpawned, StillRunning
from tests.unit.lifecycle.builders import (
    HERE,
    NOW,
    THERE,
    backing_off,
    claimed,
    denied,
    edited,
    facts,
    failed,
    new_job,
    report,
    running,
    seconds,
    stored,
    suspended,
    verdict_of,
    waiting,
)

SPAWNED, FAILED = SessionSpawned(SessionRef("s-1")), failed(FailureClass.TRAP)


def outcome(job: CurationJob, result: Result, trigger: Trigger = Trigger.SUBMIT, later: float = 5) -> JobStatus:
    """What the end of the current run makes of the status."""
    status = verdict_of(job, report(job, result, trigger), NOW + seconds(later)).status
    assert status is not None
    return status


def decided(job: CurationJob, **changes: Any) -> JobStatus:
    return decide(job, facts(**changes)).status


QUEUED, SUBMITTED = waiting(), claimed()
WRITES = {
    "the first claim": (new_job(), decided(new_job())),
    "a claim out of the queue": (QUEUED, decided(QUEUED)),
    "a claim after a retry": (backing_off(), decided(backing_off(), now=NOW + timedelta(hours=1))),
    "a session": (SUBMITTED, outcome(SUBMITTED, SPAWNED)),
    "a failure": (SUBMITTED, outcome(SUBMITTED, FAILED)),
    "a denial": (SUBMITTED, outcome(SUBMITTED, denied())),
    "progress": (running(), outcome(running(), StillRunning({"n": 1}), Trigger.OBSERVE, later=60)),
    "another reason to wait": (QUEUED, decided(QUEUED, module_digest=None, module_message="another")),
    "a suspension": (edited(SUBMITTED, suspend=True), decided(edited(SUBMITTED, suspend=True))),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_has_landed_once_the_job_shows_it_and_not_before(name: str) -> None:
    before, planned = WRITES[name]
    assert planned != before.status
    assert not landed(before, planned, before)
    assert landed(before, planned, stored(before, planned))


@pytest.mark.parametrize("name", WRITES)
def test_a_write_to_one_object_has_not_landed_in_another_of_its_name(name: str) -> None:
    before, planned = WRITES[name]
    found = stored(before, planned)
    other = found.model_copy(update={"metadata": found.metadata.model_copy(update={"uid": "another"})})
    assert not landed(before, planned, other)


def test_a_claim_that_another_process_made_is_not_ours() -> None:
    ours, theirs = decided(QUEUED, holder=HERE), decided(QUEUED, holder=THERE)
    assert ours.run is not None
    assert theirs.run is not None
    assert ours.run.id == theirs.run.id
    assert not landed(QUEUED, ours, stored(QUEUED, theirs))


def test_a_claim_that_this_process_made_earlier_of_the_same_version_is_another_one() -> None:
    """What it was claimed with may be something else by now, and what is launched is what the status says."""
    earlier = decided(QUEUED)
    later = decided(QUEUED, now=NOW + seconds(1))
    assert not landed(QUEUED, later, stored(QUEUED, earlier))


def test_a_claim_that_was_superseded_meanwhile_is_not_to_be_launched() -> None:
    planned = decided(QUEUED)
    then = edited(stored(QUEUED, planned), input={"another": "template"})
    assert not landed(QUEUED, planned, stored(then, decided(then)))


def test_a_takeover_that_two_processes_plan_at_the_same_moment_has_landed_for_one() -> None:
    before = claimed()
    ours, theirs = (decided(before, holder=holder, liveness=Liveness.GONE) for holder in ("a/1", "b/1"))
    assert ours.history == theirs.history
    now = stored(before, theirs)
    assert landed(before, theirs, now)
    assert not landed(before, ours, now)


def test_the_end_of_a_run_has_landed_whoever_has_gone_on_from_there() -> None:
    planned = outcome(SUBMITTED, failed(FailureClass.HTTP_UNAVAILABLE))
    then = stored(SUBMITTED, planned)
    taken = stored(then, decided(then, now=NOW + timedelta(hours=1), holder=THERE))
    assert taken.status.run is not None
    assert taken.status.run.holder == THERE
    assert landed(SUBMITTED, planned, taken)


def test_an_end_of_another_kind_is_not_the_one_that_was_written() -> None:
    planned = outcome(SUBMITTED, FAILED)
    assert not landed(SUBMITTED, planned, suspended(SUBMITTED))
    assert not landed(SUBMITTED, planned, stored(SUBMITTED, outcome(SUBMITTED, denied())))


def test_a_write_that_changes_no_phase_is_known_by_the_whole_status() -> None:
    before, planned = WRITES["progress"]
    labelled = stored(before, before.status)
    assert not landed(before, planned, labelled), "the session, the run and the phase are those of before"
