"""The templates of other languages as their users have them: copied out of the checkout, and built by their tools.

A build takes half a minute. The user's cache keeps it for these sources and these tools, and npm's packages too.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from curation.building.build_cache import alone, cache_folder
from hack.modules import shipped

COMPONENTIZE_JS = "@bytecodealliance/componentize-js@0.23.0"
"""As modules/template-javascript/package.json has it."""
_SECONDS = 900


@pytest.fixture(scope="session")
def python_module() -> bytes:
    """The component of modules/template-python."""
    program = Path(sys.executable).with_name("componentize-py")
    if not program.exists():
        pytest.skip("componentize-py is not installed beside this Python")

    def build(copy: Path, out: Path) -> None:
        _run(copy, program, "-d", "wit", "-w", "guest", "componentize", "--stub-wasi", "app", "-o", out)

    return _kept("template-python", version("componentize-py"), build)


@pytest.fixture(scope="session")
def javascript_module() -> bytes:
    """The component of modules/template-javascript."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not on the PATH")

    def build(copy: Path, out: Path) -> None:
        (copy / "node_modules").symlink_to(_npm_packages())
        _run(copy, "node", "build.mjs", out)

    return _kept("template-javascript", COMPONENTIZE_JS, build)


def _npm_packages() -> Path:
    folder = cache_folder() / f"npm-{hashlib.sha256(COMPONENTIZE_JS.encode()).hexdigest()[:12]}"
    with alone(cache_folder() / "npm"):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(prefix=".npm-", dir=cache_folder()) as scratch:
                try:
                    _run(Path(scratch), "npm", "install", "--no-audit", "--no-fund", "--no-save", COMPONENTIZE_JS)
                except subprocess.CalledProcessError as error:
                    pytest.skip(f"{COMPONENTIZE_JS} cannot be had here: {error.stderr[-300:]}")
                shutil.copytree(scratch, folder, symlinks=True)
    return folder / "node_modules"


def _kept(template: str, tools: str, build: Callable[[Path, Path], None]) -> bytes:
    sources = shipped.SOURCES / template
    digest = hashlib.sha256(tools.encode())
    for path in sorted(each for each in sources.rglob("*") if each.is_file()):
        digest.update(f"{path.relative_to(sources)}\0".encode() + path.read_bytes())
    digest.update((sources / "wit" / "curation.wit").read_bytes())
    kept = cache_folder() / "kept"
    component = kept / f"{template}-{digest.hexdigest()[:32]}.wasm"
    with alone(kept / template):
        if not component.is_file():
            with tempfile.TemporaryDirectory(prefix="curation-template-") as folder:
                copy = Path(folder) / "my-module"
                shutil.copytree(sources, copy)
                build(copy, Path(folder) / "module.wasm")
                whole = component.with_suffix(".part")
                shutil.copyfile(Path(folder) / "module.wasm", whole)
                whole.rename(component)
        return component.read_bytes()


def _run(folder: Path, *command: str | Path) -> None:
    subprocess.run(
        [str(each) for each in command], cwd=folder, check=True, capture_output=True, text=True, timeout=_SECONDS
    )
