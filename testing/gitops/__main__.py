"""`python -m testing.gitops build` for `make gitops`: builds the controllers, or finds them."""

from __future__ import annotations

import argparse
import sys

from testing.controlplane.errors import ControlPlaneError
from testing.gitops.build import FLUX


def main() -> int:
    """Run the one command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m testing.gitops", description="Flux' controllers for the tests")
    parser.add_argument("command", choices=["build"], help="build them if necessary; the last line is their folder")
    parser.parse_args()
    try:
        print(FLUX.find_or_build())
    except ControlPlaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
