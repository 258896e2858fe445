"""The real kstatus library and Flux's health check expressions, by the Go program in `kstatus_go`.

It is built once into the user's cache folder, keyed by its source, for `tests/integration/test_kstatus_library.py`.
"""

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hack.controlplane.binaries import cache_folder
from hack.controlplane.errors import ControlPlaneError
from hack.controlplane.golang import find_go

_SOURCE = Path(__file__).parent / "kstatus_go"
_FILES = ("go.mod", "go.sum", "main.go")
# The first build compiles the API machinery: 3 minutes on 2 busy cores.
_LIMIT = 900


class CannotBuild(Exception):
    """There is no Go, or its modules cannot be had here; the message says which."""


@dataclass(frozen=True)
class Judged:
    """What the libraries say of one object. `flux` is empty where the Kustomization has no expressions for its kind."""

    kstatus: str
    message: str
    flux: str = ""


def program() -> Path:
    """The built program. Raises CannotBuild; an error of the compiler is an AssertionError."""
    digest = hashlib.sha256(b"".join((_SOURCE / name).read_bytes() for name in _FILES)).hexdigest()[:12]
    target = cache_folder(os.environ) / f"kstatus-{digest}"
    if target.exists():
        return target
    try:
        go = find_go(cache_folder(os.environ))
    except ControlPlaneError as error:
        raise CannotBuild(str(error)) from None
    # Reading the dependencies downloads them: what fails here is the network or the proxy, and not the program.
    found = _go(go, "list", "-mod=readonly", "-deps", ".")
    if found.returncode:
        raise CannotBuild(f"the Go modules of the kstatus program cannot be had: {found.stderr.strip()[-500:]}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".kstatus-") as scratch:
        built = _go(go, "build", "-mod=readonly", "-trimpath", "-o", f"{scratch}/kstatus", ".")
        assert built.returncode == 0, built.stderr
        Path(scratch, "kstatus").replace(target)  # two builders at once are fine
    return target


def judge(binary: Path, objects: Sequence[dict[str, Any]], kustomization: Path | None = None) -> list[Judged]:
    """What the libraries say of each object; `kustomization` is a JSON file."""
    arguments = ["-kustomization", str(kustomization)] if kustomization else []
    run = subprocess.run(
        [str(binary), *arguments],
        input="\n".join(map(json.dumps, objects)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    verdicts = [Judged(**json.loads(line)) for line in run.stdout.splitlines()]
    assert len(verdicts) == len(objects)
    return verdicts


def _go(go: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    try:
        return subprocess.run(
            [go, *arguments], cwd=_SOURCE, env=environ, capture_output=True, text=True, timeout=_LIMIT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CannotBuild(f"{' '.join(map(str, error.cmd))} took longer than {_LIMIT} s") from None
