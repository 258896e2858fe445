"""`curation-operator`: run the operator, print what it publishes, check a module, try one, build one."""

import json

import click

from curation.api.contract import contract_schemas
from curation.api.crd import crd_yaml, crds
from curation.api.files import file_schemas
from curation.authz.cedar_schema import SCHEMA_TEXT
from curation.cli.build import build
from curation.cli.check_module import check
from curation.cli.run import run
from curation.cli.sandbox import sandbox
from curation.cli.serve_workers import workers
from curation.cli.trial import try_module


@click.group(context_settings={"max_content_width": 100})
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
main.add_command(build)
main.add_command(check)
main.add_command(try_module)
main.add_command(workers)
main.add_command(sandbox)


if __name__ == "__main__":
    main()
