"""Builds the registry and oras from Go modules into the user's cache folder, once, as the control plane is built.

go/main.go is distribution's own server with fewer drivers; go/go.mod names oras in its `tool` line, and go/go.sum pins
every byte.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from testing.controlplane.binaries import BUILD_FLAGS, cache_folder
from testing.controlplane.build import only_one, whole_or_nothing
from testing.controlplane.errors import ControlPlaneError
from testing.controlplane.golang import find_go
from testing.controlplane.progress import Progress

MODULE = Path(__file__).parent / "go"
PACKAGES = {"registry": ".", "oras": "oras.land/oras/cmd/oras"}


def built_folder(environ: Mapping[str, str]) -> Path:
    """Where the build is kept, whether or not it is there yet."""
    digest = hashlib.sha256(repr(BUILD_FLAGS).encode())
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((MODULE / name).read_bytes())
    return cache_folder(environ) / f"registry-{digest.hexdigest()[:12]}"


def find_or_build(environ: Mapping[str, str] | None = None) -> Path:
    """The folder of the two programs. Raises ControlPlaneError with the end of what Go said."""
    environ = os.environ if environ is None else environ
    target = built_folder(environ)
    if target.is_dir():
        return target
    progress = Progress()
    with only_one(target.parent / "registry.lock", "the registry", progress):
        if not target.is_dir():  # whoever held the lock before us has built it
            _build(target, environ, progress)
    return target


def _build(target: Path, environ: Mapping[str, str], progress: Progress) -> None:
    progress.say(
        f"Building the registry and oras from Go modules, into {target}.\n"
        "This happens once: two minutes of processor time, and some downloads."
    )
    go = find_go(cache_folder(environ))
    with whole_or_nothing(target) as scratch:
        for number, (name, package) in enumerate(PACKAGES.items(), 1):
            with progress.step(f"[{number}/{len(PACKAGES)}] {name}"):
                _go(go, "build", *BUILD_FLAGS, "-ldflags", "-s -w", "-o", str(scratch / name), package)


def _go(go: str, *arguments: str) -> None:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": "local"}
    ended = subprocess.run([go, *arguments], cwd=MODULE, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise ControlPlaneError(
            f"`go {arguments[0]} {arguments[-1]}` failed ({ended.returncode}); the end of what it said:\n"
            f"{ended.stderr[-3000:].rstrip()}\nCheck the disk space and the Go module proxy (`go env GOPROXY`)."
        )
