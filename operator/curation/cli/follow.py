"""watch: a live table of jobs.

It asks again and again, at least a second apart and never busier than a tenth of the time: a table for one person is
not worth a watch that has to be kept alive.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from curation.api.clipping import clip
from curation.api.job import CurationJob
from curation.api.names import ConditionType, EventReason, Phase
from curation.api.reading import Unreadable, read
from curation.api.remains import remains_of
from curation.cli.access import Cluster
from curation.cli.errors import PluginError
from curation.cli.options import all_namespaces_option, with_cluster
from curation.cli.output import note, say
from curation.cli.shell_completion import JOB
from curation.cli.text import age, plural, safe
from curation.cli.when import Duration
from curation.cluster.answers import Document
from curation.cluster.resources import JOBS
from curation.lifecycle.conditions import OBSERVATION_FAILED, find

FOLLOW_INTERVAL: Final = 1.0
REST_FACTOR: Final = 9.0
"""Rest after a request, in lengths of that request."""
PATIENCE: Final = timedelta(seconds=60)
"""How long the API server may be away before the command gives up."""

STYLES: Final = {
    Phase.SUBMITTED: "cyan",
    Phase.RUNNING: "cyan",
    Phase.AWAITING_APPROVAL: "yellow",
    Phase.COMPLETED: "green",
    Phase.FAILED: "red",
}
HEADER: Final = ("NAME", "PHASE", "REASON", "ATTEMPT", "SESSION", "FOR", "MESSAGE")
GIVES_WAY: Final = ("SESSION", "ATTEMPT", "REASON", "FOR")
"""Columns that leave a narrow terminal, in this order."""
MESSAGE_WIDTH: Final = 24
"""What the message is to have before the others give way."""

UNREADABLE: Final = EventReason.UNREADABLE.value

Jobs = dict[tuple[str, str], CurationJob]


@click.command()
@click.argument("names", nargs=-1, type=JOB, metavar="[NAME...]")
@all_namespaces_option
@click.option("-l", "--selector", metavar="SELECTOR", help="Label selector, such as team=a.")
@click.option("--until-finished", is_flag=True, help="End when all are Completed (exit code 0) or one has Failed (1).")
@click.option("--timeout", "limit", type=Duration(), metavar="5m", help="End after this time, with exit code 1.")
@with_cluster
async def watch(
    cluster: Cluster,
    names: tuple[str, ...],
    all_namespaces: bool,
    selector: str | None,
    until_finished: bool,
    limit: timedelta | None,
) -> None:
    """Show jobs in a live table.

    Ctrl-C ends it.
    Where the output is no terminal, each change is a line.
    """
    if names and (all_namespaces or selector):
        raise click.UsageError("give names, or -A and --selector")
    for name in names:
        await cluster.get(JOBS, name)
    show = _Screen(all_namespaces) if sys.stdout.isatty() else _Lines(all_namespaces)
    jobs: Jobs = {}
    seen: set[tuple[str, str]] = set()
    try:
        async with asyncio.timeout(limit.total_seconds() if limit else None):
            with show:
                async for jobs in _snapshots(cluster, names, all_namespaces, selector):
                    seen |= set(jobs)
                    show.update(jobs, cluster.now())
                    if until_finished and seen and _decided(jobs):
                        break
    except TimeoutError:
        open_ones = sorted(name for (_, name), job in jobs.items() if not _finished(job))
        # Without --until-finished all may have finished, and a watch of what is to come may show none.
        raise PluginError(
            f"not finished in time: {', '.join(open_ones[:10])}" if open_ones else "--timeout is over"
        ) from None
    except asyncio.CancelledError:
        # Ctrl-C is how a watch ends; only one that was to see the end has then failed.
        if until_finished:
            raise
        return
    _conclude(jobs, seen)


def _conclude(jobs: Jobs, seen: set[tuple[str, str]]) -> None:
    gone = sorted(name for namespace, name in seen - set(jobs))
    failed = sorted(name for (_, name), job in jobs.items() if _failed(job))
    unreadable = sorted(name for (_, name), job in jobs.items() if _unreadable(job))
    if gone:
        note(f"deleted meanwhile: {', '.join(gone)}")
    if failed:
        note(f"{plural(len(failed), 'job')} failed: {', '.join(failed)}")
    if unreadable:
        note(f"cannot be read: {', '.join(unreadable)}; see: kubectl curation why NAME")
    if gone or failed or unreadable:
        click.get_current_context().exit(1)


def _decided(jobs: Jobs) -> bool:
    """Whether the exit code is known: one job that has failed settles it, whatever the others come to."""
    return any(map(_failed, jobs.values())) or all(_finished(job) or _unreadable(job) for job in jobs.values())


def _unreadable(job: CurationJob) -> bool:
    return job.status.phase is None and job.status.reason == UNREADABLE


def _failed(job: CurationJob) -> bool:
    return _finished(job) and job.status.phase is Phase.FAILED


def _finished(job: CurationJob) -> bool:
    status = job.status
    # A status of an older generation shows the end of another run.
    return status.phase is not None and status.phase.terminal and status.observed_generation >= job.metadata.generation


async def _snapshots(
    cluster: Cluster, names: Sequence[str], everywhere: bool, selector: str | None
) -> AsyncIterator[Jobs]:
    loop = asyncio.get_running_loop()
    answered = loop.time()
    while True:
        began = loop.time()
        try:
            documents = await _read(cluster, names, everywhere, selector)
            answered = loop.time()
        except PluginError as error:
            if loop.time() - answered > PATIENCE.total_seconds() or "gave no answer" not in error.message:
                raise
        else:
            jobs = map(_shown, documents)
            yield {(job.metadata.namespace, job.metadata.name): job for job in jobs}
        await asyncio.sleep(max(FOLLOW_INTERVAL, REST_FACTOR * (loop.time() - began)))


def _shown(document: Document) -> CurationJob:
    """The job; one that cannot be read says so in place of its phase."""
    try:
        return read(CurationJob, document)
    except Unreadable as error:
        left = remains_of(document)
        status = left.status.model_copy(update={"reason": UNREADABLE, "message": str(error)})
        return left.model_copy(update={"status": status})


async def _read(cluster: Cluster, names: Sequence[str], everywhere: bool, selector: str | None) -> list[Document]:
    if not names:
        return await cluster.list(JOBS, everywhere=everywhere, label_selector=selector)
    found = await asyncio.gather(*(cluster.find(JOBS, name) for name in names))
    return [document for document in found if document is not None]


def _cells(job: CurationJob, now: datetime) -> list[str]:
    status = job.status
    return [
        job.metadata.name,
        status.phase or (UNREADABLE if status.reason == UNREADABLE else ""),
        status.reason,
        str(status.run.attempt) if status.run else "",
        status.session.id if status.session else "",
        age(status.phase_since or job.metadata.creation_timestamp, now),
        clip(status.message, 200),
    ]


def screen_rows(jobs: Jobs, now: datetime, namespaces: bool, width: int) -> list[list[str]]:
    """The table for a terminal of so many columns, its header first.

    What identifies a job and its phase is never cut; where there is too little room, columns give way one by one.
    """
    rows = [[*["NAMESPACE"] * namespaces, *HEADER]]
    for (namespace, _), job in sorted(jobs.items()):
        cells = [safe(cell) for cell in _cells(job, now)]
        rows.append([*[namespace] * namespaces, *cells[:-1], safe(_news(job))])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    shown = list(range(len(rows[0])))

    def room() -> int:
        return width - sum(widths[column] + 1 for column in shown[:-1])

    for title in GIVES_WAY:
        if room() >= MESSAGE_WIDTH:
            break
        shown.remove(rows[0].index(title))
    if room() < len(HEADER[-1]):
        shown.pop()
        return [[row[column] for column in shown] for row in rows]
    return [[*(row[column] for column in shown[:-1]), clip(row[-1], room())] for row in rows]


def _news(job: CurationJob) -> str:
    """What the other columns do not show: of a session its trouble, its progress or where it is."""
    status, session = job.status, job.status.session
    if status.phase is not Phase.RUNNING or session is None:
        return clip(status.message, 200)
    reconciling = find(status.conditions, ConditionType.RECONCILING)
    if reconciling is not None and reconciling.reason == OBSERVATION_FAILED:
        return clip(reconciling.message, 200)
    if session.progress:
        return clip(json.dumps(session.progress, ensure_ascii=False), 200)
    return clip(session.url or "", 200)


class _Screen:
    """The table on a terminal."""

    def __init__(self, namespaces: bool) -> None:
        self._namespaces = namespaces
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="ellipsis")

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def update(self, jobs: Jobs, now: datetime) -> None:
        """Draw it anew."""
        header, *rows = screen_rows(jobs, now, self._namespaces, self._console.width)
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", expand=False)
        for title in header:
            table.add_column(title, no_wrap=True, overflow="crop")
        for row, (_, job) in zip(rows, sorted(jobs.items()), strict=True):
            cells = [Text(cell) for cell in row]
            cells[header.index("PHASE")].stylize(STYLES.get(job.status.phase, "") if job.status.phase else "")
            table.add_row(*cells)
        self._live.update(table, refresh=True)


class _Lines:
    """A line for each change, for pipes and logs."""

    def __init__(self, namespaces: bool) -> None:
        self._namespaces = namespaces
        self._printed: dict[tuple[str, str], list[str]] = {}

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def update(self, jobs: Jobs, now: datetime) -> None:
        """Print what is new."""
        for key in [key for key in self._printed if key not in jobs]:
            del self._printed[key]
            self._print(key, ["(deleted)"])
        for key, job in sorted(jobs.items()):
            _, phase, reason, attempt, session, _, message = _cells(job, now)
            facts = [phase or "(new)", reason, f"attempt {attempt}" if attempt else "", session, message]
            if self._printed.get(key) != facts:
                self._printed[key] = facts
                self._print(key, facts)

    def _print(self, key: tuple[str, str], facts: list[str]) -> None:
        name = "/".join(key) if self._namespaces else key[1]
        say("  ".join([name, *(safe(fact) for fact in facts if fact)]))
