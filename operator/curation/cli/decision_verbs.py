"""approve, deny, revoke: a person's decision about one denied request. See `deciding` for how it is written."""

from datetime import datetime, timedelta

import click

from curation.api.approval import MAX_COMMENT, ApprovalDecision, Scope
from curation.cli.access import Cluster
from curation.cli.decided import report, review
from curation.cli.deciding import Wanted, decide
from curation.cli.options import OBJECT_FORMATS, OneOf, output_option, with_cluster
from curation.cli.shell_completion import APPROVED_APPROVAL, PENDING_APPROVAL
from curation.cli.when import NEVER, When
from curation.cluster.resources import APPROVALS

_dry_run = click.option("--dry-run", is_flag=True, help="Show what would change and whether you may; change nothing.")


def _comment_text(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is not None and len(value) > MAX_COMMENT:
        raise click.BadParameter(f"it has {len(value)} characters, at most {MAX_COMMENT} are kept")
    return value or None


_comment = click.option(
    "--comment",
    metavar="TEXT",
    callback=_comment_text,
    help="Why; kept in the approval for all who may see it.",
)
_force = click.option("--force", is_flag=True, help="Decide even if another manager has applied the decision.")


@click.command()
@click.argument("name", type=PENDING_APPROVAL)
@click.option(
    "--scope",
    type=OneOf(Scope),
    help="Request: this method and URL, with any body (default). Path: any query. Host: anything on this scheme, host "
    "and port. Each holds for every job of the namespace with this build of the module, until it expires.",
)
@click.option(
    "--expires",
    type=When(),
    metavar="24h|TIME|never",
    help="When the grant ends; by default after the operator's --approval-ttl, which is 30 days.",
)
@_comment
@_force
@_dry_run
@output_option(OBJECT_FORMATS)
@with_cluster
async def approve(
    cluster: Cluster,
    name: str,
    scope: Scope | None,
    expires: timedelta | datetime | str | None,
    comment: str | None,
    force: bool,
    dry_run: bool,
    output: str | None,
) -> None:
    """Allow a denied request; the jobs that wait go on.

    Whatever the scope, the grant also covers Cancel: the requests that the module declares for it (spec.cancel), or, if
    it declares none, every method and path of that scheme, host and port. Prints which, and the Cedar policy.
    With --dry-run it also prints who asks, with which input, what each scope would cover, and what was decided before.
    """
    await _decide(cluster, name, Wanted(ApprovalDecision.APPROVED, scope, expires, comment), force, dry_run, output)


@click.command()
@click.argument("name", type=PENDING_APPROVAL)
@click.option("--expires", type=When(), metavar="24h|TIME|never", help="When jobs may ask anew; by default never.")
@_comment
@_force
@_dry_run
@output_option(OBJECT_FORMATS)
@with_cluster
async def deny(
    cluster: Cluster,
    name: str,
    expires: timedelta | datetime | str | None,
    comment: str | None,
    force: bool,
    dry_run: bool,
    output: str | None,
) -> None:
    """Deny a request; the jobs that wait fail.

    Their reason is ApprovalDenied. Deleting the approval lets jobs ask anew.
    """
    wanted = Wanted(ApprovalDecision.DENIED, None, None if expires == NEVER else expires, comment)
    await _decide(cluster, name, wanted, force, dry_run, output)


@click.command()
@click.argument("name", type=APPROVED_APPROVAL)
@_comment
@_force
@_dry_run
@output_option(OBJECT_FORMATS)
@with_cluster
async def revoke(
    cluster: Cluster, name: str, comment: str | None, force: bool, dry_run: bool, output: str | None
) -> None:
    """Take an approval back.

    The next call that needs it is denied, of runs in flight too.
    """
    await _decide(cluster, name, Wanted(ApprovalDecision.REVOKED, comment=comment), force, dry_run, output)


async def _decide(cluster: Cluster, name: str, wanted: Wanted, force: bool, dry_run: bool, output: str | None) -> None:
    seen = await cluster.get(APPROVALS, name)
    decided = await decide(cluster, seen, wanted, force=force, dry_run=dry_run)
    done = f"is already {decided.after.spec.decision}"
    if decided.changed:
        done = f"{wanted.decision.value.lower()}{' (server dry run)' if dry_run else ''}"
    report(cluster, decided.before, decided.after, decided.document, output, done)
    if decided.changed and dry_run and not output:
        await review(cluster, decided.before)
