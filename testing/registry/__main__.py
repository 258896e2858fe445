"""`python -m testing.registry build` for `make registry`: builds the programs, or finds them."""

from __future__ import annotations

import argparse
import sys

from testing.go_modules import print_built
from testing.registry.build import COSIGN, REGISTRY


def main() -> int:
    """Run the one command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m testing.registry", description="Registry, oras and cosign")
    parser.add_argument("command", choices=["build"], help="build them if necessary; the last lines are their folders")
    parser.parse_args()
    return print_built(REGISTRY, COSIGN)


if __name__ == "__main__":
    sys.exit(main())
