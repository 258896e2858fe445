"""What an approver needs to decide: who asks, with which input, why it was denied, what else would be granted.

Pure, for the command line and for the dashboard.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from curation.api.approval import ApprovalDecision, Asked, CurationApproval, RecordedDecision, Scope, grant_ends
from curation.api.job import CurationJob
from curation.authz.coverage import scope_in_words, would_answer
from curation.authz.grant import Grant
from curation.cli.text import age, plural

_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Covers:
    """What one scope would grant."""

    scope: Scope
    words: str
    """What it covers, as a sentence of its own."""
    others: tuple[str, ...]
    """Names of other Pending approvals that it would answer as well."""


def coverage(approval: CurationApproval, approvals: Sequence[CurationApproval]) -> list[Covers]:
    """What each scope would grant, the narrowest first."""
    return [
        Covers(
            scope,
            f"{scope_in_words(approval.spec.request, scope)}.",
            tuple(other.metadata.name for other in would_answer(approval, scope, approvals)),
        )
        for scope in Scope
    ]


def under_cancel(approval: CurationApproval) -> str:
    """What any grant of it covers under Cancel."""
    return f"Under Cancel it covers {Grant.of(approval).under_cancel}."


def same_module(approval: CurationApproval, jobs: Sequence[CurationJob]) -> list[str]:
    """Names of the jobs of the namespace that use the module, and so the grant, as long as it is in force."""
    return sorted(
        job.metadata.name
        for job in jobs
        if job.metadata.namespace == approval.metadata.namespace
        and job.spec.module_ref.name == approval.spec.request.module
    )


def asked_lines(asked: Asked) -> list[str]:
    """Who asked for one job, with which input, and why its call was denied."""
    people = [f"created by {asked.created_by}"] if asked.created_by else []
    if asked.requested_by and asked.requested_by != asked.created_by:
        people.append(f"last asked for by {asked.requested_by}")
    if asked.edited_by:
        people.append(f"last changed by {asked.edited_by}")
    lines = [f"{asked.job}: {', '.join(people) or 'nobody is recorded as its author'}"]
    if asked.input is not None:
        lines.append(f"  input {asked.input} ({asked.input_digest or 'no digest'})")
    if asked.denied:
        lines.append(f"  {asked.denied}")
    return lines


def decision_line(decision: RecordedDecision, now: datetime) -> str:
    """One decision of the past."""
    words = [decision.decision.value]
    if decision.by:
        words.append(f"by {decision.by}")
    words.append(f"{age(decision.at, now)} ago")
    if decision.scope is not None:
        ends = decision.expires_at
        words.append(f"with scope {decision.scope}, " + (f"until {_time(ends)}" if ends else "without end"))
    return " ".join(words) + (f": {decision.comment}" if decision.comment else "")


def granted_before(approval: CurationApproval, approvals: Sequence[CurationApproval], now: datetime) -> list[str]:
    """Decisions about this request, and grants of other requests of the module to the same origin."""
    lines = [decision_line(each, now) for each in approval.status.decisions or approval.spec.earlier]
    for other in approvals:
        ours, theirs = approval.spec.request, other.spec.request
        same = (ours.module, ours.scheme, ours.host, ours.port) == (
            theirs.module,
            theirs.scheme,
            theirs.host,
            theirs.port,
        )
        place = (approval.metadata.namespace, approval.metadata.name)
        if not same or other.metadata.namespace != place[0] or other.metadata.name == place[1]:
            continue
        if other.spec.decision is not ApprovalDecision.PENDING:
            build = "" if ours.module_digest == theirs.module_digest else " (another build)"
            by = f" by {other.spec.decided_by}" if other.spec.decided_by else ""
            lines.append(
                f"{theirs.method} {theirs.path}{build}: {state_of(other, now)}{by}, scope {other.spec.scope}"
                f" ({other.metadata.name})"
            )
    return lines


def state_of(approval: CurationApproval, now: datetime) -> str:
    """The decision, or Expired once it has ended."""
    ends = grant_ends(approval)
    decision = approval.spec.decision
    over = ends is not None and ends <= now
    return "Expired" if over and decision in (ApprovalDecision.APPROVED, ApprovalDecision.DENIED) else decision.value


def default_end(approval: CurationApproval) -> str:
    """When a grant ends whose decision does not say it, as the end of a sentence; empty where that is not known."""
    seconds = approval.status.expires_after_seconds
    if approval.status.observed_generation < 0:
        return ""
    return "never" if seconds is None else f"after {_length(seconds)}"


def review_lines(
    approval: CurationApproval, approvals: Sequence[CurationApproval], jobs: Sequence[CurationJob], now: datetime
) -> list[str]:
    """All of it, as lines for a terminal."""
    lines = ["Asked for:"]
    for asked in approval.status.asked:
        lines += [f"  {line}" for line in asked_lines(asked)]
    if not approval.status.asked:
        lines.append("  nobody: the operator has not written it yet")
    lines.append("A grant would cover:")
    for covers in coverage(approval, approvals):
        more = f" It also answers {_names(covers.others, 'approval')}." if covers.others else ""
        lines.append(f"  {covers.scope}: {covers.words}{more}")
    users = same_module(approval, jobs)
    if users:
        lines.append(f"  It holds for every job of this build; now {_names(users, 'job')} of the module.")
    lines.append("Decided before:")
    before = granted_before(approval, approvals, now)
    lines += [f"  {line}" for line in before] or ["  nothing"]
    return lines


def _names(names: Sequence[str], thing: str) -> str:
    more = len(names) - _NAMED
    return f"{plural(len(names), thing)} ({', '.join(names[:_NAMED])}{f' and {more} more' if more > 0 else ''})"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%SZ}"


def _length(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    return plural(days, "day") if days and not rest else f"{seconds} s"
