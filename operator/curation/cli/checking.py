"""check-policy: what the operator, and its webhook, would say about a policy, before it is applied."""

from typing import Any

import click

from curation.checking.judgement import PolicyJudgement
from curation.checking.policy_judgement import judge_policy
from curation.cli.options import ANSWER_FORMATS, output_option
from curation.cli.output import print_document
from curation.cli.policy_files import policy_texts
from curation.cli.text import safe


@click.command("check-policy")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(allow_dash=True))
@click.option("--strict", is_flag=True, help="Fail on warnings too.")
@output_option(ANSWER_FORMATS)
def check_policies(files: tuple[str, ...], strict: bool, output: str | None) -> None:
    """Check policies offline, as the operator does.

    A FILE is Cedar text, or a manifest (.yaml, .yml, .json) with CurationPolicies in it; - reads standard input. What
    is valid and most likely not meant is warned of.
    """
    results = [
        (each.label, judge_policy(each.cedar, cluster=each.everywhere)) for file in files for each in policy_texts(file)
    ]
    if output:
        print_document([_result(name, judgement) for name, judgement in results], output)
    else:
        for name, judgement in results:
            check = judgement.check
            click.echo(safe(f"{name}: {check.reason}: {check.message}"), err=not check.valid)
        for name, judgement in results:
            for warning in judgement.warnings:
                click.echo(safe(f"{name}: warning: {warning}"), err=strict)
    if not all(judgement.check.valid and not (strict and judgement.warnings) for _, judgement in results):
        click.get_current_context().exit(1)


def _result(name: str, judgement: PolicyJudgement) -> dict[str, Any]:
    check = judgement.check
    return {
        "name": name,
        "valid": check.valid,
        "policies": check.count,
        "reason": check.reason,
        "message": check.message,
        "warnings": list(judgement.warnings),
    }
