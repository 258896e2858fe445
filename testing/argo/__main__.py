"""`python -m testing.argo`: builds the controller of Argo Workflows, or finds it."""

from __future__ import annotations

import sys

from testing.argo.build import ARGO
from testing.controlplane.errors import ControlPlaneError


def main() -> int:
    """Build; the last line is the folder. Returns the exit code."""
    try:
        print(ARGO.find_or_build())
    except ControlPlaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
