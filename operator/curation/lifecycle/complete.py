"""What an ended execution means for its job: the only place where a run's outcome becomes a status.

The fence is asked about the newest known object. If it objects, the completion changes no state. In any case a session
that the completion holds and the job does not own is an orphan, to be cancelled.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from curation.api.approval import EvaluatedRequest, approval_name, request_digest
from curation.api.digest import json_size
from curation.api.job import MAX_OUTPUT_BYTES, CurationJob, JobApproval, JobStatus, OnDenied, Run, Session
from curation.api.names import EventReason, FailureClass, Phase, Reason, RunOutcome, Trigger
from curation.lifecycle import conditions, draft
from curation.lifecycle.event import Event
from curation.lifecycle.fence import Objection, objection
from curation.lifecycle.outcome import (
    Calls,
    Completed,
    Denied,
    Failed,
    Report,
    Result,
    SessionFailed,
    SessionRef,
    SessionSpawned,
    StillRunning,
)
from curation.lifecycle.retry import retry_at
from curation.lifecycle.table import Cause

PROGRESS_INTERVAL: Final = timedelta(seconds=30)
INTERRUPTIONS_BY_LIMIT: Final = 3
"""So many attempts in a row whose process a limit has ended: then the run is taken for the reason, and it counts."""


class Ruling(StrEnum):
    """The verdict label of curation_completions_total."""

    APPLIED = "applied"
    STALE = "stale"
    DUPLICATE = "duplicate"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about a completion."""

    ruling: Ruling
    status: JobStatus | None = None
    """The status to write, if it differs from the job's."""
    objection: Objection | None = None
    """Why it was dropped."""
    orphan: SessionRef | None = None
    """A session that it holds and the job does not own."""
    ask: EvaluatedRequest | None = None
    """A denied request that needs an approval although the job does not wait for it (a denied observation)."""
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Moment:
    """What `complete` needs to know beyond the object and the report."""

    now: datetime
    """The API server's time."""
    sample: float = 0.5
    """Drawn evenly from [0, 1): the jitter of a retry."""
    freed_for: str = ""
    """Digest of the request that the job was last freed for."""


_ALLOWED: Final = ("True", "The last run's calls were allowed.")
_DEAD: Final = Objection("FenceDied", "the execution was superseded while it ran")


def complete(job: CurationJob | None, report: Report, moment: Moment) -> Verdict:
    """What follows from a Submit or Observe execution that has ended."""
    if job is not None and _already_applied(job, report):
        return Verdict(Ruling.DUPLICATE)
    against = objection(job, report.run, report.trigger) or (_DEAD if report.dead else None)
    run = job.status.run if job is not None else None
    if against is not None or job is None or run is None:
        ruling = Ruling.GONE if job is None or job.metadata.uid != report.run.uid else Ruling.STALE
        return Verdict(ruling, objection=against, orphan=_orphan(job, report))
    settle = _submitted if report.trigger is Trigger.SUBMIT else _observed
    return settle(job, run, report, moment)


def unreadable(job: CurationJob, report: Report, problem: str) -> Verdict:
    """The verdict about an execution whose job cannot be read; `job` is what is left of it. Nothing is written."""
    if _already_applied(job, report):
        return Verdict(Ruling.DUPLICATE)
    ruling = Ruling.STALE if job.metadata.uid == report.run.uid else Ruling.GONE
    against = Objection("Unreadable", f"the job cannot be read: {problem}")
    return Verdict(ruling, objection=against, orphan=_orphan(job, report))


def _already_applied(job: CurationJob, report: Report) -> bool:
    """Whether this very outcome is in the status, since it is reported a second time."""
    status, result = job.status, report.result
    if job.metadata.uid != report.run.uid or report.trigger is not Trigger.SUBMIT:
        return False
    return (
        isinstance(result, SessionSpawned)
        and status.session is not None
        and (status.session.run_id, status.session.id) == (report.run.id, result.session.id)
    )


def _orphan(job: CurationJob | None, report: Report) -> SessionRef | None:
    if not isinstance(report.result, SessionSpawned):
        return None
    session = report.result.session
    owned = job.status.session if job is not None and job.metadata.uid == report.run.uid else None
    return None if owned is not None and owned.id == session.id else session


