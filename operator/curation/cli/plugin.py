"""The program kubectl-curation, which kubectl runs for `kubectl curation`."""

import logging
import os
import sys
from functools import partial

import click

from curation.cli.can_i import can_i
from curation.cli.checking import check_policies
from curation.cli.dashboard.command import dashboard
from curation.cli.decision_verbs import approve, deny, revoke
from curation.cli.edit import rerun, resume, suspend
from curation.cli.explain import why
from curation.cli.follow import watch
from curation.cli.listing import approvals, logs, runs
from curation.cli.options import Group, cluster_options
from curation.cli.policy_test import run_cases
from curation.cluster.bounds import RECURSION_LIMIT

COMPLETE_VARIABLE = "_KUBECTL_CURATION_COMPLETE"


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@partial(cluster_options, all_shown=True)
@click.version_option(package_name="curation-operator", prog_name="kubectl-curation")
def cli() -> None:
    """See and steer curation jobs, and decide what their modules may call.

    Exit codes: 0 done or yes, 1 failed or no, 2 wrong usage.
    """


for command in (
    why,
    approvals,
    approve,
    deny,
    revoke,
    dashboard,
    rerun,
    suspend,
    resume,
    logs,
    runs,
    watch,
    can_i,
    check_policies,
    run_cases,
):
    cli.add_command(command)


def main() -> None:
    """Run the program; it ends the process."""
    # Libraries log retries and refreshes: not for a person who asked one question.
    logging.basicConfig(level=logging.CRITICAL)
    sys.setrecursionlimit(RECURSION_LIMIT)
    # A completion script registers the program's own name, help speaks of the command that people type.
    name = "kubectl-curation" if COMPLETE_VARIABLE in os.environ else "kubectl curation"
    cli(prog_name=name, complete_var=COMPLETE_VARIABLE)


if __name__ == "__main__":
    main()
