"""The nine faces of a stale completion, each as one completion (docs/fence.md)."""

import pytest

from curation.api.names import FailureClass, Trigger
from curation.lifecycle.complete import Ruling
from curation.lifecycle.decide import decide
from curation.lifecycle.outcome import (
    Calls,
    Completed,
    Denied,
    Failed,
    Liveness,
    Report,
    Result,
    SessionRef,
    SessionSpawned,
)
from tests.unit.lifecycle.builders import (
    ANSWERED,
    HERE,
    NOW,
    THERE,
    claimed,
    completed,
    deleted,
    denied,
    edited,
    facts,
    failed,
    new_job,
    report,
    running,
    seconds,
    settled,
    stepped,
    stored,
    suspended,
    verdict_of,
    waiting,
)

SPAWNED = SessionSpawned(SessionRef("stale", "https://s/stale"))
FAILURES: list[Result] = [failed(FailureClass.TRAP), failed(FailureClass.TIMEOUT), denied()]


def test_f1_a_stale_spawn_does_not_touch_a_running_job() -> None:
    first = claimed()
    job = running(claimed(edited(first, rerun="1")), "healthy")
    verdict = verdict_of(job, report(first, SPAWNED))
    assert (verdict.ruling, verdict.status) == (Ruling.STALE, None)
    assert verdict.orphan != SessionRef("healthy", "https://s/healthy")


def test_f2_the_session_of_the_stale_run_is_cancelled() -> None:
    first = claimed()
    job = running(claimed(edited(first, rerun="1")), "healthy")
    assert verdict_of(job, report(first, SPAWNED)).orphan == SPAWNED.session
    assert job.status.abandoned_runs[0].id == report(first, SPAWNED).run.id  # and its run is cleaned by id


@pytest.mark.parametrize("result", FAILURES)
def test_f3_a_stale_failure_does_not_touch_a_newer_attempt_that_is_submitted(result: Result) -> None:
    first = claimed()
    for newer in (stepped(first), claimed(edited(first, rerun="1"))):
        verdict = verdict_of(newer, report(first, result))
        assert (verdict.ruling, verdict.status) == (Ruling.STALE, None)


@pytest.mark.parametrize("result", FAILURES)
def test_f4_a_stale_failure_does_not_touch_a_queued_job(result: Result) -> None:
    first = claimed()
    for queued in (
        suspended(first),
        stepped(edited(first, rerun="1"), slot=False),
        completed(first, failed(FailureClass.TIMEOUT)),
        stepped(first, slot=False),
    ):
        assert queued.status.phase == "Queued"
        verdict = verdict_of(queued, report(first, result))
        assert (verdict.ruling, verdict.status) == (Ruling.STALE, None)


@pytest.mark.parametrize("result", [SPAWNED, Completed({"late": True})])
def test_f5_a_stale_success_does_not_win_over_the_new_attempt(result: Result) -> None:
    first = claimed()
    second = stepped(first)
    assert verdict_of(second, report(first, result)).ruling is Ruling.STALE
    own = verdict_of(second, report(second, SessionSpawned(SessionRef("own"))))
    assert own.ruling is Ruling.APPLIED
    assert own.status is not None
    assert own.status.session is not None
    assert own.status.session.id == "own"


def test_f6_a_denial_alone_fails_no_run() -> None:
    tolerated = denied()
    assert isinstance(tolerated, Denied)
    calls = Calls(left=2, answered=2, allowed=2, last_denied=tolerated.request)
    assert completed(claimed(), SPAWNED, calls=calls).status.phase == "Running"
    assert completed(claimed(), Completed({}), calls=calls).status.phase == "Completed"


@pytest.mark.parametrize("result", [*FAILURES, Completed({}), SessionSpawned(SessionRef("another"))])
def test_f7_once_a_session_is_recorded_its_run_can_no_longer_fail_the_job(result: Result) -> None:
    submitted = claimed()
    job = running(submitted)
    verdict = verdict_of(job, report(submitted, result))
    assert (verdict.ruling, verdict.status) == (Ruling.STALE, None)
    broken = verdict_of(job, report(job, Failed(FailureClass.TRAP, "boom"), Trigger.OBSERVE))
    assert broken.status is not None
    assert broken.status.phase == "Running"


def test_f8_the_run_of_a_dead_operator_is_abandoned_and_the_next_claimed_in_one_write() -> None:
    died = claimed(holder=THERE)
    step = decide(died, facts(liveness=Liveness.GONE))
    assert step.launch is not None
    assert step.launch.holder == HERE
    assert died.status.run is not None
    (entry,) = step.status.abandoned_runs
    assert (entry.id, entry.session) == (died.status.run.id, None)  # whatever the run id has created
    verdict = verdict_of(stored(died, step.status), report(died, SPAWNED))  # it was not dead after all
    assert (verdict.ruling, verdict.status, verdict.orphan) == (Ruling.STALE, None, SPAWNED.session)


@pytest.mark.parametrize("result", [SPAWNED, Completed({}), *FAILURES])
def test_f9_every_way_to_supersede_a_run_makes_its_completion_stale(result: Result) -> None:
    first = claimed()
    given = report(first, result)
    for job in (
        stepped(first, now=NOW + seconds(900)),  # timed out
        edited(first, rerun="1"),
        stepped(edited(first, rerun="1")),
        edited(first, suspend=True),
        suspended(first),
        claimed(edited(suspended(first), suspend=False)),
        deleted(first),
        stepped(edited(first, input={"n": 2**60})),  # InvalidSpec
    ):
        verdict = verdict_of(job, given)
        assert (verdict.ruling, verdict.status) == (Ruling.STALE, None)
        assert (verdict.orphan is not None) == (result is SPAWNED)


# -- writes ------------------------------------------------------------------------------------------------------------


def test_a_job_with_a_session_takes_three_status_writes_and_no_decision_writes_between() -> None:
    job = claimed(new_job())  # 1
    settled(job)
    job = completed(job, SPAWNED)  # 2
    settled(job)
    job = completed(job, Completed({}), Trigger.OBSERVE)  # 3
    settled(job)
    assert job.status.observed_generation == job.metadata.generation


def test_a_job_without_a_session_takes_two_status_writes() -> None:
    job = completed(claimed(), Completed({}))
    settled(job)


def test_a_run_that_had_to_be_cleaned_takes_one_write_more() -> None:
    job = completed(claimed(), failed(FailureClass.TRAP))
    settled(job)
    job = stepped(job, cleaned=frozenset({job.status.abandoned_runs[0].id}))
    settled(job)


def test_a_good_life_makes_two_events() -> None:
    step = decide(new_job(), facts())
    job = stored(new_job(), step.status)
    spawned = verdict_of(job, Report(Trigger.SUBMIT, report(job, SPAWNED).run, SPAWNED, ANSWERED))
    assert spawned.status is not None
    job = stored(job, spawned.status)
    done = verdict_of(job, report(job, Completed({}), Trigger.OBSERVE))
    assert [event.reason for event in (*step.events, *spawned.events, *done.events)] == ["SessionSpawned", "Completed"]


def test_a_job_that_waits_writes_nothing_until_something_changes() -> None:
    settled(
        waiting(), module_digest=None, module_message="CurationModule module is not there.", now=NOW + seconds(5000)
    )
