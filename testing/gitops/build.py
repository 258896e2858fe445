"""Builds Flux' controllers from Go modules, with their CRDs, into the user's cache folder, once.

As the control plane is built: go/go.mod names the programs in its `tool` lines, and go/go.sum pins every byte. That
go.mod repeats the `replace` lines of the controllers' own, which Go heeds in the main module only. One is ours:
pkg/artifact at 0.18.1, since the module proxy does not serve the 0.18.3 that source-controller asks for.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from testing.controlplane.binaries import BUILD_FLAGS, cache_folder
from testing.controlplane.build import only_one, whole_or_nothing
from testing.controlplane.errors import ControlPlaneError
from testing.controlplane.golang import find_go
from testing.controlplane.progress import Progress

MODULE = Path(__file__).parent / "go"
PACKAGES = {
    "source-controller": "github.com/fluxcd/source-controller",
    "kustomize-controller": "github.com/fluxcd/kustomize-controller",
}
CRDS = "crds"
"""The folder of the CRDs, beside the programs."""


def built_folder(environ: Mapping[str, str], module: Path = MODULE) -> Path:
    """Where the build is kept, whether or not it is there yet."""
    digest = hashlib.sha256(repr(BUILD_FLAGS).encode())
    for name in ("go.mod", "go.sum"):
        digest.update((module / name).read_bytes())
    return cache_folder(environ) / f"gitops-{digest.hexdigest()[:12]}"


def find_or_build(environ: Mapping[str, str] | None = None) -> Path:
    """The folder of the programs and of their CRDs. Raises ControlPlaneError with the end of what Go said."""
    environ = os.environ if environ is None else environ
    target = built_folder(environ)
    if target.is_dir():
        return target
    progress = Progress()
    with only_one(target.parent / "gitops.lock", "Flux' controllers", progress):
        if not target.is_dir():  # whoever held the lock before us has built it
            _build(target, environ, progress)
    return target


def _build(target: Path, environ: Mapping[str, str], progress: Progress) -> None:
    progress.say(
        f"Building Flux' controllers ({', '.join(PACKAGES)}) from Go modules, into {target}.\n"
        "This happens once: 13 minutes of processor time with an empty Go cache, and some downloads."
    )
    go = find_go(cache_folder(environ))
    with whole_or_nothing(target) as scratch:
        (scratch / CRDS).mkdir()
        for number, (name, package) in enumerate(PACKAGES.items(), 1):
            with progress.step(f"[{number}/{len(PACKAGES)}] {name}"):
                _go(go, "build", *BUILD_FLAGS, "-ldflags", "-s -w", "-o", str(scratch / name), package)
            folder = Path(_go(go, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", package).strip())
            for crd in (folder / "config" / "crd" / "bases").glob("*.yaml"):
                shutil.copyfile(crd, scratch / CRDS / crd.name)


def _go(go: str, *arguments: str) -> str:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": "local"}
    ended = subprocess.run([go, *arguments], cwd=MODULE, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise ControlPlaneError(
            f"`go {arguments[0]} {arguments[-1]}` failed ({ended.returncode}); the end of what it said:\n"
            f"{ended.stderr[-3000:].rstrip()}\nCheck the disk space and the Go module proxy (`go env GOPROXY`)."
        )
    return ended.stdout
