"""Flux' controllers, with their CRDs.

go/go.mod repeats the `replace` lines of the controllers' own, which Go heeds in the main module only. One is ours:
pkg/artifact at 0.18.1, since the module proxy does not serve the 0.18.3 that source-controller asks for.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from testing.go_modules import Go, GoModules

CRDS = "crds"
"""The folder of the CRDs, beside the programs."""


def _crds(go: Go, package: str, folder: Path) -> None:
    module = Path(go("list", "-mod=readonly", "-m", "-f", "{{.Dir}}", package).strip())
    (folder / CRDS).mkdir(exist_ok=True)
    for crd in (module / "config" / "crd" / "bases").glob("*.yaml"):
        shutil.copyfile(crd, folder / CRDS / crd.name)


FLUX = GoModules(
    name="gitops",
    what="Flux' controllers",
    takes="13 minutes of processor time with an empty Go cache, and some downloads",
    source=Path(__file__).parent / "go",
    packages={
        "source-controller": "github.com/fluxcd/source-controller",
        "kustomize-controller": "github.com/fluxcd/kustomize-controller",
    },
    add=_crds,
)
