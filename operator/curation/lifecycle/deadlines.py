"""When a phase has lasted too long, and when a finished job has outlived its TTL."""

from datetime import datetime, timedelta
from typing import Final

from curation.api.job import CurationJob, JobStatus
from curation.api.names import Phase, Reason

HELD_AT_MOST: Final = timedelta(minutes=10)
"""How long an object that is being deleted is kept for the sake of the sessions that it may be needed for."""


def limit_of(job: CurationJob, phase: Phase) -> int | None:
    """How long the job may stay in the phase, in seconds; None: as long as it takes."""
    timeouts = job.spec.timeouts
    return {
        Phase.QUEUED: timeouts.queued_seconds,
        Phase.SUBMITTED: timeouts.submitted_seconds,
        Phase.AWAITING_APPROVAL: timeouts.approval_seconds,
        Phase.RUNNING: timeouts.running_seconds,
    }.get(phase)


def deadline_of(job: CurationJob, status: JobStatus) -> datetime | None:
    """When the phase of this status times out; of a finished job, when its TTL ends."""
    if status.phase is None or status.phase_since is None:
        return None
    if status.phase.terminal:
        ttl = job.spec.ttl_seconds_after_finished
        return None if ttl is None else status.phase_since + timedelta(seconds=ttl)
    limit = limit_of(job, status.phase)
    if limit is None or status.reason in (Reason.SUSPENDED, Reason.WAITING_FOR_CLEANUP):
        return None
    if status.phase is Phase.AWAITING_APPROVAL and status.approval is None:
        return None  # nobody has anything to decide
    since = status.phase_since
    if status.phase is Phase.QUEUED and status.retry_at is not None:
        since = max(since, status.retry_at)
    return since + timedelta(seconds=limit)


def outlived(job: CurationJob, status: JobStatus, now: datetime) -> bool:
    """Whether the job is to be deleted: finished, seen at its present generation, and its TTL has ended."""
    if status != job.status or status.phase is None or not status.phase.terminal:
        return False
    deadline = deadline_of(job, status)
    return deadline is not None and now >= deadline and job.metadata.generation == job.status.observed_generation
