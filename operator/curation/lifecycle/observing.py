"""How long until a session is observed again: ever longer while nothing changes. Times are in seconds.

The interval is the time for which nothing has changed, between the two bounds of `spec.observe`. So it doubles from one
observation to the next, and a process that has just started finds it in the times of the status: nothing is written
for it.
"""

from datetime import datetime, timedelta
from typing import Final

from curation.api.job import CurationJob, Observe
from curation.api.names import Trigger
from curation.lifecycle.complete import Ruling, Verdict
from curation.lifecycle.outcome import Denied, Failed, Report, StillRunning

MAX_BACKOFF_SECONDS: Final = 300.0
"""Observations that fail are at most so far apart, unless the job asks for a longer interval."""


def interval_of(observe: Observe, quiet: float, failures: int = 0) -> float:
    """From one observation to the next, after `quiet` seconds without a change and so many failures in a row.

    Failures double the shortest interval, but never bring an observation forward.
    """
    shortest, longest = float(observe.interval_seconds), float(observe.max_interval_seconds)
    calm = max(shortest, min(quiet, longest))
    if not failures:
        return calm
    return max(calm, min(shortest * 2.0 ** min(failures - 1, 20), max(MAX_BACKOFF_SECONDS, longest)))


def quiet_of(job: CurationJob, now: datetime) -> float:
    """For how long nothing has changed with the session, as far as the status says."""
    session = job.status.session
    times = (job.status.phase_since, session.progress_at if session is not None else None)
    known = [time for time in times if time is not None]
    return max(0.0, (now - max(known)) / timedelta(seconds=1)) if known else 0.0


def is_failure(report: Report) -> bool:
    """Whether an observation has told nothing of the session."""
    return isinstance(report.result, Failed | Denied)


def is_settled(job: CurationJob, report: Report, verdict: Verdict) -> bool:
    """Whether nothing follows from the verdict about this observation: no write, no Event, nothing to ask or cancel."""
    return (
        report.trigger is Trigger.OBSERVE
        and isinstance(report.result, StillRunning | Failed)
        and verdict.ruling is Ruling.APPLIED
        and verdict.status in (None, job.status)
        and verdict.orphan is None
        and verdict.ask is None
        and not verdict.events
    )
