"""`python -m testing.certmanager` for `make certmanager`: builds cert-manager, or finds it."""

from __future__ import annotations

import sys

from testing.certmanager.build import CERT_MANAGER
from testing.go_modules import print_built

if __name__ == "__main__":
    sys.exit(print_built(CERT_MANAGER))
