"""What the demo knows about a job, a session and a call: read from what the servers say, and nothing else.

Pure. Called by everything in this folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

_DROPPED = re.compile(r"^Run (\S+) ended late")


@dataclass(frozen=True)
class Job:
    """One version of a CurationJob."""

    name: str
    uid: str
    phase: str = ""
    reason: str = ""
    run_id: str = ""
    session: str = ""
    session_run_id: str = ""
    abandoned: tuple[str, ...] = ()
    """The ids of earlier runs that are not yet known to be cleaned."""
    approval: str = ""
    """The name of the approval that the job waits for."""

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Job:
        """From the API server's JSON."""
        meta, status = document["metadata"], document.get("status", {})
        session = status.get("session", {})
        return cls(
            name=meta["name"],
            uid=meta["uid"],
            phase=status.get("phase", ""),
            reason=status.get("reason", ""),
            run_id=status.get("run", {}).get("id", ""),
            session=session.get("id", ""),
            session_run_id=session.get("runID", ""),
            abandoned=tuple(run["id"] for run in status.get("abandonedRuns", ())),
            approval=status.get("approval", {}).get("name", ""),
        )


@dataclass(frozen=True)
class Session:
    """A session of the session service."""

    id: str
    run_id: str
    job_uid: str
    state: str

    @property
    def live(self) -> bool:
        """Whether an agent still works in it."""
        return self.state in ("created", "running")

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Session:
        """From the service's JSON."""
        return cls(document["id"], document["runID"] or "", document["job"] or "", document["state"])


@dataclass(frozen=True)
class Call:
    """A call of a run that the session service has received."""

    run_id: str
    answered: bool

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Call:
        """From an entry of the service's log."""
        return cls(document["runID"], document["answered"] is not None)


@dataclass(frozen=True)
class Metrics:
    """One scrape of the operator."""

    samples: tuple[tuple[str, Mapping[str, str], float], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Metrics:
        """From the text exposition format."""
        families = text_string_to_metric_families(text)
        return cls(tuple((s.name, s.labels, s.value) for family in families for s in family.samples))

    def total(self, name: str, **labels: str) -> int:
        """The sum of a metric over all label sets that include these."""
        wanted = labels.items()
        return round(sum(value for found, has, value in self.samples if found == name and wanted <= has.items()))


def attempt(run_id: str) -> str:
    """`g2.a1` of a run id: generation 2, attempt 1."""
    return run_id.partition(".")[2]


def dropped_run(note: str) -> str:
    """The run that an Event of reason StaleCompletionDropped is about."""
    found = _DROPPED.match(note)
    return found[1] if found else ""


def killed(versions: Iterable[Job]) -> str:
    """How a running session was taken from its job, in one job's versions in order; empty if it was not.

    In the demo no session ends and nobody edits a Running job: whatever follows Running can only be more of the same.
    """
    running: Job | None = None
    for job in versions:
        if running is None:
            running = job if job.phase == "Running" else None
        elif (job.phase, job.run_id, job.session) != (running.phase, running.run_id, running.session):
            return (
                f"{job.name} ran {running.session} in {attempt(running.run_id)}, then became {job.phase} "
                f"({job.reason}) with {job.session or 'no session'} in {attempt(job.run_id)}"
            )
    return ""
