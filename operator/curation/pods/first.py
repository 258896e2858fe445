"""The first lines of a guest's pod: a run waits for them, so they load little, and the guest host is started first.

It begins on another processor while this one loads what a connection needs.
"""

import os
import sys
from typing import Final

from curation.guests.targets import GUEST_HOST
from curation.isolation.hardening import Hardening
from curation.isolation.spawn import spawn

GUEST_HOST_LIMITS: Final = Hardening(open_files=1024)
USAGE: Final = 2
"""The exit code of an environment that is no use."""


def carry() -> int:
    """Run one guest, for the operator that the environment names: the exit code. See `carrier`."""
    guest_host = spawn(GUEST_HOST, GUEST_HOST_LIMITS)
    import logging

    from curation.pods import carrier
    from curation.pods.carrier_settings import CarrierSettings

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = CarrierSettings.of(os.environ)
    except ValueError as error:
        sys.stderr.write(f"Error: {error}\n")
        guest_host.kill()
        return USAGE
    return carrier.main(settings, guest_host)
