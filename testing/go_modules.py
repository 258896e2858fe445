"""Programs for tests that are to be had as Go modules: built once, together, into a folder of the user's cache.

Each set has a folder with a go.mod, which names the programs in its `tool` lines, and a go.sum that pins every byte. As
the control plane is built: two processes never build at once, and what was cut short is never taken for whole.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from testing.controlplane.binaries import BUILD_FLAGS, cache_folder
from testing.controlplane.build import only_one, whole_or_nothing
from testing.controlplane.errors import ControlPlaneError
from testing.controlplane.golang import find_go
from testing.controlplane.progress import Progress

Go = Callable[..., str]
"""Runs Go with these arguments and returns what it printed. Raises ControlPlaneError with the end of what it said."""


@dataclass(frozen=True)
class GoModules:
    """A set of programs."""

    name: str
    """Of its folder in the cache, and of its lock."""
    what: str
    """What people call it."""
    takes: str
    """What a first build takes, in words."""
    source: Path
    """The folder with its go.mod."""
    packages: Mapping[str, str]
    """The package of each program."""
    sources: tuple[str, ...] = ()
    """Files beside go.mod and go.sum that the build is made of."""
    add: Callable[[Go, str, Path], None] = lambda go, package, folder: None
    """Adds to the folder what else of a package is wanted."""

    def folder(self, environ: Mapping[str, str], source: Path | None = None) -> Path:
        """Where the build is kept, whether or not it is there yet."""
        digest = hashlib.sha256(repr(BUILD_FLAGS).encode())
        for name in ("go.mod", "go.sum", *self.sources):
            digest.update(((source or self.source) / name).read_bytes())
        return cache_folder(environ) / f"{self.name}-{digest.hexdigest()[:12]}"

    def find_or_build(self, environ: Mapping[str, str] | None = None) -> Path:
        """The folder of the programs. Raises ControlPlaneError with the end of what Go said."""
        environ = os.environ if environ is None else environ
        target = self.folder(environ)
        if target.is_dir():
            return target
        progress = Progress()
        with only_one(target.parent / f"{self.name}.lock", self.what, progress):
            if not target.is_dir():  # whoever held the lock before us has built it
                self._build(target, environ, progress)
        return target

    def _build(self, target: Path, environ: Mapping[str, str], progress: Progress) -> None:
        progress.say(f"Building {self.what} from Go modules, into {target}.\nThis happens once: {self.takes}.")
        program = find_go(cache_folder(environ))

        def go(*arguments: str) -> str:
            return _run(program, self.source, *arguments)

        with whole_or_nothing(target) as scratch:
            for number, (name, package) in enumerate(self.packages.items(), 1):
                with progress.step(f"[{number}/{len(self.packages)}] {name}"):
                    go("build", *BUILD_FLAGS, "-ldflags", "-s -w", "-o", str(scratch / name), package)
                self.add(go, package, scratch)


def print_built(*sets: GoModules) -> int:
    """For the command lines of sets: builds each if necessary, and prints its folder. Returns the exit code."""
    try:
        for each in sets:
            print(each.find_or_build())
    except ControlPlaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(go: str, source: Path, *arguments: str) -> str:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": "local"}
    ended = subprocess.run([go, *arguments], cwd=source, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise ControlPlaneError(
            f"`go {arguments[0]} {arguments[-1]}` failed ({ended.returncode}); the end of what it said:\n"
            f"{ended.stderr[-3000:].rstrip()}\nCheck the disk space and the Go module proxy (`go env GOPROXY`)."
        )
    return ended.stdout
