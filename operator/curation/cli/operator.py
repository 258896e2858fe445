"""`curation-operator`: run the operator, print what it publishes, check a module, try one, build one."""

import json
from importlib import import_module
from typing import Final

import click

from curation.api.contract import contract_schemas
from curation.api.crd import crd_yaml, crds
from curation.api.files import file_schemas
from curation.authz.cedar_schema import SCHEMA_TEXT
from curation.cli.run import run

_VERBS: Final = {
    "build": "curation.cli.build:build",
    "check": "curation.cli.check_module:check",
    "sandbox": "curation.cli.sandbox:sandbox",
    "try": "curation.cli.trial:try_module",
    "workers": "curation.cli.serve_workers:workers",
}
"""What is loaded when it is asked for: the process of `run`, which has the cluster's token, loads none of it."""


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_VERBS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if (where := _VERBS.get(cmd_name)) is None:
            return super().get_command(ctx, cmd_name)
        module, _, name = where.partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Verbs, context_settings={"max_content_width": 100})
@click.version_option(package_name="curation-operator", prog_name="curation-operator")
def main() -> None:
    """The curation operator."""


@main.command("crds")
def crds_command() -> None:
    """Print the CRDs, ready for kubectl apply --server-side -f -."""
    click.echo("---\n".join(crd_yaml(crd) for crd in crds()), nl=False)


@main.command()
def schemas() -> None:
    """Print the JSON Schemas of the module contract and of our files, and the Cedar schema, as one JSON document."""
    documents = {**contract_schemas(), **file_schemas(), "cedarSchema": SCHEMA_TEXT}
    click.echo(json.dumps(documents, indent=2, sort_keys=True))


main.add_command(run)


if __name__ == "__main__":
    main()
