"""The table of the jobs, and what it says about earlier attempts. Pure but for reading the board."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from demo.board import Board
from demo.facts import Job, attempt

_STYLES = {
    "Running": "green",
    "Failed": "red",
    "Submitted": "yellow",
    "AwaitingApproval": "magenta",
    "Queued": "cyan",
    "Completed": "blue",
}
_WIDEST_SESSION = "session-mellow-plover-548024767403d8de"


def jobs_table(board: Board) -> Table:
    """One row for each job."""
    live, orphans = len(board.live()), len(board.orphans())
    stale = board.metrics.total("curation_completions_total", verdict="stale")
    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
        caption=f"\nlive sessions: {live}   of them orphans: {orphans}   stale completions dropped: {stale}",
        caption_justify="left",
        caption_style="dim",
    )
    table.add_column("JOB", no_wrap=True, min_width=10)
    table.add_column("PHASE", no_wrap=True, min_width=18)
    table.add_column("RUN", no_wrap=True, min_width=5)
    table.add_column("SESSION", no_wrap=True, min_width=len(_WIDEST_SESSION))
    table.add_column("EARLIER ATTEMPT", no_wrap=True, min_width=29)
    for name in sorted(board.jobs, key=_number):
        job = board.jobs[name]
        note, style = earlier_attempt(board, job)
        table.add_row(name, phase(job), attempt(job.run_id), Text(job.session, style="green"), Text(note, style=style))
    return table


def phase(job: Job) -> Text:
    """The phase, with the reason where the phase alone says too little."""
    said = f"Failed ({job.reason})" if job.phase == "Failed" else job.phase or "new"
    return Text(f"● {said}", style=_STYLES.get(job.phase, "dim"))


def earlier_attempt(board: Board, job: Job) -> tuple[str, str]:
    """What has become of the answer to an earlier attempt (or is keeping the present one waiting), and its style."""
    if job.phase == "AwaitingApproval":
        return "waits for an approval", "magenta"
    for run in _runs(board, job):
        label = attempt(run)
        if any(call.run_id == run and not call.answered for call in board.calls):
            if run == job.run_id:
                return "its answer is held back", "yellow"
            return f"{label} superseded, unanswered", "yellow"
        if run in board.dropped.get(job.name, ()):
            alive = any(session.run_id == run for session in board.live())
            return f"{label} dropped, {'still alive' if alive else 'cancelled'}", "bold green"
        if run in job.abandoned:
            return f"{label} superseded", "yellow"
    return "", ""


def _runs(board: Board, job: Job) -> Iterator[str]:
    """All known runs of a job, the oldest first."""
    known = {version.run_id for version in board.history.get(job.name, ())} | {job.run_id, *job.abandoned}
    yield from sorted(run for run in known if run)


def _number(name: str) -> str:
    return name.rpartition("-")[2]
