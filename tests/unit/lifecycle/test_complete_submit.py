"""What the end of a Submit run means for its job, if it is current."""

import json

import pytest

from curation.api.job import MAX_OUTPUT_BYTES
from curation.api.names import FailureClass, Trigger
from curation.api.schema import JsonObject
from curation.lifecycle.complete import Ruling
from curation.lifecycle.outcome import (
    Calls,
    Cancelled,
    Completed,
    Failed,
    Result,
    SessionFailed,
    SessionRef,
    SessionSpawned,
    StillRunning,
)
from tests.unit.lifecycle.builders import (
    ANSWERED,
    NOW,
    awaiting,
    claimed,
    completed,
    deleted,
    denied,
    edited,
    failed,
    finished,
    key,
    new_job,
    report,
    running,
    seconds,
    settled,
    stepped,
    suspended,
    verdict_of,
)

LATER = NOW + seconds(3)
NOTHING_LEFT = Calls()
RETRYABLE = [FailureClass.TIMEOUT, FailureClass.HTTP_UNAVAILABLE, FailureClass.MODULE_UNAVAILABLE]
FINAL = [failure for failure in FailureClass if failure not in (*RETRYABLE, FailureClass.INTERRUPTED)]


def test_a_spawned_session_makes_the_job_running() -> None:
    job = completed(claimed(), SessionSpawned(SessionRef("s1", "https://s/s1")), now=LATER)
    status = job.status
    assert (status.phase, status.reason, status.phase_since) == ("Running", "SessionSpawned", LATER)
    assert status.session is not None
    assert status.run is not None
    assert (status.session.id, status.session.url, status.session.run_id) == ("s1", "https://s/s1", status.run.id)
    assert (status.session.spawned_at, status.run.spawned_at, status.run.finished_at) == (LATER, LATER, None)
    assert [(entry.id, entry.outcome) for entry in status.history] == [(status.run.id, "SessionSpawned")]
    assert status.abandoned_runs == ()
    settled(job)


def test_a_module_that_needs_no_session_completes_the_job() -> None:
    job = completed(claimed(), Completed({"answer": 42}), now=LATER)
    status = job.status
    assert (status.phase, status.reason, status.output) == ("Completed", "Completed", {"answer": 42})
    assert status.session is None
    assert status.run is not None
    assert status.run.finished_at == LATER
    assert [(entry.outcome, entry.finished_at) for entry in status.history] == [("Completed", LATER)]
    settled(job)


@pytest.mark.parametrize("failure", RETRYABLE)
def test_a_failure_that_may_pass_is_tried_again_after_a_backoff(failure: FailureClass) -> None:
    job = claimed()
    verdict = verdict_of(job, report(job, failed(failure, "the service was away"), log="line"), sample=0.5)
    status = verdict.status
    assert status is not None
    assert (status.phase, status.reason) == ("Queued", "Backoff")
    assert status.retry_at == NOW + seconds(0.5)  # half of initialDelaySeconds
    assert failure in status.message
    assert [event.reason for event in verdict.events] == ["RetryScheduled"]
    assert (status.history[-1].outcome, status.history[-1].reason) == ("Failed", failure)
    assert status.run is not None
    assert (status.run.finished_at, status.run.log) == (NOW, "line")


@pytest.mark.parametrize("failure", FINAL)
def test_any_other_failure_fails_the_job_with_its_class(failure: FailureClass) -> None:
    job = completed(claimed(), failed(failure, "what went wrong"))
    assert (job.status.phase, job.status.reason, job.status.retry_at) == ("Failed", failure, None)
    assert "hat went wrong" in job.status.message
    settled(job)


def test_retries_end_at_their_limit_and_are_counted_in_the_status() -> None:
    job = claimed(new_job(retry={"limit": 2}))
    for retries in (1, 2):
        job = completed(job, failed(FailureClass.TIMEOUT))
        assert job.status.reason == "Backoff"
        job = claimed(job, now=NOW + seconds(1000))
        assert job.status.run is not None
        assert (job.status.run.retries, job.status.run.attempt) == (retries, retries + 1)
    job = completed(job, failed(FailureClass.TIMEOUT))
    assert (job.status.phase, job.status.reason) == ("Failed", "Timeout")


def test_no_retries_means_none() -> None:
    job = completed(claimed(new_job(retry={"limit": 0})), failed(FailureClass.TIMEOUT))
    assert (job.status.phase, job.status.reason) == ("Failed", "Timeout")


INTERRUPTED = Failed(FailureClass.INTERRUPTED, "its worker was killed")
OVER = Failed(FailureClass.INTERRUPTED, "its worker was out of memory", over_limit=True)


