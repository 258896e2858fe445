"""`curation-operator guest`: the first process of a pod in which a guest runs."""

import click

from curation.pods.first import carry


@click.command()
def guest() -> None:
    """Run one guest for an operator, at whose door it knocks: the command of the pods that an operator makes.

    All that it needs is in its environment, as the operator writes it into the pod's spec. Exit codes: 0 its end is
    settled, 1 nobody wants it, 2 its environment is no use, 143 it was told to stop.
    """
    raise SystemExit(carry())
