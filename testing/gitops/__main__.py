"""`python -m testing.gitops build` for `make gitops`: builds the controllers, or finds them."""

from __future__ import annotations

import argparse
import sys

from testing.gitops.build import FLUX
from testing.go_modules import print_built


def main() -> int:
    """Run the one command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m testing.gitops", description="Flux' controllers for the tests")
    parser.add_argument("command", choices=["build"], help="build them if necessary; the last line is their folder")
    parser.parse_args()
    return print_built(FLUX)


if __name__ == "__main__":
    sys.exit(main())
