"""What a decision grants, shown to the one who decides."""

from datetime import datetime
from typing import Final, TypeVar

from curation.api.approval import ApprovalDecision, CurationApproval, grant_ends
from curation.api.job import CurationJob
from curation.api.schema import ResourceModel
from curation.authz.grant import Grant
from curation.authz.grant_text import grant_text
from curation.cli.access import Cluster, parse_all
from curation.cli.errors import PluginError
from curation.cli.output import colour, note, print_object, say
from curation.cli.request_line import request_line
from curation.cli.review import default_end, review_lines
from curation.cli.text import plural, safe
from curation.cluster.answers import Document
from curation.cluster.resources import APPROVALS, JOBS, ResourceKind

M = TypeVar("M", bound=ResourceModel)


def report(
    cluster: Cluster,
    before: CurationApproval,
    after: CurationApproval,
    document: Document,
    output: str | None,
    done: str,
) -> None:
    """Print the approval after the decision, and the Cedar policy that it granted before and grants now."""
    if output:
        print_object(APPROVALS, document, output)
        return
    say(f"curationapproval.{APPROVALS.group}/{after.metadata.name} {done}")
    say(f"Request:   {request_line(after.spec.request)}")
    who = decided_by(after)
    if after.spec.decision is ApprovalDecision.REVOKED and before.spec.decision is ApprovalDecision.APPROVED:
        who += f"; it was Approved{decided_by(before)}"
    say(f"Decision:  {colour(after.spec.decision)}{safe(who)}")
    if after.spec.comment:
        say(f"Comment:   {safe(after.spec.comment)}")
    if after.status.waiting:
        say(f"{_WAITING[after.spec.decision]}{safe(_jobs(after))}")
    was, now = _cedar(before, cluster.now()), _cedar(after, cluster.now())
    if was == now:
        _block("Grants, as before:", now)
    else:
        _block("Granted before:", was)
        _block(f"Grants now, {_until(before, after)}:" if now else "Grants now:", now)
    if now:
        say(f"Under Cancel it covers {safe(Grant.of(after).under_cancel)}.")
    for line in after.status.forbidden:
        note(f"still forbidden: {line}")


_WAITING: Final = {
    ApprovalDecision.PENDING: "Waiting:   ",
    ApprovalDecision.APPROVED: "Go on:     ",
    ApprovalDecision.DENIED: "Fail:      ",
    ApprovalDecision.REVOKED: "Ask anew:  ",
}


def _jobs(approval: CurationApproval) -> str:
    status = approval.status
    more = status.waiting - len(status.jobs)
    return f"{plural(status.waiting, 'job')}: {', '.join(status.jobs)}" + (f" and {more} more" if more > 0 else "")


def _block(title: str, cedar: str) -> None:
    if not cedar:
        say(f"{title} nothing")
        return
    say(title)
    for line in cedar.strip().splitlines():
        say(f"  {safe(line)}")


async def review(cluster: Cluster, approval: CurationApproval) -> None:
    """Print what a person needs to decide; what they may not list is left out, and said."""
    approvals = await _listed(cluster, APPROVALS, CurationApproval)
    jobs = await _listed(cluster, JOBS, CurationJob)
    for line in review_lines(approval, approvals, jobs, cluster.now()):
        say(safe(line))


async def _listed(cluster: Cluster, kind: ResourceKind, model: type[M]) -> list[M]:
    try:
        pairs, _ = parse_all(model, await cluster.list(kind))
    except PluginError as error:
        note(f"not shown: {error.message}")
        return []
    return [each for _, each in pairs]


def _until(before: CurationApproval, after: CurationApproval) -> str:
    ends = grant_ends(after)
    if ends is not None:
        return f"scope {after.spec.scope}, until {ends:%Y-%m-%d %H:%M:%SZ}"
    never = after.spec.never_expires or after.status.decided_at is not None
    default = "" if never else default_end(before)
    # The operator says when it ends, as soon as it has received the decision.
    return f"scope {after.spec.scope}, " + (
        "never expires"
        if never or default == "never"
        else f"until the operator's default, {default or 'if it has one'}"
    )


def _cedar(approval: CurationApproval, now: datetime) -> str:
    """The policy that the gate adds for this approval now; nothing if it grants nothing."""
    ends = grant_ends(approval)
    if approval.spec.decision is not ApprovalDecision.APPROVED or (ends is not None and ends <= now):
        return ""
    return grant_text(Grant.of(approval))


def decided_by(approval: CurationApproval) -> str:
    """`` by alice``, or nothing where nobody has decided."""
    return f" by {approval.spec.decided_by}" if approval.spec.decided_by else ""


def decider(approval: CurationApproval) -> str:
    """Who decided; of a revoked one who approved it too."""
    by, before = approval.spec.decided_by or "", approval.status.approved_by
    if approval.spec.decision is not ApprovalDecision.REVOKED or not before:
        return by
    return f"{by} (approved by {before})"


def state(approval: CurationApproval) -> str:
    """What another person has made of it."""
    return f"it is now {approval.spec.decision}{decided_by(approval)} with scope {approval.spec.scope}"
