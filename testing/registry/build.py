"""The registry, oras and cosign: the main.go files are their own programs with fewer drivers."""

from __future__ import annotations

from pathlib import Path

from testing.go_modules import GoModules

REGISTRY = GoModules(
    name="registry",
    what="the registry and oras",
    takes="two minutes of processor time, and some downloads",
    source=Path(__file__).parent / "go",
    packages={"registry": ".", "oras": "oras.land/oras/cmd/oras"},
    sources=("main.go",),
)

COSIGN = GoModules(
    name="cosign",
    what="cosign",
    takes="seven minutes of processor time with an empty Go cache, and some downloads",
    source=Path(__file__).parent / "cosign",
    packages={"cosign": "."},
    sources=("main.go",),
)