def test_an_interrupted_run_is_retried_and_does_not_count() -> None:
    job = claimed(new_job(retry={"limit": 1}))
    for row in range(1, 6):
        job = completed(job, INTERRUPTED)
        assert (job.status.phase, job.status.reason) == ("Queued", "Backoff")
        job = claimed(job, now=NOW + seconds(1000 * row))
        assert job.status.run is not None
        assert (job.status.run.retries, job.status.run.interruptions, job.status.run.attempt) == (0, row, row + 1)
    job = completed(job, failed(FailureClass.TIMEOUT))
    assert job.status.reason == "Backoff", "its one retry is still there"
    job = claimed(job, now=NOW + seconds(9000))
    assert job.status.run is not None
    assert (job.status.run.retries, job.status.run.interruptions) == (1, 0)


def test_a_run_that_a_limit_interrupts_three_times_in_a_row_counts() -> None:
    job = claimed(new_job(retry={"limit": 0}))
    for row in (1, 2):
        job = completed(job, OVER)
        assert job.status.reason == "Backoff"
        job = claimed(job, now=NOW + seconds(1000 * row))
    job = completed(job, OVER)
    assert (job.status.phase, job.status.reason) == ("Failed", "Interrupted")
    settled(job)


def test_a_new_template_has_its_retries_anew() -> None:
    job = completed(claimed(new_job(retry={"limit": 1})), failed(FailureClass.TIMEOUT))
    job = completed(claimed(job, now=NOW + seconds(9)), failed(FailureClass.TIMEOUT))
    assert job.status.phase == "Failed"
    job = completed(claimed(edited(job, rerun="1")), failed(FailureClass.TIMEOUT))
    assert job.status.reason == "Backoff"


@pytest.mark.parametrize("result", [failed(FailureClass.TRAP), failed(FailureClass.TIMEOUT), denied()])
@pytest.mark.parametrize(("calls", "cleaned"), [(ANSWERED, True), (Calls(left=1), True), (NOTHING_LEFT, False)])
def test_a_run_that_came_to_nothing_is_cleaned_if_any_of_its_requests_left(
    result: Result, calls: Calls, cleaned: bool
) -> None:
    job = completed(claimed(), result, calls=calls)
    assert job.status.run is not None
    assert [entry.id for entry in job.status.abandoned_runs] == ([job.status.run.id] if cleaned else [])


def test_a_run_that_came_to_nothing_is_abandoned_with_what_its_cancel_needs() -> None:
    job = completed(claimed(new_job(config={"api_url": "https://a"})), failed(FailureClass.TRAP))
    (entry,) = job.status.abandoned_runs
    run = job.status.run
    assert run is not None
    assert (entry.module, entry.config, entry.session, entry.since) == (run.module, {"api_url": "https://a"}, None, NOW)


@pytest.mark.parametrize(
    "result", [SessionSpawned(SessionRef("s1")), Completed({})], ids=["SessionSpawned", "Completed"]
)
def test_a_run_that_succeeded_is_never_denied(result: Result) -> None:
    given = denied()
    job = completed(claimed(), result, calls=Calls(left=2, answered=2, allowed=2, last_denied=given.request))
    assert job.status.phase in ("Running", "Completed")
    assert job.status.approval is None


def test_an_output_that_is_too_large_fails_the_job_and_says_how_large() -> None:
    job = completed(claimed(), Completed({"x": "y" * MAX_OUTPUT_BYTES}))
    assert (job.status.phase, job.status.reason, job.status.output) == ("Failed", "LimitExceeded", None)
    assert str(MAX_OUTPUT_BYTES) in job.status.message
    assert "utput" in job.status.message


def test_an_output_of_just_the_allowed_size_is_kept() -> None:
    output: JsonObject = {"x": "y" * (MAX_OUTPUT_BYTES - len('{"x":""}'))}
    assert completed(claimed(), Completed(output)).status.output == output


def test_the_size_of_an_output_is_that_of_its_compact_form() -> None:
    """Which is what the module was bound by: spaces of our own must not fail a run that has done its work."""
    output: JsonObject = {f"{number:04}": number % 10 for number in range(3000)}
    compact = json.dumps(output, separators=(",", ":"))
    assert len(compact) < MAX_OUTPUT_BYTES < len(json.dumps(output))
    assert completed(claimed(), Completed(output)).status.output == output
    assert completed(running(), Completed(output), Trigger.OBSERVE).status.output == output


@pytest.mark.parametrize("result", [StillRunning(), SessionFailed("x"), Cancelled()])
def test_an_answer_to_another_trigger_is_an_error_of_the_module(result: Result) -> None:
    job = completed(claimed(), result)
    assert (job.status.phase, job.status.reason) == ("Failed", "ModuleError")


def test_a_long_message_and_a_long_log_are_cut_to_what_a_status_may_hold() -> None:
    job = completed(claimed(), failed(FailureClass.TRAP, "m" * 10_000), log="é" * 10_000 + "end")
    assert len(job.status.message) == 4096
    assert job.status.run is not None
    assert job.status.run.log is not None
    assert len(job.status.run.log.encode()) <= 2048
    assert job.status.run.log.endswith("end")


