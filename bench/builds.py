"""A build of the operator to be measured: the one of this checkout, or that of another commit."""

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testing.operator_process import PROGRAM

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = "requirements/runtime.txt"


@dataclass(frozen=True)
class Build:
    """The sources of the operator, with its CRDs and manifests, and an interpreter that has what it needs."""

    name: str
    root: Path
    python: Path
    script: Path
    """Of its operator, which names no folder."""

    @property
    def program(self) -> list[str]:
        """How its operator is called, without arguments."""
        return [str(self.python), str(self.script)]

    @property
    def environment(self) -> list[str]:
        """NAME=VALUE for its operator: its sources come before those that are installed."""
        return [f"PYTHONPATH={self.root / 'operator'}"]


OWN: Final = Build("this", ROOT, Path(sys.executable), PROGRAM)


@contextmanager
def of_commit(commit: str, repository: Path = ROOT) -> Iterator[Build]:
    """The build of a commit, in a temporary folder that goes with it.

    It has an environment of its own, unless it needs the very packages that this checkout needs. Raises ValueError for
    what git knows no commit of.
    """
    name = _git(repository, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}").decode().strip()
    folder = Path(tempfile.mkdtemp(prefix="curation-build-"))
    try:
        # Not a worktree: git keeps no record of it, so a run that is killed leaves nothing but a temporary folder.
        with tarfile.open(fileobj=io.BytesIO(_git(repository, "archive", name))) as archive:
            archive.extractall(folder / "tree", filter="data")
        yield Build(name[:12], folder / "tree", _interpreter(folder, repository), _script(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _script(folder: Path) -> Path:
    """What an installer writes: the function that a build begins with has had another name."""
    project = tomllib.loads((folder / "tree" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, function = project["scripts"][PROGRAM.name].partition(":")
    script = folder / PROGRAM.name
    script.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n", encoding="utf-8")
    return script


def _interpreter(folder: Path, repository: Path) -> Path:
    wanted = folder / "tree" / LOCK
    if wanted.read_text() == (repository / LOCK).read_text():
        return Path(sys.executable)
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    subprocess.run([*install, "-r", str(wanted)], check=True)
    # The operator asks for its own version. Its sources come from the tree, by the environment of `Build`.
    subprocess.run([*install[:-1], "--no-deps", str(folder / "tree")], check=True)
    return python


def _git(repository: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode().strip() or "no such commit"
        raise ValueError(f"git {' '.join(arguments)}: {said}")
    return done.stdout
