"""approvals, runs, logs: what there is, in tables that read like kubectl's."""

import re
from typing import Final

import click

from curation.api.approval import ApprovalDecision, CurationApproval, grant_ends
from curation.api.clipping import clip
from curation.api.job import CurationJob
from curation.api.names import Phase
from curation.cli.access import Cluster, parse, parse_all
from curation.cli.decided import decider
from curation.cli.errors import PluginError
from curation.cli.options import ANSWER_FORMATS, LIST_FORMATS, OneOf, all_namespaces_option, output_option, with_cluster
from curation.cli.output import note, print_document, print_list, say
from curation.cli.request_line import short_request
from curation.cli.review import state_of
from curation.cli.shell_completion import JOB
from curation.cli.text import age, duration, safe, table
from curation.cluster.resources import APPROVALS, JOBS

# A table is read by lines: a URL that fills three of them hides the rest.
REQUEST_WIDTH: Final = 60

_RUN_ID: Final = re.compile(r".*\.g(\d+)\.a(\d+)")


@click.command()
@all_namespaces_option
@click.option("--decision", type=OneOf(ApprovalDecision), help="Only approvals with this decision.")
@output_option(LIST_FORMATS)
@with_cluster
async def approvals(
    cluster: Cluster, all_namespaces: bool, decision: ApprovalDecision | None, output: str | None
) -> None:
    """List denied requests and their decisions.

    Those that wait for a decision come first.
    """
    documents = await cluster.list(
        APPROVALS,
        everywhere=all_namespaces,
        field_selector=f"spec.decision={decision.value}" if decision is not None else None,
    )
    pairs, unreadable = parse_all(CurationApproval, documents)
    pairs.sort(key=lambda pair: _order(pair[1]))
    if output in ("json", "yaml", "name"):
        print_list(APPROVALS, [*(document for document, _ in pairs), *(document for document, _ in unreadable)], output)
        return
    if not documents:
        note("No approvals found" + ("." if all_namespaces else f" in namespace {cluster.namespace}."))
        return
    wide = output == "wide"
    header = ["NAME", "DECISION", "SCOPE", "REQUEST", "WAITING", "ASKED BY", "AGE", "DECIDED BY"]
    header += ["TRIGGER", "MODULE", "DIGEST", "EXPIRES", "JOBS", "INPUT", "DENIED BECAUSE", "COMMENT", "BEFORE"] * wide
    header = ["NAMESPACE"] * all_namespaces + header
    rows = [[approval.metadata.namespace] * all_namespaces + _row(cluster, approval, wide) for _, approval in pairs]
    for document, problem in unreadable:
        metadata = document["metadata"]
        row = [metadata["name"], "Unreadable", "", problem if wide else clip(problem, REQUEST_WIDTH)]
        row = [metadata.get("namespace", "")] * all_namespaces + row
        rows.append(row + [""] * (len(header) - len(row)))
    say(table(header, rows))


def _order(approval: CurationApproval) -> tuple[bool, str, str]:
    pending = approval.spec.decision is ApprovalDecision.PENDING
    return (not pending, approval.metadata.namespace, approval.metadata.name)


def _row(cluster: Cluster, approval: CurationApproval, wide: bool) -> list[str]:
    spec, status, now = approval.spec, approval.status, cluster.now()
    row = [
        approval.metadata.name,
        state_of(approval, now),
        # Before the decision the scope is nobody's choice yet.
        "" if spec.decision is ApprovalDecision.PENDING else spec.scope.value,
        short_request(spec.request, 4096 if wide else REQUEST_WIDTH),
        str(status.waiting),
        _asked_by(status.requesters),
        age(approval.metadata.creation_timestamp, now),
        decider(approval),
    ]
    if wide:
        ends = grant_ends(approval)
        left = "" if ends is None else "expired" if ends <= now else f"in {duration(ends - now)}"
        row += [spec.request.trigger, spec.request.module, spec.request.module_digest, left, ",".join(status.jobs)]
        first = status.asked[0] if status.asked else None
        row += (
            [clip(first.input or "", REQUEST_WIDTH), clip(first.denied or "", 200)] if first is not None else ["", ""]
        )
        row += [clip(spec.comment or "", REQUEST_WIDTH), ",".join(each.decision for each in spec.earlier)]
    return row


def _asked_by(requesters: tuple[str, ...]) -> str:
    more = len(requesters) - 1
    return f"{requesters[0]} and {more} more" if more > 0 else "".join(requesters)


@click.command()
@click.argument("name", type=JOB)
@output_option((*ANSWER_FORMATS, "wide"))
@with_cluster
async def runs(cluster: Cluster, name: str, output: str | None) -> None:
    """List the last runs of a job, the newest last."""
    job = parse(CurationJob, await cluster.get(JOBS, name))
    entries = [entry.to_wire() for entry in job.status.history]
    run = job.status.run
    if run is not None and job.status.phase is Phase.SUBMITTED and not any(e["id"] == run.id for e in entries):
        entries.append({"id": run.id, "outcome": "InFlight", "reason": job.status.reason})
    if output in ("json", "yaml"):
        print_document(entries, output)
        return
    if not entries:
        note(f"{cluster.named(JOBS, name)} has no run that has ended; see: kubectl curation why {name}{cluster.flag()}")
        return
    ended = {entry.id: entry.finished_at for entry in job.status.history}
    rows = []
    for entry in entries:
        match = _RUN_ID.fullmatch(entry["id"])
        generation, attempt = match.groups() if match else ("", "")
        since = ended.get(entry["id"])
        finished = "" if since is None else f"{age(since, cluster.now())} ago"
        cleaning = any(abandoned.id == entry["id"] for abandoned in job.status.abandoned_runs)
        row = [generation, attempt, entry["outcome"], entry.get("reason", ""), finished, "pending" if cleaning else ""]
        rows.append([*row, entry["id"]] if output == "wide" else row)
    header = ["GENERATION", "ATTEMPT", "OUTCOME", "REASON", "ENDED", "CLEAN-UP"]
    say(table([*header, "RUN"] if output == "wide" else header, rows))


@click.command()
@click.argument("name", type=JOB)
@with_cluster
async def logs(cluster: Cluster, name: str) -> None:
    """Print the log of a job's last, failed run.

    These are at most the last 20 lines that its module logged.
    """
    job = parse(CurationJob, await cluster.get(JOBS, name))
    run, whole = job.status.run, cluster.named(JOBS, name)
    if run is None:
        raise PluginError(f"{whole} has not been run yet; see: kubectl curation why {name}{cluster.flag()}")
    if run.log:
        say(safe(run.log, multiline=True).rstrip("\n"))
        return
    if job.status.phase in (Phase.RUNNING, Phase.COMPLETED):
        why = f"run {run.id} did not fail"
    elif run.finished_at is None:
        why = f"run {run.id} has not ended (the job is {job.status.phase})"
    else:
        why = f"run {run.id} left none: the module logged nothing"
    # By label: of a Deployment kubectl shows one pod, which may be one that waits for the lease.
    operator = "kubectl logs -n curation-system -l app.kubernetes.io/name=curation-operator --tail=-1"
    if run.pod is not None:
        why = f"{why}; it was given pod {run.pod.name}, whose own log is its carrier's"
    raise PluginError(
        f"{whole} has no log: {why}. The status keeps the log of a failed run only. The operator's own log: "
        f"{operator} | grep {run.id}"
    )