def _submitted(job: CurationJob, run: Run, report: Report, moment: Moment) -> Verdict:
    status, now = job.status, moment.now
    match report.result:
        case SessionSpawned(session):
            return _spawned(job, run, session, report.calls, now)
        case Completed(output):
            size = json_size(output)
            if size > MAX_OUTPUT_BYTES:
                return _failed(job, run, _too_large(size), report, moment)
            status = draft.finish_run(status, now)
            status = draft.record(status, run, RunOutcome.COMPLETED, "Completed", now)
            status = draft.enter(
                status, Cause.COMPLETED, Phase.COMPLETED, Reason.COMPLETED, "The module completed.", now, output=output
            )
            event = Event(EventReason.COMPLETED, f"Run {run.id} completed.")
            return _applied(status, now, report.calls, events=(event,))
        case Denied() as denied:
            return _denied(job, run, denied, report, moment)
        case Failed() as failed:
            return _failed(job, run, failed, report, moment)
        case other:
            return _failed(job, run, _unfit(other, Trigger.SUBMIT), report, moment)


def _spawned(job: CurationJob, run: Run, session: SessionRef, calls: Calls, now: datetime) -> Verdict:
    status = draft.record(job.status, run, RunOutcome.SESSION_SPAWNED, "SessionSpawned", now)
    message = f"Session {session.id} runs, started by attempt {run.attempt}."
    status = draft.enter(
        status,
        Cause.SESSION_SPAWNED,
        Phase.RUNNING,
        Reason.SESSION_SPAWNED,
        message,
        now,
        run=run.model_copy(update={"spawned_at": now}),
        session=Session.model_construct(id=session.id, url=session.url, run_id=run.id, spawned_at=now, progress=None),
    )
    return _applied(status, now, calls, events=(Event(EventReason.SESSION_SPAWNED, message),))


def _failed(job: CurationJob, run: Run, failed: Failed, report: Report, moment: Moment) -> Verdict:
    now, retry = moment.now, job.spec.retry
    failure = failed.failure_class
    status = _end_failed(job.status, run, RunOutcome.FAILED, failure, report, now)
    interruptions = _interruptions(run, failed)
    if status.run is not None:
        status = draft.update(status, run=status.run.model_copy(update={"interruptions": interruptions}))
    if interruptions or (failure.retryable and run.retries < retry.limit):
        at = retry_at(now, run.retries + max(interruptions - 1, 0), retry, moment.sample)
        message = f"Attempt {run.attempt} failed ({failure}): {draft.sentence(failed.message)}"
        left = retry.limit - run.retries - (0 if interruptions else 1)
        status = draft.enter(status, Cause.RETRY, Phase.QUEUED, Reason.BACKOFF, message, now, retry_at=at)
        event = Event(EventReason.RETRY_SCHEDULED, f"{message} Retries left after the next: {left}.", warning=True)
    else:
        why = draft.sentence(failed.message)
        status = draft.enter(status, Cause.FAILED, Phase.FAILED, failure, why, now)
        event = Event(EventReason.FAILED, f"Run {run.id} failed ({failure}): {why}", warning=True)
    return _applied(status, now, report.calls, events=(event,))


def _interruptions(run: Run, failed: Failed) -> int:
    """How many attempts in a row were interrupted, with this one; 0 if this one counts as a failure of the run."""
    if failed.failure_class is not FailureClass.INTERRUPTED:
        return 0
    row = run.interruptions + 1
    return 0 if failed.over_limit and row >= INTERRUPTIONS_BY_LIMIT else row


def _denied(job: CurationJob, run: Run, denied: Denied, report: Report, moment: Moment) -> Verdict:
    now, request, why = moment.now, denied.request, draft.sentence(denied.message)
    status = _end_failed(job.status, run, RunOutcome.DENIED, Reason.DENIED, report, now)
    authorized = ("False", draft.message_of(why))
    if job.spec.on_denied is OnDenied.FAIL:
        message = f"{why} Allow it with a CurationPolicy, then set a new spec.rerun."
        status = draft.enter(status, Cause.DENIED_FAILS, Phase.FAILED, FailureClass.DENIED, message, now)
        return _applied(status, now, report.calls, authorized, (Event(EventReason.DENIED, message, warning=True),))
    name, digest = approval_name(request), request_digest(request)
    message = f"{why} Waits for CurationApproval {name}, or a policy that allows the call."
    # Freed for this very request and denied it again: without a pause the two would chase each other.
    again = retry_at(now, 1, job.spec.retry, moment.sample) if moment.freed_for == digest else None
    status = draft.enter(
        status,
        Cause.DENIED_WAITS,
        Phase.AWAITING_APPROVAL,
        Reason.DENIED,
        message,
        now,
        retry_at=again,
        approval=JobApproval.model_construct(name=name, request_digest=digest, request=request, since=now),
    )
    return _applied(
        status, now, report.calls, authorized, (Event(EventReason.AWAITING_APPROVAL, message, warning=True),)
    )


