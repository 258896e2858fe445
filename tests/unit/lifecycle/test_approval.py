"""Denials: waiting for an approval or a mended policy, being freed, and being denied again."""

import pytest

from curation.api.approval import ApprovalDecision, approval_name, request_digest
from curation.api.job import MAX_MESSAGE, OnDenied
from curation.api.names import Reason
from curation.lifecycle.decide import decide
from curation.lifecycle.step import Problem
from tests.unit.lifecycle.builders import (
    NOW,
    awaiting,
    claimed,
    completed,
    denied,
    edited,
    facts,
    new_job,
    report,
    request,
    seconds,
    settled,
    stepped,
    stored,
    verdict_of,
)

TOO_MANY = Problem(Reason.TOO_MANY_APPROVALS, "As many as allowed are Pending; decide some of them.")


def test_a_denied_run_waits_for_the_approval_of_the_denied_request() -> None:
    job = awaiting()
    status = job.status
    assert (status.phase, status.reason) == ("AwaitingApproval", "Denied")
    assert status.approval is not None
    assert status.approval.name == approval_name(request())
    assert status.approval.request_digest == request_digest(request())
    assert (status.approval.request, status.approval.since) == (request(), NOW)
    assert status.approval.name in status.message
    assert (status.history[-1].outcome, status.history[-1].reason) == ("Denied", "Denied")
    assert status.retry_at is None
    settled(job)


def test_a_denied_job_that_does_not_wait_fails_and_says_what_to_do() -> None:
    job = completed(claimed(new_job(onDenied="Fail")), denied())
    assert (job.status.phase, job.status.reason, job.status.approval) == ("Failed", "Denied", None)
    assert "rerun" in job.status.message


def test_a_job_whose_request_is_now_allowed_is_queued_and_then_claimed() -> None:
    job = stepped(awaiting(), request_allowed=True)
    assert (job.status.phase, job.status.reason, job.status.approval) == ("Queued", "Approved", None)
    job = claimed(job)
    assert job.status.run is not None
    assert job.status.run.attempt == 2


@pytest.mark.parametrize("decision", [None, ApprovalDecision.PENDING, ApprovalDecision.REVOKED])
def test_a_job_goes_on_waiting_while_the_request_is_not_allowed(decision: ApprovalDecision | None) -> None:
    settled(awaiting(), approval=decision)


def test_an_approval_that_does_not_allow_the_request_frees_no_one() -> None:
    settled(awaiting(), approval=ApprovalDecision.APPROVED, request_allowed=False)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_job_that_meets_a_denied_approval_fails_at_once(allowed: bool) -> None:
    step = decide(awaiting(), facts(approval=ApprovalDecision.DENIED, request_allowed=allowed))
    assert (step.status.phase, step.status.reason, step.status.approval) == ("Failed", "ApprovalDenied", None)
    assert approval_name(request()) in step.status.message


def test_a_job_says_when_there_are_too_many_approvals_and_when_there_are_not() -> None:
    job = stepped(awaiting(), approval_problem=TOO_MANY)
    assert (job.status.phase, job.status.reason) == ("AwaitingApproval", "TooManyApprovals")
    assert "pending" in job.status.message.lower()
    assert job.status.approval is not None
    settled(job, approval_problem=TOO_MANY)
    job = stepped(job)
    assert job.status.reason == "Denied"
    assert job.status.approval is not None
    assert job.status.approval.name in job.status.message
    assert job.status.phase_since == NOW
    assert stepped(stepped(awaiting(), approval_problem=TOO_MANY), request_allowed=True).status.reason == "Approved"


def test_a_long_path_fits_into_the_message_and_leaves_room_for_what_to_do() -> None:
    job = stepped(stepped(completed(claimed(), denied("/" + "x" * 8000)), approval_problem=TOO_MANY))
    assert job.status.reason == "Denied"
    assert len(job.status.message) <= MAX_MESSAGE
    assert job.status.approval is not None
    assert job.status.approval.name in job.status.message


@pytest.mark.parametrize("on_denied", ["AwaitApproval", "Fail"])
@pytest.mark.parametrize("later", [0, 10_000_000])
def test_a_job_that_an_earlier_release_left_without_an_approval_is_queued_however_long_it_waited(
    on_denied: str, later: int
) -> None:
    waits = awaiting(claimed(new_job(onDenied="AwaitApproval", timeouts={"approvalSeconds": 30})))
    held = waits.model_copy(
        update={
            "spec": waits.spec.model_copy(update={"on_denied": OnDenied(on_denied)}),
            "status": waits.status.model_copy(update={"approval": None, "reason": "PolicyInvalid"}),
        }
    )
    job = stepped(held, now=NOW + seconds(later))
    assert (job.status.phase, job.status.reason) == ("Queued", "Approved")
    assert [event.reason for event in decide(held, facts(now=NOW + seconds(later))).events] == ["Approved"]


def test_a_second_denial_of_the_request_that_a_job_was_freed_for_backs_off() -> None:
    freed = claimed(stepped(awaiting(), request_allowed=True))
    job = awaiting(freed)
    assert job.status.retry_at is None  # not known to be the second
    verdict = verdict_of(freed, report(freed, denied()), freed_for=request_digest(request()), sample=0.75)
    assert verdict.status is not None
    job = stored(freed, verdict.status)
    assert job.status.phase == "AwaitingApproval"
    at = job.status.retry_at
    assert at is not None
    assert at > NOW
    assert settled(job, request_allowed=True).wake_at == at
    settled(job)
    job = stepped(job, request_allowed=True, now=at)
    assert (job.status.phase, job.status.retry_at) == ("Queued", None)
    job = claimed(job, now=at)
    assert job.status.run is not None
    assert job.status.run.retries == 0  # no automatic retry of a failure


def test_a_denial_of_another_request_does_not_back_off() -> None:
    freed = claimed(stepped(awaiting(), request_allowed=True))
    verdict = verdict_of(freed, report(freed, denied("/other")), freed_for=request_digest(request()))
    assert verdict.status is not None
    assert verdict.status.retry_at is None


def test_an_edit_of_on_denied_does_not_fail_a_job_that_waits() -> None:
    job = stepped(edited(awaiting(), on_denied=OnDenied.FAIL), now=NOW + seconds(1))
    assert job.status.phase == "AwaitingApproval"
