"""The contract's packages can be had as modules/contract/README.md says: by git, and as npm packs it."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hack.modules import shipped

SECONDS = 600
WORLD = "wit/curation.wit"


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> tuple[str, str]:
    """A git repository with the modules in it: its URL, and a commit."""
    folder = tmp_path / "repository"
    shutil.copytree(shipped.SOURCES, folder / "modules", symlinks=True)
    run(folder, "git", "init", "--quiet", "--initial-branch=main")
    run(folder, "git", "add", "--all")
    person = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com", "-c", "commit.gpgsign=false")
    run(folder, "git", *person, "commit", "--quiet", "--message=modules")
    return folder.as_uri(), run(folder, "git", "rev-parse", "HEAD").strip()


def test_the_crate_is_found_in_a_git_repository(repository: tuple[str, str], tmp_path: Path) -> None:
    if shutil.which("cargo") is None:
        pytest.skip("cargo is not on the PATH")
    url, commit = repository
    copy = tmp_path / "my-module"
    shutil.copytree(shipped.SOURCES / "template", copy)
    manifest = copy / "Cargo.toml"
    named = f'curation-guest = {{ git = "{url}", rev = "{commit}" }}'
    lines = [named if line.startswith("curation-guest ") else line for line in manifest.read_text().splitlines()]
    manifest.write_text("\n".join(lines))
    found = json.loads(run(copy, "cargo", "metadata", "--format-version", "1", "--quiet"))["packages"]
    [crate] = [each for each in found if each["name"] == "curation-guest"]
    assert crate["source"].startswith("git+file://")
    assert (Path(crate["manifest_path"]).parent / WORLD).is_file()


def test_the_distribution_is_found_in_a_git_repository(repository: tuple[str, str], tmp_path: Path) -> None:
    url, commit = repository
    asked = f"curation-guest @ git+{url}@{commit}#subdirectory=modules/contract/python"
    run(tmp_path, sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "wheels", asked)
    [wheel] = (tmp_path / "wheels").glob("curation_guest-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"curation_guest/__init__.py", "curation_guest/build.py", f"curation_guest/{WORLD}"} <= set(names)


def test_what_npm_packs_has_all_that_a_build_needs() -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not on the PATH")
    [packed] = json.loads(run(shipped.SOURCES / "contract" / "javascript", "npm", "pack", "--dry-run", "--json"))
    assert {each["path"] for each in packed["files"]} == {"build.js", "index.js", "package.json", WORLD}
