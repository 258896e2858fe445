"""can-i: the gate, asked about a call that nobody makes."""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import click

from curation.api.approval import EvaluatedRequest
from curation.api.job import CurationJob
from curation.api.module import CurationModule
from curation.api.names import Trigger
from curation.authz.decision import CallContext, Decision
from curation.cli.access import Cluster, parse
from curation.cli.options import ANSWER_FORMATS, OneOf, output_option, with_cluster
from curation.cli.output import note, print_document, say
from curation.cli.shell_completion import JOB, MODULE
from curation.cli.text import safe
from curation.cli.visible_policies import read_policies
from curation.cluster.resources import JOBS, MODULES
from curation.egress.errors import EgressRefused
from curation.egress.floor import AddressFloor
from curation.egress.url import CanonicalURL, canonical_method, evaluated_request, parse_url


@dataclass(frozen=True)
class Caller:
    """Whose call it would be."""

    module: str
    digest: str
    context: CallContext


@click.command("can-i")
@click.argument("method")
@click.argument("url")
@click.option("--job", type=JOB, help="As this job's next attempt: its module, name and labels.")
@click.option("--module", type=MODULE, help="As this module, for a job without name and labels.")
@click.option("--trigger", type=OneOf(Trigger), default=Trigger.SUBMIT, show_default=Trigger.SUBMIT.value)
@output_option(ANSWER_FORMATS)
@with_cluster
async def can_i(
    cluster: Cluster, method: str, url: str, job: str | None, module: str | None, trigger: Trigger, output: str | None
) -> None:
    """Say whether a module may make a call.

    Prints yes or no, and the policies that decide it; the exit code is 0 for yes and 1 for no. This command
    runs the operator's own gate, on the policies and approved approvals that you may read; it sends the call nowhere.
    """
    if job is not None and module is not None:
        raise click.UsageError("give --job or --module, not both: a job has its module")
    target, method = _target(method, url)
    caller = await (_job(cluster, job) if job is not None else _module(cluster, module))
    request = evaluated_request(target, method, module=caller.module, digest=caller.digest, trigger=trigger)
    visible = await read_policies(cluster)
    decision = visible.authorize(request, caller.context)
    unread = [*visible.unread, *(f"invalid: {line}" for line in visible.invalid), *_floor(target)]
    if output:
        print_document(_answer(request, decision, unread), output)
    else:
        say(f"{'yes' if decision.allowed else 'no'}: {safe(decision.reason)}")
        for line in unread:
            note(f"note: {line}")
    if not decision.allowed:
        click.get_current_context().exit(1)


def _answer(request: EvaluatedRequest, decision: Decision, unread: list[str]) -> dict[str, Any]:
    return {
        "allowed": decision.allowed,
        "reason": decision.reason,
        "policies": list(decision.policies),
        "errors": list(decision.errors),
        "request": request.to_wire(),
        "notes": unread,
    }


def _target(method: str, url: str) -> tuple[CanonicalURL, str]:
    try:
        method = canonical_method(method)
        return parse_url(url), method
    except EgressRefused as error:
        raise click.UsageError(f"no module can make this call: {error}") from None


def _floor(url: CanonicalURL) -> list[str]:
    """What the address floor says, for a URL with an address in it; a name is checked only when it is resolved."""
    try:
        address = ip_address(url.host.strip("[]"))
    except ValueError:
        return []
    refusal = AddressFloor(()).refusal(address)
    return [f"beneath all policies is the address floor: {refusal}"] if refusal else []


async def _job(cluster: Cluster, name: str) -> Caller:
    job = parse(CurationJob, await cluster.get(JOBS, name))
    run = job.status.run
    context = CallContext(
        name,
        job.metadata.labels,
        run.generation if run is not None else job.metadata.generation,
        run.attempt + 1 if run is not None else 1,
    )
    module = await _module(cluster, job.spec.module_ref.name)
    return Caller(module.module, module.digest, context)


async def _module(cluster: Cluster, name: str | None) -> Caller:
    if name is None:
        names = [document["metadata"]["name"] for document in await cluster.list(MODULES)]
        if len(names) != 1:
            have = ", ".join(sorted(names)) or "none"
            raise click.UsageError(f"say who calls, with --job or --module; modules of {cluster.namespace}: {have}")
        name = str(names[0])
    module = parse(CurationModule, await cluster.get(MODULES, name))
    digest = module.status.digest or module.spec.digest or ""
    if not digest:
        note(f"note: {cluster.named(MODULES, name)} has not been loaded yet: grants, bound to a build, do not match it")
    return Caller(name, digest, CallContext(""))
