"""Whether a status write has landed whose answer does not say so: the job itself tells, and nothing else does."""

from curation.api.job import CurationJob, JobStatus, status_to_wire


def landed(before: CurationJob, planned: JobStatus, now: CurationJob) -> bool:
    """Whether `planned`, computed from `before`, was written: `now` shows it, or a status that came of it.

    A claim has landed only while the status names its run and its holder: it is launched then. Whatever else ends a
    run has landed once its entry is in the history, whoever has gone on from there. A write that moves nothing of that
    is known by the whole status.
    """
    status = now.status
    if now.metadata.uid != before.metadata.uid:
        return False
    if _run(planned) != _run(before.status):
        return _mark(status) == _mark(planned)
    # Trap: the ends of earlier runs are in each of the three histories.
    if any(entry in status.history for entry in planned.history if entry not in before.status.history):
        return True
    if _mark(planned) != _mark(before.status):
        return _mark(status) == _mark(planned)
    return status_to_wire(status) == status_to_wire(planned)


def _run(status: JobStatus) -> tuple[str, str] | None:
    return (status.run.id, status.run.holder) if status.run is not None else None


def _mark(status: JobStatus) -> tuple[object, ...]:
    """What no two writes have in common: a phase begins at a microsecond of the process that writes it."""
    session = status.session.id if status.session is not None else None
    return _run(status), status.phase, status.reason, status.phase_since, session
