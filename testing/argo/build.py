"""The controller of Argo Workflows, with its CRDs, at the one version that the module proxy serves: to measure only."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from testing.go_modules import Go, GoModules

PROGRAM: Final = "workflow-controller"
CRDS: Final = "crds"
"""The folder of the CRDs, beside the program."""
MODULE: Final = "github.com/argoproj/argo-workflows/v4"


def _crds(go: Go, package: str, folder: Path) -> None:
    module = Path(go("list", "-mod=readonly", "-m", "-f", "{{.Dir}}", MODULE).strip())
    # The full ones are those of a release; the minimal ones know no fields.
    crds = module / "manifests" / "base" / "crds" / "full"
    shutil.copytree(crds, folder / CRDS, ignore=shutil.ignore_patterns("README.md", "kustomization.yaml"))


ARGO = GoModules(
    name="argo",
    what="the controller of Argo Workflows",
    takes="5 minutes of processor time, and some downloads",
    source=Path(__file__).parent / "go",
    packages={PROGRAM: f"{MODULE}/cmd/workflow-controller"},
    add=_crds,
)
