"""The fence: a run is current iff the job has its uid and its id, wants no other template, neither ends nor rests."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from curation.api.job import CurationJob
from curation.api.names import FailureClass, Trigger
from curation.lifecycle.fence import CHECKS, objection
from curation.lifecycle.outcome import RunKey
from tests.unit.lifecycle.builders import (
    UID,
    awaiting,
    backing_off,
    claimed,
    completed,
    deleted,
    edited,
    failed,
    finished,
    key,
    new_job,
    running,
    stepped,
    stored,
    suspended,
)

SUBMIT, OBSERVE = Trigger.SUBMIT, Trigger.OBSERVE


def against(job: CurationJob | None, run: RunKey, trigger: Trigger = SUBMIT) -> str | None:
    found = objection(job, run, trigger)
    if found is None:
        return None
    assert found.message
    return found.reason


def test_the_current_run_is_current() -> None:
    job = claimed()
    assert against(job, key(job)) is None
    assert against(running(job), key(job), OBSERVE) is None


def test_the_checks_and_their_order_are_the_rule() -> None:
    assert [reason for reason, _ in CHECKS] == [
        "Recreated",
        "Deleted",
        "Suspended",
        "Superseded",
        "TemplateChanged",
        "PhasePassed",
    ]


def test_a_control_edit_or_a_label_ends_no_run() -> None:
    job = claimed()
    assert against(edited(job, observe_interval_seconds=5), key(job)) is None
    assert against(stored(edited(job, observe_interval_seconds=5), job.status), key(job)) is None
    labelled = job.model_copy(update={"metadata": job.metadata.model_copy(update={"labels": {"a": "b"}})})
    assert against(labelled, key(job)) is None


def _restored(job: CurationJob) -> CurationJob:
    """Another object under the same name, whose status was restored from a backup."""
    return job.model_copy(update={"metadata": job.metadata.model_copy(update={"uid": "another"})})


@pytest.mark.parametrize(
    ("moved_on", "reason"),
    [
        (_restored, "Recreated"),
        (deleted, "Deleted"),
        (lambda job: edited(job, suspend=True), "Suspended"),
        (suspended, "Suspended"),
        (stepped, "Superseded"),
        (lambda job: claimed(edited(job, rerun="1")), "Superseded"),
        (lambda job: edited(job, rerun="1"), "TemplateChanged"),
        (lambda job: stepped(edited(job, rerun="1"), slot=False), "PhasePassed"),
        (running, "PhasePassed"),
        (awaiting, "PhasePassed"),
        (finished, "PhasePassed"),
        (backing_off, "PhasePassed"),
        (lambda job: completed(job, failed(FailureClass.TRAP)), "PhasePassed"),
    ],
)
def test_whatever_ends_a_run_objects_to_it(moved_on: Callable[[CurationJob], CurationJob], reason: str) -> None:
    job = claimed()
    assert against(moved_on(job), key(job)) == reason


def test_a_job_that_is_gone_objects_to_every_run() -> None:
    assert against(None, key(claimed())) == "Gone"


def test_a_job_that_has_no_run_yet_objects_to_every_run() -> None:
    run = key(claimed())
    assert against(new_job(), run) == "Superseded"


def test_an_edit_and_its_reversal_make_the_run_seem_current_again() -> None:
    job = claimed()
    there = edited(job, rerun="1")
    assert against(there, key(job)) == "TemplateChanged"
    assert against(edited(there, rerun=""), key(job)) is None  # which is why a dead execution stays dead


def test_a_run_is_known_by_its_whole_id() -> None:
    job = claimed()
    for other in ("g1.a2", "g2.a1", "g1.a10"):
        assert against(job, replace(key(job), id=f"{UID}.{other}")) == "Superseded"


@pytest.mark.parametrize("phase", ["Submitted", "Running"])
def test_each_trigger_is_current_in_its_own_phase_only(phase: str) -> None:
    job = claimed() if phase == "Submitted" else running()
    assert (against(job, key(job), SUBMIT) is None) == (phase == "Submitted")
    assert (against(job, key(job), OBSERVE) is None) == (phase == "Running")
