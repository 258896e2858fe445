"""Timeouts of each phase, and the time to live of a finished job. Times count from phaseSince, the server's clock."""

from collections.abc import Callable
from typing import Any

import pytest

from curation.api.job import CurationJob, Timeouts
from curation.lifecycle.decide import decide
from curation.lifecycle.outcome import Liveness
from tests.unit.lifecycle.builders import (
    NOW,
    awaiting,
    backing_off,
    claimed,
    edited,
    facts,
    failed_job,
    finished,
    new_job,
    running,
    seconds,
    settled,
    stepped,
    stored,
    suspended,
    waiting,
)

Make = Callable[[], CurationJob]
LIMITS = Timeouts(submitted_seconds=10, running_seconds=20, queued_seconds=30, approval_seconds=40)
NOT_READY: dict[str, Any] = {"module_digest": None, "module_message": "CurationModule module is not there."}


def limited(job: CurationJob, limits: Timeouts = LIMITS) -> CurationJob:
    """The job with these timeouts, acted on."""
    job = edited(job, timeouts=limits)
    return stored(job, job.status.model_copy(update={"observed_generation": job.metadata.generation}))


@pytest.mark.parametrize(
    ("make", "limit", "reason", "field"),
    [
        (waiting, 30, "DeadlineExceeded", "queuedSeconds"),
        (claimed, 10, "DeadlineExceeded", "submittedSeconds"),
        (running, 20, "DeadlineExceeded", "runningSeconds"),
        (awaiting, 40, "ApprovalTimeout", ""),
    ],
    ids=["Queued", "Submitted", "Running", "AwaitingApproval"],
)
def test_a_phase_that_lasts_too_long_fails_the_job(make: Make, limit: int, reason: str, field: str) -> None:
    job = limited(make())
    last = settled(job, now=NOW + seconds(limit - 0.001), **NOT_READY)
    assert last.wake_at == NOW + seconds(limit)
    step = decide(job, facts(now=NOW + seconds(limit), liveness=Liveness.ALIVE, **NOT_READY))
    status = step.status
    assert (status.phase, status.reason, status.phase_since) == ("Failed", reason, NOW + seconds(limit))
    assert field in status.message
    assert str(limit) in status.message
    assert [event.reason for event in step.events] == ["Failed"]
    assert status.approval is None
    settled(stored(job, status), now=NOW + seconds(10_000))


def test_a_timed_out_run_is_abandoned_with_its_session() -> None:
    job = stepped(limited(running()), now=NOW + seconds(20))
    (entry,) = job.status.abandoned_runs
    assert entry.session is not None
    assert entry.session.id == "s1"
    assert (job.status.history[-1].outcome, job.status.history[-1].reason) == ("Failed", "DeadlineExceeded")
    assert job.status.run is not None
    assert job.status.run.finished_at == NOW + seconds(20)


@pytest.mark.parametrize("make", [waiting, awaiting], ids=["Queued", "AwaitingApproval"])
def test_a_limit_that_is_left_out_is_none(make: Make) -> None:
    settled(make(), now=NOW + seconds(10_000_000), **NOT_READY)


def test_submitted_and_running_have_limits_by_default() -> None:
    assert settled(claimed()).wake_at == NOW + seconds(900)
    assert settled(running()).wake_at == NOW + seconds(7200)


def test_the_queued_timeout_is_paused_while_suspended() -> None:
    job = limited(suspended())
    assert settled(job, now=NOW + seconds(10_000)).wake_at is None
    resumed = edited(job, suspend=False)
    job = stepped(resumed, now=NOW + seconds(10_000), **NOT_READY)
    assert (job.status.phase, job.status.reason) == ("Queued", "WaitingForModule")
    assert settled(job, now=NOW + seconds(10_000), **NOT_READY).wake_at == NOW + seconds(10_030)


