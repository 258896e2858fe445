"""cert-manager as one program, with its CRDs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from testing.go_modules import Go, GoModules

PROGRAM: Final = "cert-manager"
CRDS: Final = "crds"
"""The folder of the CRDs, beside the program."""
MODULE: Final = "github.com/cert-manager/cert-manager"
SOURCE: Final = Path(__file__).parent / "go"


def _crds(go: Go, package: str, folder: Path) -> None:
    module = Path(go("list", "-mod=readonly", "-m", "-f", "{{.Dir}}", MODULE).strip())
    shutil.copytree(module / "deploy" / "crds", folder / CRDS, ignore=shutil.ignore_patterns("*.md"))


CERT_MANAGER = GoModules(
    name="certmanager",
    what="cert-manager",
    takes="5 minutes of processor time, and some downloads",
    source=SOURCE,
    packages={PROGRAM: "."},
    sources=("main.go",),
    add=_crds,
)
