"""The registry and oras: go/main.go is distribution's own server with fewer drivers; go/go.mod names oras."""

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
