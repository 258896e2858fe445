"""approve, deny, revoke: a person's decision about one denied request.

The decision is a patch of spec, conditioned on the resourceVersion of the approval that the person is shown. Admission
stamps who decided and asks for the verb `approve`; the CRD's own rules refuse every other transition. What can be said
more clearly before the server says it is said here.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import click

from curation.api.approval import ApprovalDecision, CurationApproval, Scope
from curation.cli.access import Cluster, parse
from curation.cli.decided import decided_by, report, state
from curation.cli.errors import ChangedMeanwhile, Forbidden, Invalid, PluginError
from curation.cli.options import OBJECT_FORMATS, OneOf, output_option, with_cluster
from curation.cli.ownership import check_owners
from curation.cli.shell_completion import APPROVED_APPROVAL, PENDING_APPROVAL
from curation.cli.text import plural
from curation.cli.when import When
from curation.cluster.resources import APPROVALS

TRIES: Final = 5

REFUSED: Final = (
    ", whose next apply would object.\nApprovals are not for Git: take it out of that manifest, "
    "or use --force to decide here all the same."
)
FORCED: Final = ": the next apply of that manifest will fail; take the approval out of it"

_dry_run = click.option("--dry-run", is_flag=True, help="Show what would change and whether you may; change nothing.")
_force = click.option("--force", is_flag=True, help="Decide even if another manager has applied the decision.")


@dataclass(frozen=True)
class Wanted:
    """The decision to write."""

    decision: ApprovalDecision
    scope: Scope | None = None
    expires: timedelta | datetime | None = None

    @property
    def verb(self) -> str:
        """The command's name."""
        verbs = {ApprovalDecision.APPROVED: "approve", ApprovalDecision.DENIED: "deny"}
        return verbs.get(self.decision, "revoke")


@click.command()
@click.argument("name", type=PENDING_APPROVAL)
@click.option(
    "--scope",
    type=OneOf(Scope),
    help="Request: this method and URL, with any body (default). Path: any query. Host: anything on this scheme, host "
    "and port. Each holds for every job of the namespace with this build of the module, until it expires.",
)
@click.option("--expires", type=When(), metavar="24h|TIME", help="When the grant ends; default: never.")
@_force
@_dry_run
@output_option(OBJECT_FORMATS)
@with_cluster
async def approve(
    cluster: Cluster,
    name: str,
    scope: Scope | None,
    expires: timedelta | datetime | None,
    force: bool,
    dry_run: bool,
    output: str | None,
) -> None:
    """Allow a denied request; the jobs that wait go on.

    Whatever the scope, the grant also covers Cancel: the requests that the module declares for it (spec.cancel), or, if
    it declares none, every method and path of that scheme, host and port. Prints which, and the Cedar policy.
    """
    await _decide(cluster, name, Wanted(ApprovalDecision.APPROVED, scope, expires), force, dry_run, output)


@click.command()
@click.argument("name", type=PENDING_APPROVAL)
@_force
@_dry_run
@output_option(OBJECT_FORMATS)
@with_cluster
async def deny(cluster: Cluster, name: str, force: bool, dry_run: bool, output: str | None) -> None:
    """Deny a request for good; the jobs that wait fail.

    Their reason is ApprovalDenied. Deleting the approval lets jobs ask anew.
    """
    await _decide(cluster, name, Wanted(ApprovalDecision.DENIED), force, dry_run, output)


@click.command()
@click.argument("name", type=APPROVED_APPROVAL)
@_force
@_dry_run
@output_option(OBJECT_FORMATS)
@with_cluster
async def revoke(cluster: Cluster, name: str, force: bool, dry_run: bool, output: str | None) -> None:
    """Take an approval back.

    The next call that needs it is denied, of runs in flight too.
    """
    await _decide(cluster, name, Wanted(ApprovalDecision.REVOKED), force, dry_run, output)


async def _decide(cluster: Cluster, name: str, wanted: Wanted, force: bool, dry_run: bool, output: str | None) -> None:
    seen = await cluster.get(APPROVALS, name)
    first = parse(CurationApproval, seen)
    for _ in range(TRIES):
        current = parse(CurationApproval, seen)
        if (current.metadata.uid, current.spec) != (first.metadata.uid, first.spec):
            raise PluginError(
                f"{cluster.named(APPROVALS, name)} changed while you decided: {state(current)}; nothing was written"
            )
        spec = _spec(cluster, current, wanted)
        if spec is None:
            report(cluster, current, current, seen, output, f"is already {current.spec.decision}")
            return
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
        done = f"{wanted.decision.value.lower()}{' (server dry run)' if dry_run else ''}"
        report(cluster, current, parse(CurationApproval, after), after, output, done)
        return
    raise PluginError(f"{cluster.named(APPROVALS, name)} changed {plural(TRIES, 'time')} meanwhile; try again")


def _spec(cluster: Cluster, current: CurationApproval, wanted: Wanted) -> dict[str, Any] | None:
    """The fields to write; None if the approval says that already. Raises PluginError for an impossible transition."""
    old, spec, name = current.spec.decision, current.spec, current.metadata.name
    whole = cluster.named(APPROVALS, name)
    anew = f"delete it to let jobs ask anew: kubectl delete curationapproval {name}{cluster.flag()}"
    ends = _ends(wanted, cluster.now())
    match old, wanted.decision:
        case ApprovalDecision.PENDING, ApprovalDecision.REVOKED:
            raise PluginError(f"{whole} is Pending and grants nothing; deny it with: {_command(cluster, 'deny', name)}")
        case ApprovalDecision.PENDING, _:
            fields: dict[str, Any] = {"decision": wanted.decision.value}
            if wanted.decision is ApprovalDecision.APPROVED:
                # Always said: a scope that came with the approval is not what this person chose.
                fields["scope"] = (wanted.scope or Scope.REQUEST).value
            if ends is not None:
                fields["expiresAt"] = ends.strftime("%Y-%m-%dT%H:%M:%SZ")
            return fields
        case ApprovalDecision.APPROVED, ApprovalDecision.REVOKED:
            return {"decision": wanted.decision.value}
        case ApprovalDecision.APPROVED, ApprovalDecision.DENIED:
            raise PluginError(
                f"{whole} is Approved{decided_by(current)}; take that back with: {_command(cluster, 'revoke', name)}"
            )
        case ApprovalDecision.APPROVED, _:
            if spec.expires_at is not None and spec.expires_at <= cluster.now():
                raise PluginError(f"{whole} was Approved{decided_by(current)} and has expired; {anew}")
            if wanted.scope not in (None, spec.scope) or wanted.expires is not None:
                raise PluginError(
                    f"{whole} is Approved{decided_by(current)} with scope {spec.scope}, which cannot change; "
                    f"revoke it with: {_command(cluster, 'revoke', name)}, and approve what jobs then ask for"
                )
            return None
        case _ if old is wanted.decision:
            return None
        case _:
            raise PluginError(f"{whole} was {old}{decided_by(current)}, which is final; {anew}")


def _command(cluster: Cluster, verb: str, name: str) -> str:
    return f"kubectl curation {verb} {name}{cluster.flag()}"


def _ends(wanted: Wanted, now: datetime) -> datetime | None:
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
