"""A person's decision as a patch of spec, for the command line and for the dashboard.

It is conditioned on the resourceVersion of the approval that the person is shown. Admission stamps who decided and asks
for the verb `approve`; the CRD's own rules refuse every other transition. What can be said more clearly before the
server says it is said here.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import click

from curation.api.approval import ApprovalDecision, CurationApproval, Scope
from curation.api.decision import Decision, Obstacle, Undecidable, decided_fields
from curation.cli.access import Cluster, parse
from curation.cli.decided import decided_by, state
from curation.cli.errors import ChangedMeanwhile, Forbidden, Invalid, PluginError
from curation.cli.ownership import check_owners
from curation.cli.text import plural
from curation.cli.when import NEVER
from curation.cluster.answers import Document
from curation.cluster.resources import APPROVALS

TRIES: Final = 5

REFUSED: Final = (
    ", whose next apply would object.\nApprovals are not for Git: take it out of that manifest, "
    "or use --force to decide here all the same."
)
FORCED: Final = ": the next apply of that manifest will fail; take the approval out of it"


@dataclass(frozen=True)
class Wanted:
    """The decision to write."""

    decision: ApprovalDecision
    scope: Scope | None = None
    expires: timedelta | datetime | str | None = None
    comment: str | None = None

    @property
    def verb(self) -> str:
        """The command's name."""
        verbs = {ApprovalDecision.APPROVED: "approve", ApprovalDecision.DENIED: "deny"}
        return verbs.get(self.decision, "revoke")


@dataclass(frozen=True)
class Decided:
    """The approval before the decision and after it."""

    before: CurationApproval
    after: CurationApproval
    document: Document
    """After it."""
    changed: bool
    """False if it said so already."""


async def decide(
    cluster: Cluster, seen: Document, wanted: Wanted, *, force: bool = False, dry_run: bool = False
) -> Decided:
    """Write the decision about the approval that was `seen`, unless it is another one by now.

    Raises PluginError with the remedy, and click.BadParameter for an end that has passed.
    """
    first = parse(CurationApproval, seen)
    name = first.metadata.name
    for _ in range(TRIES):
        current = parse(CurationApproval, seen)
        if (current.metadata.uid, current.spec) != (first.metadata.uid, first.spec):
            raise PluginError(
                f"{cluster.named(APPROVALS, name)} changed while you decided: {state(current)}; nothing was written"
            )
        spec = _spec(cluster, current, wanted)
        if spec is None:
            return Decided(current, current, seen, False)
        check_owners(cluster, APPROVALS, seen, "decision", force=force, refused=REFUSED, forced=FORCED)
        # Where no admission policy stamps it, this is how it is recorded; where one checks it, it must be right.
        if who := await cluster.whoami():
            spec["decidedBy"] = who
        try:
            after = await cluster.patch(APPROVALS, seen, {"spec": spec}, dry_run=dry_run)
        except ChangedMeanwhile:
            # The operator counts the waiting jobs in the status; that changes nothing about the decision.
            seen = await cluster.get(APPROVALS, name)
            continue
        except (Forbidden, Invalid) as error:
            raise _refused(cluster, name, wanted, error.said) from None
        return Decided(current, parse(CurationApproval, after), after, True)
    raise PluginError(f"{cluster.named(APPROVALS, name)} changed {plural(TRIES, 'time')} meanwhile; try again")


def _spec(cluster: Cluster, current: CurationApproval, wanted: Wanted) -> dict[str, Any] | None:
    """The fields to write; None if the approval says that already. Raises PluginError for an impossible transition."""
    now = cluster.now()
    decision = Decision(
        wanted.decision, wanted.scope, _ends(wanted, now), never_ends=wanted.expires == NEVER, comment=wanted.comment
    )
    try:
        return decided_fields(current, decision, now)
    except Undecidable as error:
        raise PluginError(_remedy(cluster, current, error.obstacle)) from None


def _remedy(cluster: Cluster, current: CurationApproval, obstacle: Obstacle) -> str:
    name = current.metadata.name
    whole, by = cluster.named(APPROVALS, name), decided_by(current)
    anew = f"delete it to let jobs ask anew: kubectl delete curationapproval {name}{cluster.flag()}"
    revoke = _command(cluster, "revoke", name)
    match obstacle:
        case Obstacle.GRANTS_NOTHING:
            return f"{whole} is Pending and grants nothing; deny it with: {_command(cluster, 'deny', name)}"
        case Obstacle.IS_GRANTED:
            return f"{whole} is Approved{by}; take that back with: {revoke}"
        case Obstacle.HAS_EXPIRED:
            return f"{whole} was Approved{by} and has expired; {anew}"
        case Obstacle.OTHERWISE:
            return (
                f"{whole} is Approved{by} with scope {current.spec.scope}, which cannot change; "
                f"revoke it with: {revoke}, and approve what jobs then ask for"
            )
        case Obstacle.FINAL:
            return f"{whole} was {current.spec.decision}{by}, which is final; {anew}"


def _command(cluster: Cluster, verb: str, name: str) -> str:
    return f"kubectl curation {verb} {name}{cluster.flag()}"


def _ends(wanted: Wanted, now: datetime) -> datetime | None:
    if isinstance(wanted.expires, str):
        return None  # never
    ends = now + wanted.expires if isinstance(wanted.expires, timedelta) else wanted.expires
    if ends is not None and ends <= now:
        raise click.BadParameter(f"{ends:%Y-%m-%dT%H:%M:%SZ} is over", param_hint="--expires")
    return ends


def _refused(cluster: Cluster, name: str, wanted: Wanted, said: str) -> PluginError:
    whole = cluster.named(APPROVALS, name)
    # RBAC misses `patch`, the admission policy misses `approve`; another admission policy has reasons of its own.
    if "cannot patch resource" not in said and "the verb approve" not in said:
        return PluginError(f"the server refuses to {wanted.verb} {whole}: {said}")
    return PluginError(
        f"you may not {wanted.verb} {whole}: a decision takes the verbs 'patch' and 'approve' on "
        f"curationapprovals.{APPROVALS.group}, which the ClusterRole curation-approver has. Someone who may binds it:\n"
        f"  kubectl create rolebinding curation-approver --clusterrole=curation-approver --user=YOU{cluster.flag()}\n"
        f"The server says: {said}"
    )
