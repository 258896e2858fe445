"""`curation-operator crds` and `schemas`: what the operator publishes."""

import json

import click

from curation.api.contract import contract_schemas
from curation.api.crd import crd_yaml, crds
from curation.api.files import file_schemas
from curation.authz.cedar_schema import SCHEMA_TEXT


@click.command("crds")
def crds_command() -> None:
    """Print the CRDs, ready for kubectl apply --server-side -f -."""
    click.echo("---\n".join(crd_yaml(crd) for crd in crds()), nl=False)


@click.command()
def schemas() -> None:
    """Print the JSON Schemas of the module contract and of our files, and the Cedar schema, as one JSON document."""
    documents = {**contract_schemas(), **file_schemas(), "cedarSchema": SCHEMA_TEXT}
    click.echo(json.dumps(documents, indent=2, sort_keys=True))
