"""check-policy: what the operator would say about a policy, before it is applied."""

from typing import Any

import click

from curation.authz.policy_check import PolicyCheck, check_policy
from curation.cli.options import ANSWER_FORMATS, output_option
from curation.cli.output import print_document
from curation.cli.policy_files import policy_texts
from curation.cli.text import safe


@click.command("check-policy")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(allow_dash=True))
@output_option(ANSWER_FORMATS)
def check_policies(files: tuple[str, ...], output: str | None) -> None:
    """Check policies offline, as the operator does.

    A FILE is Cedar text, or a manifest (.yaml, .yml, .json) with CurationPolicies in it; - reads standard input.
    """
    results = [(each.label, check_policy(each.cedar)) for file in files for each in policy_texts(file)]
    if output:
        print_document([_result(name, check) for name, check in results], output)
    else:
        for name, check in results:
            click.echo(safe(f"{name}: {check.reason}: {check.message}"), err=not check.valid)
    if not all(check.valid for _, check in results):
        click.get_current_context().exit(1)


def _result(name: str, check: PolicyCheck) -> dict[str, Any]:
    return {
        "name": name,
        "valid": check.valid,
        "policies": check.count,
        "reason": check.reason,
        "message": check.message,
    }
