"""The Rust that builds modules: found on the PATH, and given the target `wasm32-unknown-unknown` where rustup can."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from curation.building.build_cache import alone, cache_folder

TARGET = "wasm32-unknown-unknown"


@dataclass(frozen=True)
class Toolchain:
    """The Rust found here. `version`, release and commit, is what decides the bytes."""

    version: str
    commit: str
    host: str
    sysroot: Path
    linker: Path


def find_toolchain() -> Toolchain | str:
    """The Rust that can build modules, or the reason why there is none.

    A target that is missing is added by rustup, once (some 20 MB): nothing but Rust itself has to be there.
    """
    if shutil.which("cargo") is None or shutil.which("rustc") is None:
        return "cargo and rustc are not on the PATH"
    facts = dict(line.split(": ", 1) for line in _output("rustc", "-vV").splitlines() if ": " in line)
    sysroot = Path(_output("rustc", "--print", "sysroot"))
    linker = sysroot / "lib" / "rustlib" / facts["host"] / "bin" / "wasm-component-ld"
    if not linker.is_file():
        return "this Rust comes without wasm-component-ld (rustup's has it from 1.82 on)"
    if (reason := _ensure_target(sysroot)) is not None:
        return reason
    commit = facts["commit-hash"]
    return Toolchain(f"{facts['release']} ({commit[:9]})", commit, facts["host"], sysroot, linker)


def _ensure_target(sysroot: Path) -> str | None:
    """The reason why the target is not there, after an attempt to add it."""
    installed = sysroot / "lib" / "rustlib" / TARGET
    if installed.is_dir():
        return None
    lacks = f"this Rust lacks the target {TARGET}"
    if shutil.which("rustup") is None:
        return f"{lacks}, and there is no rustup on the PATH to add it: install what your distribution has for it"
    command = ["rustup", "target", "add", TARGET]
    with alone(cache_folder() / "rustup"):
        if installed.is_dir():
            return None  # another build has added it meanwhile
        print(f"set-up: {' '.join(command)} (once; some 20 MB)", flush=True)
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return f"{lacks}, and `{' '.join(command)}` failed: {' '.join(done.stderr.split())[-300:]}"
    return None if installed.is_dir() else f"{lacks}: rustup added it to another Rust than the rustc on the PATH"


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
