"""`curation-operator sandbox`: what the machine gives to the walls around workers."""

import click

from curation.isolation.survey import survey


@click.command()
def sandbox() -> None:
    """Print which walls around workers this machine gives, and what is lost where one is missing.

    Run it where the workers run: in the Deployment, in the container `workers`. Exit codes: 0 all active, 1 not all.
    """
    findings = list(survey())
    width = max(len(each.name) for each in findings)
    for each in findings:
        click.echo(f"{each.name.ljust(width)}  {'active' if each.active else 'missing'}  {each.text}")
    raise SystemExit(0 if all(each.active for each in findings) else 1)