def test_the_queued_timeout_is_paused_before_retry_at() -> None:
    job = limited(backing_off())
    at = NOW + seconds(100)
    job = stored(job, job.status.model_copy(update={"retry_at": at}))
    settled(job, now=NOW + seconds(99))
    job = stepped(job, now=at, **NOT_READY)
    assert job.status.phase == "Queued"
    assert settled(job, now=at + seconds(29), **NOT_READY).wake_at == at + seconds(30)
    assert stepped(job, now=at + seconds(30), **NOT_READY).status.reason == "DeadlineExceeded"


def test_the_queued_timeout_is_paused_while_waiting_for_clean_up() -> None:
    job = claimed(limited(new_job()))
    for _ in range(20):
        job = stepped(job)
    assert job.status.reason == "WaitingForCleanup"
    assert settled(job, now=NOW + seconds(10_000)).wake_at is None
    cleaned = frozenset(entry.id for entry in job.status.abandoned_runs)
    job = stepped(job, now=NOW + seconds(10_000), cleaned=cleaned, **NOT_READY)
    assert (job.status.phase, job.status.reason) == ("Queued", "WaitingForModule")
    assert stepped(job, now=NOW + seconds(10_029), **NOT_READY | {"module_message": "x"}).status.phase == "Queued"
    assert stepped(job, now=NOW + seconds(10_030), **NOT_READY).status.reason == "DeadlineExceeded"


def test_another_reason_to_wait_does_not_start_the_queued_timeout_anew() -> None:
    job = stepped(limited(waiting()), slot=False, now=NOW + seconds(29))
    assert job.status.reason == "WaitingForSlot"
    assert stepped(job, slot=False, now=NOW + seconds(30)).status.reason == "DeadlineExceeded"


def test_a_changed_template_wins_over_a_timeout() -> None:
    job = claimed(edited(limited(claimed()), rerun="1"), now=NOW + seconds(10_000))
    assert job.status.run is not None
    assert job.status.run.attempt == 1


def test_a_suspension_wins_over_a_timeout() -> None:
    job = stepped(edited(limited(claimed()), suspend=True), now=NOW + seconds(10_000))
    assert (job.status.phase, job.status.reason) == ("Queued", "Suspended")


def test_a_shorter_limit_ends_a_phase_that_has_lasted_longer() -> None:
    job = edited(running(), timeouts=Timeouts(running_seconds=5))
    assert stepped(job, now=NOW + seconds(6)).status.reason == "DeadlineExceeded"


# -- time to live ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [finished, failed_job], ids=["Completed", "Failed"])
def test_a_finished_job_is_deleted_when_its_time_to_live_is_over(make: Make) -> None:
    job = stepped(edited(make(), ttl_seconds_after_finished=100))
    assert settled(job, now=NOW + seconds(99)).wake_at == NOW + seconds(100)
    step = decide(job, facts(now=NOW + seconds(100)))
    assert step.delete
    assert step.status == job.status


@pytest.mark.parametrize("make", [waiting, claimed, awaiting, running], ids=lambda make: make.__name__)
def test_a_job_that_has_not_finished_has_no_time_to_live(make: Make) -> None:
    job = stepped(edited(make(), ttl_seconds_after_finished=0), liveness=Liveness.ALIVE, **NOT_READY)
    settled(job, **NOT_READY)


def test_a_job_is_not_deleted_before_its_present_generation_was_acted_on() -> None:
    job = stepped(edited(finished(), ttl_seconds_after_finished=0))
    late = edited(job, observe_interval_seconds=11)
    step = decide(late, facts(now=NOW + seconds(1)))
    assert not step.delete
    assert step.status.observed_generation == late.metadata.generation
    assert decide(stored(late, step.status), facts(now=NOW + seconds(1))).delete


def test_a_changed_template_wins_over_the_time_to_live() -> None:
    job = stepped(edited(finished(), ttl_seconds_after_finished=1))
    step = decide(edited(job, rerun="1"), facts(now=NOW + seconds(100)))
    assert not step.delete
    assert step.launch is not None
