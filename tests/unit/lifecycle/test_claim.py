"""(new) or Queued to Submitted: what a claim needs, what it writes, and what a job that cannot be claimed waits for."""

import pytest

from curation.api.names import SESSION_FINALIZER, FailureClass
from curation.lifecycle.decide import SLOT_PATIENCE, decide
from tests.unit.lifecycle.builders import (
    HERE,
    MODULE_DIGEST,
    NOW,
    UID,
    awaiting,
    backing_off,
    claimed,
    completed,
    edited,
    facts,
    failed,
    new_job,
    running,
    seconds,
    settled,
    stepped,
    stored,
    waiting,
)


def test_a_new_job_gets_the_finalizer_first_and_nothing_else() -> None:
    job = new_job(finalizer=False)
    step = decide(job, facts())
    assert step.add_finalizer
    assert step.launch is None
    assert step.status == job.status


def test_a_new_job_with_the_finalizer_is_claimed_in_its_first_write() -> None:
    step = decide(new_job(generation=3, config={"a": "1"}), facts(module_config={"a": "0", "b": "2"}))
    run, status = step.launch, step.status
    assert run is not None
    assert run == status.run
    assert (run.id, run.generation, run.attempt, run.retries) == (f"{UID}.g3.a1", 3, 1, 0)
    assert (run.holder, run.module.name, run.module.digest) == (HERE, "module", MODULE_DIGEST)
    assert (run.submitted_at, run.spawned_at, run.finished_at) == (NOW, None, None)
    assert run.config == {"a": "1", "b": "2"}  # the job's keys win
    assert (status.phase, status.reason, status.phase_since) == ("Submitted", "Submitted", NOW)
    assert (status.observed_generation, status.template_generation) == (3, 3)
    assert status.template_digest == run.template_digest
    assert (step.add_finalizer, step.remove_finalizer, step.delete) == (False, False, False)


def test_only_the_step_that_writes_the_claim_launches_its_run() -> None:
    assert settled(claimed()).launch is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"module_digest": None, "module_message": "CurationModule module: NotFound."}, "WaitingForModule"),
        ({"slot": False, "now": NOW + SLOT_PATIENCE}, "WaitingForSlot"),
    ],
)
def test_a_job_that_cannot_be_claimed_is_queued_with_the_reason(changes: dict[str, object], reason: str) -> None:
    job = stepped(new_job(), **changes)
    assert (job.status.phase, job.status.reason) == ("Queued", reason)
    assert job.status.message
    assert job.status.observed_generation == 1
    settled(job, **changes)
    assert decide(job, facts()).launch is not None  # as soon as it can be


def test_a_new_job_that_gets_a_slot_soon_is_never_shown_as_waiting_for_one() -> None:
    step = settled(new_job(), slot=False)
    assert step.wake_at == NOW + SLOT_PATIENCE


def test_a_job_shows_the_current_reason_why_its_module_is_not_ready() -> None:
    job = waiting()
    job = stepped(job, module_digest=None, module_message="CurationModule module: DigestMismatch.")
    assert job.status.message == "CurationModule module: DigestMismatch."
    assert job.status.phase_since == NOW  # no new phase


def test_a_backoff_ends_at_retry_at_and_not_before() -> None:
    job = backing_off()
    assert job.status.retry_at is not None
    early = settled(job)
    assert early.wake_at == job.status.retry_at
    assert decide(job, facts(now=job.status.retry_at)).launch is not None


def test_a_second_attempt_is_resubmitted_and_clears_what_the_first_left() -> None:
    job = claimed(backing_off(), now=NOW + seconds(10))
    run = job.status.run
    assert run is not None
    assert (run.id, run.attempt, run.retries) == (f"{UID}.g1.a2", 2, 1)
    assert (job.status.phase, job.status.reason, job.status.retry_at) == ("Submitted", "Resubmitted", None)


def test_an_attempt_that_is_no_automatic_retry_does_not_count_as_one() -> None:
    job = claimed(stepped(awaiting(), request_allowed=True))
    assert job.status.run is not None
    assert (job.status.run.attempt, job.status.run.retries) == (2, 0)


def test_a_claim_clears_session_approval_retry_and_output_and_keeps_the_history() -> None:
    job = claimed(edited(running(), rerun="again"))
    status = job.status
    assert (status.session, status.approval, status.retry_at, status.output) == (None, None, None, None)
    assert [entry.outcome for entry in status.history] == ["Superseded"]


def test_a_job_with_twenty_runs_to_clean_waits_and_then_goes_on() -> None:
    job = claimed()
    for number in range(2, 21):
        job = stepped(job, now=NOW + seconds(number))  # its run is not executed any more: taken over each time
        assert job.status.run is not None
        assert job.status.run.attempt == number
        assert len(job.status.abandoned_runs) == number - 1
    assert len(job.status.abandoned_runs) == 19  # a claim leaves at most 19
    job = stepped(job)
    assert (job.status.phase, job.status.reason) == ("Queued", "WaitingForCleanup")
    assert len(job.status.abandoned_runs) == 20
    settled(job)
    oldest = frozenset({job.status.abandoned_runs[0].id})
    job = stepped(job, cleaned=oldest)
    assert job.status.phase == "Submitted"
    assert len(job.status.abandoned_runs) == 19
    assert job.status.run is not None
    assert job.status.run.attempt == 21


def test_a_run_in_flight_leaves_room_to_abandon_it_in_every_way() -> None:
    job = claimed()
    for _ in range(19):
        job = stepped(job)
    assert len(job.status.abandoned_runs) == 19
    for after in (
        completed(job, failed(FailureClass.TRAP)),
        stepped(edited(job, suspend=True)),
        stepped(edited(job, rerun="1")),
        stepped(job, now=NOW + seconds(900)),
        stepped(job),
    ):
        assert len(after.status.abandoned_runs) == 20


def test_a_status_without_the_first_generation_of_its_template_goes_on_counting_attempts() -> None:
    job = backing_off()
    older = stored(job, job.status.model_copy(update={"template_generation": None}))
    job = claimed(older, now=NOW + seconds(10))
    assert job.status.run is not None
    assert job.status.run.attempt == 2


def test_a_finalizer_that_is_refused_shows_in_the_status_and_nothing_is_claimed_without_it() -> None:
    job = new_job(finalizer=False)
    step = decide(job, facts(finalizer_refused="403 Forbidden: not today"))
    assert (step.status.phase, step.status.reason, step.launch) == ("Queued", "WriteRefused", None)
    assert "403 Forbidden: not today" in step.status.message
    assert step.status.observed_generation == job.metadata.generation
    shown = job.model_copy(update={"status": step.status})
    again = decide(shown, facts(finalizer_refused="403 Forbidden: not today"))
    assert again.add_finalizer
    assert again.status == shown.status
    claimed_now = decide(
        shown.model_copy(update={"metadata": shown.metadata.model_copy(update={"finalizers": (SESSION_FINALIZER,)})}),
        facts(),
    )
    assert claimed_now.launch is not None


def test_a_job_whose_executor_is_not_to_be_had_is_queued_and_stalled_with_the_remedy() -> None:
    job = new_job(executor={"type": "Job"})
    step = decide(job, facts(executor_problem="There are no guest pods; set spec.executor.type to InProcess."))
    assert step.launch is None
    assert (step.status.phase, step.status.reason) == ("Queued", "ExecutorUnavailable")
    assert "InProcess" in step.status.message
    assert {each.type for each in step.status.conditions if each.status == "True"} == {"Stalled"}
    assert decide(stored(job, step.status), facts()).launch is not None, "it goes on by itself"
