"""Moves on a status: what `decide` and `complete` are written in. Each returns a new status and writes nothing."""

from datetime import datetime
from typing import Any

from curation.api.clipping import clip
from curation.api.job import (
    MAX_HISTORY,
    MAX_MESSAGE,
    AbandonedRun,
    HistoryEntry,
    JobStatus,
    Run,
    Session,
    SessionReference,
)
from curation.api.names import MAX_LOG_BYTES, Phase, RunOutcome
from curation.lifecycle import table
from curation.lifecycle.table import Cause


def message_of(text: str) -> str:
    """The text, cut to what a message of the status may hold."""
    return clip(text, MAX_MESSAGE)


def sentence(text: str) -> str:
    """The text with a capital at its start and a full stop at its end."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", "…")) else ".")


def tail(log: str) -> str | None:
    """The end of a module's log that a status may hold (bytes, UTF-8), or None if there is none."""
    kept = log.encode()[-MAX_LOG_BYTES:].decode(errors="ignore")
    return kept or None


def update(status: JobStatus, **fields: Any) -> JobStatus:
    """The status with these fields replaced."""
    return status.model_copy(update=fields)


def enter(
    status: JobStatus, cause: Cause, phase: Phase, reason: str, message: str, now: datetime, **fields: Any
) -> JobStatus:
    """Move to a phase. Raises IllegalTransitionError where the table does not have it."""
    table.check(cause, status.phase, phase)
    return update(
        status,
        phase=phase,
        phase_since=now,
        reason=str(reason),
        message=message_of(message),
        **{"retry_at": None, **fields},
    )


def record(status: JobStatus, run: Run, outcome: RunOutcome, reason: str, now: datetime) -> JobStatus:
    """Put the end of a run into the history; a later end of the same run replaces the earlier one."""
    entry = HistoryEntry.model_construct(id=run.id, outcome=outcome, reason=str(reason), finished_at=now)
    others = tuple(old for old in status.history if old.id != run.id)
    return update(status, history=(*others, entry)[-MAX_HISTORY:])


def finish_run(status: JobStatus, now: datetime, log: str | None = None) -> JobStatus:
    """Note that the current run has ended."""
    if status.run is None or status.run.finished_at is not None:
        return status
    return update(status, run=status.run.model_copy(update={"finished_at": now, "log": log}))


def abandon(status: JobStatus, now: datetime) -> JobStatus:
    """Put the current run, with its session if there is one, among those to be cleaned.

    There is always room: a claim leaves at most 19 entries, and a job that has a run in flight and 20 is not read.
    """
    run = status.run
    if run is None or any(entry.id == run.id for entry in status.abandoned_runs):
        return status
    return update(status, abandoned_runs=(*status.abandoned_runs, abandoned_entry(run, status.session, now)))


def abandoned_entry(run: Run, session: Session | None, now: datetime) -> AbandonedRun:
    """What cancelling this run takes."""
    own = session if session is not None and session.run_id == run.id else None
    return AbandonedRun.model_construct(
        id=run.id,
        session=SessionReference(id=own.id, url=own.url) if own is not None else None,
        module=run.module,
        config=run.config,
        since=now,
    )


def end_current(status: JobStatus, outcome: RunOutcome, reason: str, now: datetime) -> JobStatus:
    """Abandon a run that is Submitted or Running, and take its session out of the status; else change nothing."""
    run = status.run
    if run is None or status.phase not in (Phase.SUBMITTED, Phase.RUNNING):
        return status
    status = record(finish_run(abandon(status, now), now), run, outcome, reason, now)
    return update(status, session=None)
