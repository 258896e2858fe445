"""What an observation means for a Running job: only the session's own end can end it (F7)."""

import pytest

from curation.api.job import MAX_OUTPUT_BYTES, CurationJob
from curation.api.names import FailureClass, Trigger
from curation.lifecycle.complete import Ruling, Verdict
from curation.lifecycle.conditions import derive, find
from curation.lifecycle.outcome import (
    Calls,
    Cancelled,
    Completed,
    Liveness,
    Result,
    SessionFailed,
    SessionRef,
    SessionSpawned,
    StillRunning,
)
from tests.unit.lifecycle.builders import (
    NOW,
    claimed,
    completed,
    deleted,
    denied,
    edited,
    failed,
    report,
    request,
    running,
    seconds,
    settled,
    stepped,
    stored,
    suspended,
    verdict_of,
)

LATER = NOW + seconds(60)


def observed(job: CurationJob, result: Result, at: float = 60) -> Verdict:
    return verdict_of(job, report(job, result, Trigger.OBSERVE), NOW + seconds(at))


def test_a_completed_session_completes_the_job() -> None:
    job = completed(running(), Completed({"answer": 42}), Trigger.OBSERVE, now=LATER)
    status = job.status
    assert (status.phase, status.reason, status.output) == ("Completed", "Completed", {"answer": 42})
    assert status.session is not None  # for people to look at
    assert status.run is not None
    assert (status.run.spawned_at, status.run.finished_at) == (NOW, LATER)
    assert [(entry.outcome, entry.finished_at) for entry in status.history] == [("Completed", LATER)]
    assert status.abandoned_runs == ()
    settled(job)


def test_a_failed_session_fails_the_job() -> None:
    job = completed(running(), SessionFailed("it was too hard"), Trigger.OBSERVE, now=LATER)
    assert (job.status.phase, job.status.reason) == ("Failed", "SessionFailed")
    assert "t was too hard" in job.status.message
    assert (job.status.history[-1].outcome, job.status.history[-1].reason) == ("Failed", "SessionFailed")
    settled(job)


def test_an_output_that_is_too_large_is_left_out_and_the_job_completes_all_the_same() -> None:
    job = completed(running(), Completed({"x": "y" * MAX_OUTPUT_BYTES}), Trigger.OBSERVE)
    assert (job.status.phase, job.status.output) == ("Completed", {})
    assert str(MAX_OUTPUT_BYTES) in job.status.message


def test_why_an_output_was_left_out_is_shown() -> None:
    job = completed(running(), Completed({}, "Its output of 9 bytes is over outputSize 8 bytes."), Trigger.OBSERVE)
    assert (job.status.phase, job.status.output) == ("Completed", {})
    assert job.status.message == "The session completed. Its output of 9 bytes is over outputSize 8 bytes."


@pytest.mark.parametrize(
    "result",
    [
        *[failed(failure) for failure in FailureClass],
        denied(),
        Cancelled(),
        SessionSpawned(SessionRef("another")),
    ],
    ids=lambda result: f"{type(result).__name__} {getattr(result, 'failure_class', '')}",
)
def test_a_failed_observation_never_fails_the_job(result: Result) -> None:
    job = running()
    verdict = observed(job, result)
    assert verdict.ruling is Ruling.APPLIED
    assert verdict.status is not None
    same = {"conditions": ()}
    assert verdict.status.model_copy(update=same) == job.status.model_copy(update=same)
    reconciling = find(verdict.status.conditions, "Reconciling")
    assert reconciling is not None
    assert (reconciling.status, reconciling.reason) == ("True", "ObservationFailed")
    assert reconciling.message


def test_the_same_observation_error_is_written_once_and_goes_with_the_next_good_one() -> None:
    job = running()
    first = observed(job, failed(FailureClass.HTTP_UNAVAILABLE))
    assert first.status is not None
    job = stored(job, first.status)
    again = observed(job, failed(FailureClass.HTTP_UNAVAILABLE), at=90)
    assert again.status == job.status
    good = observed(job, StillRunning(), at=120)
    assert good.status is not None
    reconciling = find(good.status.conditions, "Reconciling")
    assert reconciling is not None
    assert reconciling.reason == "SessionSpawned"


def test_an_observation_error_stays_shown_when_something_else_is_written() -> None:
    job = running()
    broken = observed(job, failed(FailureClass.HTTP_UNAVAILABLE))
    assert broken.status is not None
    shown = find(broken.status.conditions, "Reconciling")
    assert find(derive(broken.status, broken.status.conditions[0].last_transition_time), "Reconciling") == shown


