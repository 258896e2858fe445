"""`curation-operator guest`: the first process of a pod in which a guest runs."""

import logging
import os
import sys

import click

from curation.pods import carrier
from curation.pods.carrier_settings import CarrierSettings


@click.command()
def guest() -> None:
    """Run one guest for an operator, at whose door it knocks: the command of the pods that an operator makes.

    All that it needs is in its environment, as the operator writes it into the pod's spec. Exit codes: 0 its end is
    settled, 1 nobody wants it, 2 its environment is no use, 143 it was told to stop.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = CarrierSettings.of(os.environ)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    raise SystemExit(carrier.main(settings))
