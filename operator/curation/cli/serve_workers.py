"""`curation-operator workers`: the first process of the container in which modules run."""

import os
from pathlib import Path

import click

from curation.guests.targets import TEMPLATE as GUEST_TEMPLATE
from curation.isolation.spawn import empty_environment, isolated_command
from curation.isolation.supervisor import SUPERVISE
from curation.workers.targets import TEMPLATE


@click.command()
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    metavar="PATH",
    required=True,
    envvar="CURATION_WORKERS_SOCKET",
    help="The Unix socket, in a folder that the operator's container and this one share.",
)
@click.option("--check", is_flag=True, help="Say by the exit code whether the workers are served; for probes.")
def workers(path: Path, check: bool) -> None:
    """Start workers for an operator in another container of this pod, until it is stopped.

    It needs no access to the cluster, and must have none: what the operator hands over is all that workers know.
    """
    # A process that holds nothing: this one has read an environment, and imported all of the command.
    command = isolated_command(SUPERVISE, "alive" if check else "serve", str(path), TEMPLATE, GUEST_TEMPLATE)
    os.execve(command[0], command, empty_environment())  # noqa: S606 - it is Python itself
