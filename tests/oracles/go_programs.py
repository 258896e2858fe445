"""What checks our output and is to be had as a Go module: programs, built once into the user's cache folder, and files.

Called by tests; each has a folder with a go.mod and a go.sum that pin every byte.
"""

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from testing.controlplane.binaries import cache_folder
from testing.controlplane.errors import ControlPlaneError
from testing.controlplane.golang import find_go

# A first build compiles the API machinery, or a Prometheus: some minutes on 2 busy cores.
_LIMIT = 1200


class CannotBuild(Exception):
    """There is no Go, or its modules cannot be had here; the message says which."""


def build(source: Path, package: str = ".", flags: Sequence[str] = ()) -> Path:
    """The program of a package, named after the source's folder.

    Raises CannotBuild; an error of the compiler is an AssertionError.
    """
    files = sorted(path for path in source.iterdir() if path.suffix in {".mod", ".sum", ".go"})
    digest = hashlib.sha256(b"".join([*(path.read_bytes() for path in files), *map(str.encode, flags)])).hexdigest()
    name = source.name.removesuffix("_go")
    target = cache_folder(os.environ) / f"{name}-{digest[:12]}"
    if target.exists():
        return target
    try:
        go = find_go(cache_folder(os.environ))
    except ControlPlaneError as error:
        raise CannotBuild(str(error)) from None
    # Reading the dependencies downloads them: what fails here is the network or the proxy, and not the program.
    found = _go(go, source, "list", "-mod=readonly", *flags, "-deps", package)
    if found.returncode:
        raise CannotBuild(f"the Go modules of {name} cannot be had: {found.stderr.strip()[-500:]}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as scratch:
        command = ("build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", *flags, "-o", f"{scratch}/{name}", package)
        built = _go(go, source, *command)
        assert built.returncode == 0, built.stderr
        Path(scratch, name).replace(target)  # two builders at once are fine
    return target


def module(source: Path, path: str) -> Path:
    """The folder of a module that is downloaded and not compiled. Raises CannotBuild."""
    try:
        go = find_go(cache_folder(os.environ))
    except ControlPlaneError as error:
        raise CannotBuild(str(error)) from None
    found = _go(go, source, "mod", "download", "-json", path)
    if found.returncode:
        raise CannotBuild(f"the Go module {path} cannot be had: {(found.stderr or found.stdout).strip()[-500:]}")
    return Path(json.loads(found.stdout)["Dir"])


def _go(go: str, source: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    try:
        return subprocess.run(
            [go, *arguments], cwd=source, env=environ, capture_output=True, text=True, timeout=_LIMIT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CannotBuild(f"{' '.join(map(str, error.cmd))} took longer than {_LIMIT} s") from None
