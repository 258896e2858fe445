"""rerun, suspend, resume: the edits of a job that a person makes by hand, and that Git may object to."""

import json
from typing import Final

import click

from curation.api.job import CurationJob
from curation.api.names import Phase
from curation.api.reading import Unreadable, read
from curation.api.remains import remains_of
from curation.cli.access import Cluster
from curation.cli.errors import ChangedMeanwhile, PluginError
from curation.cli.options import OBJECT_FORMATS, output_option, with_cluster
from curation.cli.output import note, print_object, say
from curation.cli.ownership import check_owners
from curation.cli.shell_completion import JOB
from curation.cli.text import plural
from curation.cluster.answers import Document
from curation.cluster.resources import JOBS

# A job's status is written a few times a second at most; after each conflict the owners are checked again.
TRIES: Final = 8

_force = click.option("--force", is_flag=True, help="Change the field even if another manager has applied it.")
_dry_run = click.option("--dry-run", is_flag=True, help="Ask the server whether it would work; change nothing.")


@click.command()
@click.argument("name", type=JOB)
@_force
@_dry_run
@output_option(OBJECT_FORMATS)
@with_cluster
async def rerun(cluster: Cluster, name: str, force: bool, dry_run: bool, output: str | None) -> None:
    """Start a new run of a job.

    Writes a new value to spec.rerun. A run that is still in flight is abandoned, and its session cancelled.
    """
    before, after = await _set(cluster, name, "rerun", None, force, dry_run)
    if output:
        print_object(JOBS, after, output)
        return
    _done(name, "rerun requested", dry_run)
    job = _job(before)
    if job.status.phase in (Phase.SUBMITTED, Phase.RUNNING) and job.status.run is not None:
        note(f"run {job.status.run.id} was {job.status.phase}: it is abandoned, and its session cancelled")
    if job.spec.suspend:
        note(f"the job is suspended and stays Queued; go on with: kubectl curation resume {name}{cluster.flag()}")


@click.command()
@click.argument("name", type=JOB)
@_force
@_dry_run
@output_option(OBJECT_FORMATS)
@with_cluster
async def suspend(cluster: Cluster, name: str, force: bool, dry_run: bool, output: str | None) -> None:
    """Hold a job: no run is started.

    A run in flight is abandoned, and its session cancelled.
    """
    before, after = await _set(cluster, name, "suspend", True, force, dry_run)
    if output:
        print_object(JOBS, after, output)
        return
    job = _job(before)
    _done(name, "suspended" if before is not after else "is suspended already", dry_run)
    if job.status.phase is not None and job.status.phase.terminal:
        note(f"the job has finished ({job.status.phase}); this holds its next run, after a rerun or an edit")


@click.command()
@click.argument("name", type=JOB)
@_force
@_dry_run
@output_option(OBJECT_FORMATS)
@with_cluster
async def resume(cluster: Cluster, name: str, force: bool, dry_run: bool, output: str | None) -> None:
    """Let a suspended job go on."""
    before, after = await _set(cluster, name, "suspend", False, force, dry_run)
    if output:
        print_object(JOBS, after, output)
        return
    _done(name, "resumed" if before is not after else "is not suspended", dry_run)


def _job(document: Document) -> CurationJob:
    """The job; where it cannot be read, what is left of it, and a word about it."""
    try:
        return read(CurationJob, document)
    except Unreadable as error:
        note(f"the operator cannot read this job and does nothing about it: {error}")
        return remains_of(document)


def _done(name: str, what: str, dry_run: bool) -> None:
    say(f"curationjob.{JOBS.group}/{name} {what}{' (server dry run)' if dry_run else ''}")


async def _set(
    cluster: Cluster, name: str, field: str, value: object, force: bool, dry_run: bool
) -> tuple[Document, Document]:
    """The job before and after; the same object twice when the field has the value already.

    A value of None is one that was never there before: the time.
    """
    for _ in range(TRIES):
        seen = await cluster.get(JOBS, name)
        if value is not None and seen["spec"].get(field, False) == value:
            return seen, seen
        if "deletionTimestamp" in seen["metadata"]:
            raise PluginError(f"{cluster.named(JOBS, name)} is being deleted; create it again once it is gone")
        wanted = cluster.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ") if value is None else value
        line = f"\n  spec:\n    {field}: {json.dumps(wanted)}"
        check_owners(
            cluster,
            JOBS,
            seen,
            field,
            force=force,
            refused=", and the next apply would set it back.\n"
            f"Write in the manifest (in Git) instead:{line}\nor use --force to change it here all the same.",
            forced=f": the next apply of that manifest sets it back, unless you also write there:{line}",
        )
        try:
            return seen, await cluster.patch(JOBS, seen, {"spec": {field: wanted}}, dry_run=dry_run)
        except ChangedMeanwhile:
            continue
    raise PluginError(
        f"{cluster.named(JOBS, name)} changed {plural(TRIES, 'time')} while spec.{field} was being written; try again"
    )
