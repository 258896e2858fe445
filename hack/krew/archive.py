"""Makes the archive of kubectl-curation for the platform that this runs on, from the locked requirements alone.

PyInstaller puts the interpreter, the libraries and the program into one folder. It cannot cross-compile: the release
workflow runs this on each platform. The archive runs on a system with the C library of this one, or a newer.
"""

from __future__ import annotations

import gzip
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
NAME: Final = "kubectl-curation"
_SYSTEMS: Final = {"Linux": "linux", "Darwin": "darwin"}
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
# Of the operator alone; PyInstaller would follow where a library imports them if they are there.
_LEFT_OUT: Final = ("uvloop", "wasmtime", "kopf", "pip", "setuptools", "tkinter")


class CannotBundle(Exception):
    """There is no archive of this platform; the message says why."""


def platform_here() -> tuple[str, str]:
    """System and architecture, by Go's names, which krew uses. Raises CannotBundle."""
    system, machine = platform.system(), platform.machine()
    try:
        return _SYSTEMS[system], _MACHINES[machine.lower()]
    except KeyError:
        raise CannotBundle(f"there is no archive of kubectl-curation for {system} on {machine}") from None


def archive(folder: Path, version: str) -> Path:
    """Make it in that folder: `kubectl-curation-<version>-<os>-<arch>.tar.gz`. Raises CannotBundle."""
    system, architecture = platform_here()
    target = folder / f"{NAME}-{version}-{system}-{architecture}.tar.gz"
    with tempfile.TemporaryDirectory(prefix="curation-plugin-") as scratch:
        made = _bundled(Path(scratch))
        shutil.copy(ROOT / "LICENSE", made)
        _packed(made, target)
    return target


def _bundled(scratch: Path) -> Path:
    """The folder with the program."""
    environment = scratch / "environment"
    _run(sys.executable, "-m", "venv", str(environment))
    pip = (str(environment / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check")
    for locked in ("runtime", "plugin", "build"):
        requirements = str(ROOT / "requirements" / f"{locked}.txt")
        _run(*pip, "--only-binary=:all:", "--require-hashes", "-r", requirements)
    # Of a copy: a build leaves folders beside the sources.
    copied = scratch / "source"
    copied.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copied)
    shutil.copytree(ROOT / "operator", copied / "operator", ignore=shutil.ignore_patterns("__pycache__"))
    _run(*pip, "--no-deps", "--no-build-isolation", str(copied))
    out = scratch / "out"
    _run(
        str(environment / "bin" / "pyinstaller"),
        *("--onedir", "--noconfirm", "--log-level=ERROR", "--name", NAME),
        *("--collect-data=curation", "--copy-metadata=curation-operator"),
        *(f"--exclude-module={name}" for name in _LEFT_OUT),
        *(f"--{what}path={scratch / what}" for what in ("work", "spec")),
        *("--distpath", str(out), str(ROOT / "hack" / "krew" / "entry.py")),
    )
    return out / NAME


def _packed(folder: Path, target: Path) -> None:
    """The files in their order, of nobody and of no time."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = 0
        return member

    with (
        target.open("wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(folder.rglob("*")):
            tar.add(path, arcname=f"{NAME}/{path.relative_to(folder)}", recursive=False, filter=plain)


def _run(*command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_REQUIRE", "PYTHON"))}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if ended.returncode:
        raise CannotBundle(f"`{' '.join(command[:3])}` failed: {ended.stderr.strip()[-2000:]}")
