"""The summary: each number with the source that it was taken from. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from demo.facts import Job
from demo.verdict import Evidence


def rows(evidence: Evidence, ten: Sequence[str]) -> list[tuple[str, str, str]]:
    """What, how many, and who says so."""
    jobs = [evidence.jobs[name] for name in ten if name in evidence.jobs]
    more = len(evidence.expected) - len(ten)
    extra = [job for name, job in evidence.jobs.items() if name not in ten]
    applied = evidence.metrics.total("curation_completions_total", verdict="applied")
    versions = sum(len(evidence.history.get(name, ())) for name in evidence.expected)
    events = sum(len(runs) for runs in evidence.dropped.values())
    cancelled = sum(session.state == "cancelled" for session in evidence.sessions)
    live = sum(session.live for session in evidence.sessions)
    owned = sum(evidence.owns_its_session(job) for job in jobs)
    return [
        ("of ten jobs: Running", str(_running(jobs)), "API server: status.phase"),
        ("of ten jobs: killed", str(len(evidence.killed)), f"API server: all {versions} versions that a watch showed"),
        ("of ten jobs: run the session in status", str(owned), "session service by run id, API server"),
        ("stale completions dropped", str(evidence.stale), 'operator: curation_completions_total{verdict="stale"}'),
        ("stale completions in Events", str(events), "API server: Events StaleCompletionDropped"),
        ("stale completions logged", str(len(evidence.logged)), "operator: log"),
        ("completions applied", str(applied), 'operator: curation_completions_total{verdict="applied"}'),
        ("calls allowed, denied", f"{evidence.allowed}, {evidence.denied}", "operator: curation_http_calls_total"),
        ("calls received", str(len(evidence.calls)), "session service: log"),
        ("sessions made, cancelled, live", f"{len(evidence.sessions)}, {cancelled}, {live}", "session service"),
        ("orphan sessions left", str(len(evidence.orphans)), "session service, API server"),
        *(
            [("freed by approval, by policy: Running", str(_running(extra)), "API server: status.phase")]
            if more
            else []
        ),
    ]


def table(evidence: Evidence, ten: Sequence[str]) -> Table:
    """The rows as a table."""
    shown = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    shown.add_column("WHAT", no_wrap=True)
    shown.add_column("COUNT", justify="right", style="bold", no_wrap=True)
    shown.add_column("SOURCE", style="dim", no_wrap=True)
    for row in rows(evidence, ten):
        shown.add_row(*row)
    return shown


def sentence(evidence: Evidence, ten: Sequence[str]) -> str:
    """The outcome in one line."""
    running = _running([evidence.jobs[name] for name in ten if name in evidence.jobs])
    killed, orphans = len(evidence.killed) or "none", len(evidence.orphans) or "no"
    return (
        f"Of ten jobs {running} Running, {killed} killed, {evidence.stale} stale completions dropped, "
        f"{orphans} orphan session left."
    )


def _running(jobs: Sequence[Job]) -> int:
    return sum(job.phase == "Running" for job in jobs)