def test_the_history_holds_the_last_five_runs_the_newest_last() -> None:
    job = claimed(new_job(retry={"limit": 20}))
    for _ in range(7):
        job = claimed(completed(job, failed(FailureClass.TIMEOUT), calls=NOTHING_LEFT), now=NOW + seconds(10_000))
    assert [entry.id.rsplit(".a", 1)[1] for entry in job.status.history] == ["3", "4", "5", "6", "7"]


def test_an_outcome_does_not_advance_observed_generation() -> None:
    before = edited(claimed(), observe_interval_seconds=5)
    job = completed(before, SessionSpawned(SessionRef("s1")))
    assert job.status.observed_generation == 1
    assert stepped(job).status.observed_generation == 2


def test_a_control_edit_does_not_stop_an_outcome() -> None:
    before = edited(claimed(), observe_interval_seconds=5)
    assert verdict_of(before, report(before, Completed({}))).ruling is Ruling.APPLIED


def test_the_current_retry_limit_counts() -> None:
    job = claimed()
    lowered = edited(job, retry=job.spec.retry.model_copy(update={"limit": 0}))
    assert completed(lowered, failed(FailureClass.TIMEOUT)).status.phase == "Failed"


# -- a session that was spawned already --------------------------------------------------------------------------------


def test_an_outcome_whose_write_was_applied_with_a_lost_answer_is_a_duplicate() -> None:
    before = claimed()
    given = report(before, SessionSpawned(SessionRef("s1", "https://s/s1")))
    for job in (running(before), edited(running(before), rerun="1"), deleted(running(before))):
        verdict = verdict_of(job, given)
        assert (verdict.ruling, verdict.status, verdict.orphan) == (Ruling.DUPLICATE, None, None)


@pytest.mark.parametrize("result", [failed(FailureClass.TRAP), denied(), Completed({}), failed(FailureClass.TIMEOUT)])
def test_an_outcome_that_was_applied_changes_nothing_a_second_time(result: Result) -> None:
    before = claimed()
    given = report(before, result)
    verdict = verdict_of(completed(before, result), given)
    assert verdict.ruling is not Ruling.APPLIED
    assert verdict.status is None


# -- stale -------------------------------------------------------------------------------------------------------------


def test_a_dropped_completion_gives_its_session_to_be_cancelled_unless_the_job_owns_it() -> None:
    first = claimed()
    given = report(first, SessionSpawned(SessionRef("mine", "https://s/mine")))
    stale = verdict_of(claimed(first), given)
    assert (stale.ruling, stale.orphan) == (Ruling.STALE, SessionRef("mine", "https://s/mine"))
    owned = verdict_of(running(claimed(first), "mine"), given)
    assert (owned.ruling, owned.orphan) == (Ruling.STALE, None)


@pytest.mark.parametrize("result", [failed(FailureClass.TRAP), denied(), Completed({})])
def test_a_dropped_completion_without_a_session_leaves_nothing_to_cancel(result: Result) -> None:
    first = claimed()
    verdict = verdict_of(claimed(first), report(first, result))
    assert (verdict.ruling, verdict.status, verdict.orphan) == (Ruling.STALE, None, None)


def test_a_completion_of_a_job_that_is_gone_is_dropped_and_its_session_cancelled() -> None:
    given = report(claimed(), SessionSpawned(SessionRef("s1")))
    verdict = verdict_of(None, given)
    assert (verdict.ruling, verdict.orphan) == (Ruling.GONE, SessionRef("s1"))
    assert verdict.objection is not None
    assert verdict.objection.reason == "Gone"


@pytest.mark.parametrize(
    "result", [SessionSpawned(SessionRef("s1")), Completed({}), failed(FailureClass.TIMEOUT), denied()]
)
def test_nothing_of_an_execution_whose_fence_died_is_applied_even_if_its_run_is_current_again(result: Result) -> None:
    job = claimed()
    verdict = verdict_of(job, report(job, result, dead=True))
    assert (verdict.ruling, verdict.status) == (Ruling.STALE, None)
    assert verdict.objection is not None
    assert verdict.objection.reason == "FenceDied"
    assert (verdict.orphan is not None) == isinstance(result, SessionSpawned)
    assert stepped(job).status.reason == "Resubmitted"  # and its run is abandoned and re-claimed


@pytest.mark.parametrize(
    "moved_on", [awaiting, running, finished, suspended], ids=["AwaitingApproval", "Running", "Completed", "Suspended"]
)
def test_a_submit_outcome_is_applied_in_submitted_only(moved_on: object) -> None:
    first = claimed()
    job = moved_on(first)  # type: ignore[operator]
    given = report(first, failed(FailureClass.TRAP))
    assert key(job) == given.run
    verdict = verdict_of(job, given)
    assert (verdict.ruling, verdict.status) == (Ruling.STALE, None)


def test_an_observation_of_another_trigger_is_stale_in_submitted() -> None:
    job = claimed()
    assert verdict_of(job, report(job, StillRunning(), Trigger.OBSERVE)).ruling is Ruling.STALE
