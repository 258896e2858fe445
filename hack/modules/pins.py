"""Whether a crate's manifest pins all that it is compiled with.

Without a Cargo.lock a newer release of any of them, even of one that only writes the bindings, changes the bytes: rustc
orders functions by hashes over all of them.
"""

import re
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path

from curation.building.crate import Crate
from curation.building.build_errors import CratesUnavailable
from curation.building.rust import TARGET


def unpinned(crate: Crate) -> list[str]:
    """The crates that are compiled for it and that its manifest names no exact version of, each with its version.

    :raises CratesUnavailable: when cargo cannot resolve them.
    """
    with tempfile.TemporaryDirectory(prefix="curation-pins-") as folder:
        copy = Path(folder) / "crate"
        shutil.copytree(crate.folder, copy, ignore=shutil.ignore_patterns(*crate.ignored))
        tree = ["cargo", "tree", "--quiet", "--target", TARGET, "--edges", "normal,build"]
        command = [*tree, "--prefix", "none", "--format", "{p}"]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    if done.returncode != 0:
        raise CratesUnavailable(f"cargo tree failed for {crate.package}: {done.stderr.strip()}")
    compiled = set(re.findall(r"^(\S+) v(\S+)", done.stdout, re.MULTILINE))
    pinned = _pins(tomllib.loads((crate.folder / "Cargo.toml").read_text(encoding="utf-8")))
    return sorted(f"{name} {version}" for name, version in compiled - pinned if name != crate.package)


def _pins(manifest: dict[str, object]) -> set[tuple[str, str]]:
    """Names and versions that a manifest asks for exactly, under whatever condition."""
    found: set[tuple[str, str]] = set()
    for key, value in manifest.items():
        if key == "dependencies" and isinstance(value, dict):
            for name, wanted in value.items():
                table = wanted if isinstance(wanted, dict) else {"version": wanted}
                version = str(table.get("version", ""))
                if version.startswith("="):
                    found.add((str(table.get("package", name)), version.removeprefix("=")))
        elif isinstance(value, dict):
            found |= _pins(value)
    return found
