"""why NAME: one screen that says what a job is doing, what decided that, and what a person can do about it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from curation.api.clipping import clip
from curation.api.job import CurationJob
from curation.api.names import ANNOTATION_CREATED_BY, ANNOTATION_EDITED_BY, ANNOTATION_REQUESTED_BY, Phase
from curation.api.reading import Unreadable, read
from curation.api.remains import remains_of
from curation.authz.decision import Decision
from curation.cli import advice, waiting
from curation.cli.access import Cluster
from curation.cli.known import Happening, Known, events_of, gather
from curation.cli.options import ANSWER_FORMATS, output_option, with_cluster
from curation.cli.output import colour, print_document, say
from curation.cli.shell_completion import JOB
from curation.cli.text import age, safe
from curation.cluster.answers import Document
from curation.cluster.resources import JOBS


@dataclass(frozen=True)
class Section:
    """A heading of the screen and its lines; ``key`` names it in the JSON form."""

    key: str
    title: str
    lines: tuple[str, ...]


@click.command()
@click.argument("name", type=JOB)
@output_option(ANSWER_FORMATS)
@with_cluster
async def why(cluster: Cluster, name: str, output: str | None) -> None:
    """Explain on one screen what a job is doing.

    Its phase, its last decision, what it waits for, and what you can do.

    This command runs the operator's own gate again, on the policies and approvals that you may read.
    """
    document = await cluster.get(JOBS, name)
    try:
        job = read(CurationJob, document)
    except Unreadable as error:
        sections = await _explain_unreadable(cluster, document, error)
        head: dict[str, Any] = {"namespace": cluster.namespace, "name": name}
        answer = {**head, **{section.key: list(section.lines) for section in sections if section.key != "job"}}
    else:
        known = await gather(cluster, job)
        sections = explain(known)
        answer = _document(known, sections)
    if output:
        print_document(answer, output)
        return
    width = max(len(section.title) for section in sections) + 2
    for section in sections:
        for index, line in enumerate(section.lines):
            title = f"{section.title}:" if index == 0 else ""
            shown = safe(line)
            if section.key == "phase":
                shown = shown.replace(line.split()[0], colour(line.split()[0]), 1)
            say(f"{title.ljust(width)} {shown}")


async def _explain_unreadable(cluster: Cluster, document: Document, error: Unreadable) -> list[Section]:
    """The screen of a job that cannot be read."""
    left, unread = remains_of(document), list[str]()
    events = await events_of(cluster, left.metadata.uid, unread)
    gone = left.metadata.deletion_timestamp is not None
    name = left.metadata.name
    delete = f"kubectl delete curationjob {name}{cluster.flag()}   # cancels its sessions first"
    steps = () if gone else (error.remedy, delete)
    sections = (
        Section("job", "Job", (f"{left.metadata.namespace}/{name}",)),
        Section("unreadable", "Unreadable", (f"{error.fault.field or 'the object'}: {error.fault.problem}",)),
        Section("session", "Session", (left.status.session.id,) if left.status.session is not None else ()),
        Section("abandoned", "Clean-up", _abandoned(left, cluster.now(), "" if gone else " once the job is deleted")),
        Section("events", "Events", _events(events, cluster.now())),
        Section("next", "You can", steps),
        Section("notes", "Note", tuple(unread)),
    )
    return [section for section in sections if section.lines]


def explain(known: Known) -> list[Section]:
    """The screen, without the sections that have nothing to say."""
    sections = (
        Section("job", "Job", _job(known)),
        Section("phase", "Phase", (_phase(known),)),
        Section("message", "Message", (known.job.status.message,)),
        Section("run", "Run", _run(known)),
        Section("module", "Module", (f"{known.job.spec.module_ref.name}: {waiting.module_state(known)}",)),
        Section("sources", "Given", _sources(known)),
        Section("session", "Session", _session(known)),
        Section("decision", "Decision", _decision(known)),
        Section("waitsFor", "Waits for", tuple(waiting.waits_for(known))),
        Section("abandoned", "Clean-up", _abandoned(known.job, known.now)),
        Section("events", "Events", _events(known.events, known.now)),
        Section("next", "You can", tuple(advice.next_steps(known))),
        Section("notes", "Note", known.unread),
    )
    return [
        Section(section.key, section.title, lines)
        for section in sections
        if (lines := tuple(line for line in section.lines if line))
    ]


def _document(known: Known, sections: list[Section]) -> dict[str, Any]:
    status: dict[str, Any] = known.job.status.to_wire()
    shown = ("phase", "reason", "phaseSince", "message", "retryAt", "run", "session")
    head: dict[str, Any] = {key: status[key] for key in shown if key in status}
    lines = {s.key: list(s.lines) for s in sections if s.key not in ("job", "phase", "message", "run", "session")}
    return {"namespace": known.job.metadata.namespace, "name": known.job.metadata.name, **head, **lines}


def _job(known: Known) -> tuple[str, ...]:
    metadata = known.job.metadata
    by = metadata.annotations.get(ANNOTATION_CREATED_BY)
    created = f"created {age(metadata.creation_timestamp, known.now)} ago" + (f" by {by}" if by else "")
    requested, edited = (metadata.annotations.get(name) for name in (ANNOTATION_REQUESTED_BY, ANNOTATION_EDITED_BY))
    return (
        f"{metadata.namespace}/{metadata.name}, {created}, generation {metadata.generation}",
        f"last requested by {requested}" if requested and requested != by else "",
        f"what it runs was last changed by {edited}" if edited else "",
    )


def _phase(known: Known) -> str:
    status = known.job.status
    if status.phase is None:
        return "(none yet)"
    reason = f" ({status.reason})" if status.reason and status.reason != status.phase else ""
    return f"{status.phase}{reason} for {age(status.phase_since, known.now)}"


def _run(known: Known) -> tuple[str, ...]:
    run = known.job.status.run
    if run is None:
        return ()
    ended = f", ended {age(run.finished_at, known.now)} ago" if run.finished_at else ""
    retries = f", {run.retries} of them automatic retries" if run.retries else ""
    return (
        f"attempt {run.attempt} of generation {run.generation}{retries}, "
        f"started {age(run.submitted_at, known.now)} ago{ended}",
        f"id {run.id}",
        f"module {run.module.name} {run.module.digest}",
        f"in pod {run.pod.name}{f', on node {run.pod.node}' if run.pod.node else ''}" if run.pod is not None else "",
        f"held by {run.holder}" if known.job.status.phase in (Phase.SUBMITTED, Phase.RUNNING) else "",
    )


def _sources(known: Known) -> tuple[str, ...]:
    spec, lines = known.job.spec, []
    if spec.input_from is not None:
        reference = spec.input_from.config_map_key_ref
        lines.append(f"the input of ConfigMap {reference.name}, key {reference.key}")
    if spec.config_from is not None:
        lines.append(f"the configuration of ConfigMap {spec.config_from.config_map_ref.name}")
    if known.job.status.frozen is None:
        return tuple(f"{line}, which is read when a run is claimed" for line in lines)
    return tuple(f"{line}, as it was at the first attempt (status.frozen); a rerun takes it anew" for line in lines)


def _session(known: Known) -> tuple[str, ...]:
    session = known.job.status.session
    if session is None:
        return ()
    url = f" {session.url}" if session.url else ""
    return (f"{session.id}{url}, started {age(session.spawned_at, known.now)} ago",)


def _decision(known: Known) -> tuple[str, ...]:
    said, waited = advice.authorized(known), known.job.status.approval
    decided_now = "" if known.waited is None else known.waited.reason
    # The job's message, and what the gate decides now, mostly say the same: a cause is shown once.
    twice = any(known_already and known_already in said for known_already in (decided_now, known.job.status.message))
    lines = [f"operator: {clip(said, 600)}"] if said and not twice else []
    lines += [f"invalid: {line}" for line in known.invalid]
    if waited is not None and known.waited is not None:
        lines += _verdict(known.waited)
    for evaluated in known.requests:
        approval = evaluated.approval
        if waited is not None and approval.metadata.name == waited.name:
            lines += [f"forbidden despite the approval: {line}" for line in approval.status.forbidden]
            continue
        state = f"CurationApproval {approval.metadata.name} is {approval.spec.decision}"
        lines += [state, *_verdict(evaluated.decision)]
    return tuple(lines)


def _verdict(decision: Decision) -> list[str]:
    """The gate's own sentence, which names the call and the policies, unless a policy failed."""
    lines = [f"checked now: {'allowed' if decision.allowed else 'denied'}: {decision.reason}"]
    if decision.policies and decision.errors:
        lines.append(f"decided by: {', '.join(decision.policies)}")
    return lines


def _abandoned(job: CurationJob, now: datetime, when: str = "") -> tuple[str, ...]:
    return tuple(
        f"run {entry.id}: "
        + (f"session {entry.session.id}" if entry.session else "whatever it has created")
        + f" is still to be cancelled{when}, abandoned {age(entry.since, now)} ago"
        for entry in job.status.abandoned_runs
    )


def _events(events: tuple[Happening, ...], now: datetime) -> tuple[str, ...]:
    return tuple(
        f"{age(event.at, now)} ago  {'Warning' if event.warning else 'Normal'}  {event.reason}"
        + (f" (x{event.count})" if event.count > 1 else "")
        + f"  {clip(event.message, 300)}"
        for event in events
    )
