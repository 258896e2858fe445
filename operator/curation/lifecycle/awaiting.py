"""The sub-step of a job that awaits an approval: it is freed, fails, or says what keeps it. Called by `decide`."""

from dataclasses import replace
from typing import Final

from curation.api.approval import ApprovalDecision
from curation.api.clipping import clip
from curation.api.job import CurationJob
from curation.api.names import EventReason, Phase, Reason
from curation.lifecycle import draft
from curation.lifecycle.event import Event
from curation.lifecycle.step import Facts, Step
from curation.lifecycle.table import Cause

MAX_PATH_SHOWN: Final = 300
"""Characters of a path in a sentence for people."""


def await_approval(job: CurationJob, step: Step, facts: Facts) -> Step:
    """Free the job, fail it, or say in its status why it still waits."""
    status, waits = step.status, step.status.approval
    if waits is None:
        # Written by an earlier release, which held a job up while a policy was invalid.
        return _queue_freed(step, facts, "There is no approval to wait for; the next attempt asks again.")
    if facts.approval is ApprovalDecision.DENIED:
        message = f"CurationApproval {waits.name} was denied. To ask anew, delete it and set a new spec.rerun."
        status = draft.enter(
            status, Cause.APPROVAL_ENDED, Phase.FAILED, Reason.APPROVAL_DENIED, message, facts.now, approval=None
        )
        return replace(step, status=status, events=(*step.events, Event(EventReason.FAILED, message, warning=True)))
    if facts.request_allowed:
        if status.retry_at is not None and facts.now < status.retry_at:
            return replace(step, wake_at=status.retry_at)
        return _queue_freed(step, facts, "The denied request is now allowed.")
    denied, name = waits.request, waits.name
    call = f"{denied.method} {denied.scheme}://{denied.host}:{denied.port}{clip(denied.path, MAX_PATH_SHOWN)}"
    problem = facts.approval_problem
    if problem is None:
        message = f"{call} was denied. Waits for CurationApproval {name}, or a policy that allows the call."
        if status.reason == Reason.DENIED:
            return step
        return replace(step, status=draft.update(status, reason=Reason.DENIED.value, message=draft.message_of(message)))
    message = draft.message_of(f"{call} was denied. {problem.message}")
    if (status.reason, status.message) == (problem.reason, message):
        return step
    events = (Event(EventReason.WRITE_REFUSED, message, warning=True),) if problem.warn else ()
    if status.reason == problem.reason:
        events = ()  # only the words are others
    return replace(
        step, status=draft.update(status, reason=problem.reason.value, message=message), events=(*step.events, *events)
    )


def _queue_freed(step: Step, facts: Facts, message: str) -> Step:
    status = draft.enter(step.status, Cause.ALLOWED, Phase.QUEUED, Reason.APPROVED, message, facts.now, approval=None)
    return replace(step, status=status, events=(*step.events, Event(EventReason.APPROVED, message)))