def _end_failed(
    status: JobStatus, run: Run, outcome: RunOutcome, reason: str, report: Report, now: datetime
) -> JobStatus:
    """End a run that came to nothing. If any request of it left, it may have created a session: to be cleaned."""
    status = draft.finish_run(status, now, draft.tail(report.log))
    status = draft.record(status, run, outcome, reason, now)
    return draft.abandon(status, now) if report.calls.left else status


def _observed(job: CurationJob, run: Run, report: Report, moment: Moment) -> Verdict:
    """Once a session is recorded its run can no longer fail the job (F7): only the session's own end can."""
    status, now = job.status, moment.now
    match report.result:
        case Completed(output, left_out):
            size = json_size(output)
            if size > MAX_OUTPUT_BYTES:
                output, left_out = {}, f"Its output of {size} bytes is over {MAX_OUTPUT_BYTES} and left out."
            message = " ".join(filter(None, ("The session completed.", left_out)))
            status = draft.record(draft.finish_run(status, now), run, RunOutcome.COMPLETED, "Completed", now)
            status = draft.enter(
                status, Cause.SESSION_COMPLETED, Phase.COMPLETED, Reason.COMPLETED, message, now, output=output
            )
            return _applied(status, now, report.calls, events=(Event(EventReason.COMPLETED, message),))
        case SessionFailed(reason):
            status = draft.finish_run(status, now, draft.tail(report.log))
            status = draft.record(status, run, RunOutcome.FAILED, FailureClass.SESSION_FAILED, now)
            message = f"The session failed: {draft.sentence(reason)}"
            status = draft.enter(status, Cause.SESSION_FAILED, Phase.FAILED, FailureClass.SESSION_FAILED, message, now)
            return _applied(status, now, report.calls, events=(Event(EventReason.FAILED, message, warning=True),))
        case StillRunning(progress):
            return _still_running(job, progress, report, now)
        case Denied(request, message):
            authorized = ("False", draft.message_of(message))
            verdict = _observation_error(job, f"Observing the session was denied: {message}", now, authorized)
            return replace(verdict, ask=request)
        case Failed(failure, message):
            message = f"The session could not be observed ({failure}): {message}"
            return _observation_error(job, message, now, _all_allowed(report.calls))
        case other:
            message = f"The session could not be observed: {_unfit(other, Trigger.OBSERVE).message}"
            return _observation_error(job, message, now, _all_allowed(report.calls))


def _still_running(job: CurationJob, progress: object, report: Report, now: datetime) -> Verdict:
    status = job.status
    session = status.session
    reconciling = conditions.find(status.conditions, "Reconciling")
    mended = reconciling is not None and reconciling.reason == conditions.OBSERVATION_FAILED
    if session is not None and progress not in (None, session.progress) and _progress_due(session, now):
        status = draft.update(status, session=session.model_copy(update={"progress": progress, "progress_at": now}))
    elif not mended:
        return Verdict(Ruling.APPLIED)
    return _applied(status, now, report.calls, observation_error="")


def _progress_due(session: Session, now: datetime) -> bool:
    since = session.progress_at or session.spawned_at
    return session.progress is None or now >= since + PROGRESS_INTERVAL


def _observation_error(job: CurationJob, message: str, now: datetime, authorized: tuple[str, str] | None) -> Verdict:
    derived = conditions.derive(job.status, now, authorized=authorized, observation_error=draft.message_of(message))
    return Verdict(Ruling.APPLIED, draft.update(job.status, conditions=derived))


def _all_allowed(calls: Calls) -> tuple[str, str] | None:
    return _ALLOWED if calls.allowed and calls.last_denied is None else None


def _too_large(size: int) -> Failed:
    return Failed(
        FailureClass.LIMIT_EXCEEDED,
        f"The module's output is {size} bytes, more than the {MAX_OUTPUT_BYTES} of outputSize allowed.",
    )


def _unfit(result: Result, trigger: Trigger) -> Failed:
    return Failed(FailureClass.MODULE_ERROR, f"The module answered {trigger} with {type(result).__name__}.")


def _applied(
    status: JobStatus,
    now: datetime,
    calls: Calls,
    authorized: tuple[str, str] | None = None,
    events: tuple[Event, ...] = (),
    observation_error: str | None = None,
) -> Verdict:
    if authorized is None and calls.allowed:
        authorized = _ALLOWED
    derived = conditions.derive(status, now, authorized=authorized, observation_error=observation_error)
    return Verdict(Ruling.APPLIED, draft.update(status, conditions=derived), events=events)