def test_a_denied_observation_asks_for_an_approval_and_the_job_stays_running() -> None:
    verdict = observed(running(), denied())
    assert verdict.ask == request()
    assert verdict.status is not None
    authorized = find(verdict.status.conditions, "Authorized")
    assert authorized is not None
    assert authorized.status == "False"
    assert (verdict.status.phase, verdict.status.approval) == ("Running", None)


def test_a_denied_observation_is_shown_over_an_edit_of_a_control_until_one_is_allowed() -> None:
    refused = observed(running(), denied())
    assert refused.status is not None
    job = stepped(edited(stored(running(), refused.status), observeIntervalSeconds=77), liveness=Liveness.ALIVE)
    shown = find(job.status.conditions, "Authorized")
    assert shown is not None
    assert shown.status == "False"
    allowed = observed(job, StillRunning(), at=120)
    assert allowed.status is not None
    healed = {kind: find(allowed.status.conditions, kind) for kind in ("Authorized", "Reconciling")}
    assert {kind: (c.status, c.reason) for kind, c in healed.items() if c is not None} == {
        "Authorized": ("True", "Allowed"),
        "Reconciling": ("True", "SessionSpawned"),
    }


@pytest.mark.parametrize(
    ("calls", "authorized"),
    [
        pytest.param(Calls(left=1, allowed=1), "True", id="allowed"),
        pytest.param(Calls(left=1, allowed=1, last_denied=request()), "False", id="one of two allowed"),
        pytest.param(Calls(), "False", id="not asked"),
    ],
)
@pytest.mark.parametrize("result", [failed(FailureClass.HTTP_UNAVAILABLE), Cancelled()], ids=["failed", "unfit"])
def test_a_failed_observation_is_no_longer_shown_as_denied_if_its_calls_were_allowed(
    result: Result, calls: Calls, authorized: str
) -> None:
    """Else its approval would go on counting the job as one that waits for it."""
    refused = observed(running(), denied())
    assert refused.status is not None
    job = stored(running(), refused.status)
    verdict = verdict_of(job, report(job, result, Trigger.OBSERVE, calls=calls), LATER)
    assert verdict.status is not None
    shown = find(verdict.status.conditions, "Authorized")
    assert shown is not None
    assert shown.status == authorized


def test_the_first_progress_is_shown_at_once_and_the_next_after_thirty_seconds() -> None:
    job = running()
    assert observed(job, StillRunning(), at=1).status is None
    first = observed(job, StillRunning({"step": 1}), at=2)
    assert first.status is not None
    assert first.status.session is not None
    assert (first.status.session.progress, first.status.session.progress_at) == ({"step": 1}, NOW + seconds(2))
    job = stored(job, first.status)
    assert observed(job, StillRunning({"step": 2}), at=31.9).status is None
    assert observed(job, StillRunning({"step": 1}), at=100).status is None  # no news
    second = observed(job, StillRunning({"step": 2}), at=32)
    assert second.status is not None
    assert second.status.session is not None
    assert second.status.session.progress == {"step": 2}


def test_an_observation_that_failed_in_between_does_not_show_progress_sooner() -> None:
    first = observed(running(), StillRunning({"step": 1}), at=2)
    assert first.status is not None
    job = stored(running(), first.status)
    broken = observed(job, failed(FailureClass.HTTP_UNAVAILABLE), at=4)
    assert broken.status is not None
    good = observed(stored(job, broken.status), StillRunning({"step": 2}), at=6)
    assert good.status is not None
    assert good.status.session == first.status.session
    reconciling = find(good.status.conditions, "Reconciling")
    assert reconciling is not None
    assert reconciling.reason == "SessionSpawned"


@pytest.mark.parametrize(
    "result", [Completed({}), SessionFailed("x"), StillRunning({"step": 1}), failed(FailureClass.TRAP), denied()]
)
def test_an_observation_of_a_run_that_is_no_longer_current_is_dropped(result: Result) -> None:
    was = running()
    given = report(was, result, Trigger.OBSERVE)
    ended = completed(was, Completed({"first": True}), Trigger.OBSERVE)
    for job in (
        ended,
        claimed(edited(was, rerun="1")),
        running(claimed(edited(was, rerun="1")), "s2"),
        edited(was, rerun="1"),
        edited(was, suspend=True),
        suspended(was),
        deleted(was),
        stepped(was, now=NOW + seconds(7200)),
    ):
        verdict = verdict_of(job, given)
        assert (verdict.ruling, verdict.status, verdict.orphan) == (Ruling.STALE, None, None)


def test_an_observation_whose_fence_died_is_dropped() -> None:
    job = running()
    verdict = verdict_of(job, report(job, SessionFailed("x"), Trigger.OBSERVE, dead=True))
    assert (verdict.ruling, verdict.status) == (Ruling.STALE, None)
