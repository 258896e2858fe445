"""Builds the shipped modules: `make modules` is `python -m hack.modules build`; CI runs `python -m hack.modules check`.

Each folder of `modules/` with a `build.json` is a Rust crate whose component is kept in the operator's package, so that
neither a user nor a test needs Rust. The bytes are a function of the sources, the pinned crates and the compiler alone:
every path that the compiler could write into them is remapped, and `build.json` records the compiler they came from.

The component is made by `wasm-component-ld`, which comes with Rust (1.82 or newer) beside its own linker, so that
nothing but cargo and the target `wasm32-unknown-unknown` has to be there.
"""

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "modules"
BUILTINS = ROOT / "operator" / "curation" / "wasm" / "builtins"
TARGET = "wasm32-unknown-unknown"

# Settings of the caller's cargo and rustc that would change the bytes.
_FOREIGN = ("RUSTFLAGS", "RUSTC", "RUSTDOC", "CARGO_ENCODED_", "CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_")


class BuildError(Exception):
    """The build failed, or its result may not be shipped; the message says which and what to do."""


class CratesUnavailable(BuildError):
    """The crates that the module is built from could not be fetched."""


@dataclass(frozen=True)
class Toolchain:
    """The Rust found here. `version` is what decides the bytes: release and commit."""

    version: str
    commit: str
    sysroot: Path
    linker: Path


@dataclass(frozen=True)
class Module:
    """A crate under `modules/` and what was recorded at its last build."""

    name: str
    builtin: str
    rustc: str
    sha256: str

    @property
    def component(self) -> Path:
        """The component as it is kept in the operator's package."""
        return BUILTINS / f"{self.builtin}.wasm"


def modules() -> list[Module]:
    """All crates that ship as a component."""
    found = []
    for record in sorted(SOURCES.glob("*/build.json")):
        found.append(Module(name=record.parent.name, **json.loads(record.read_text())))
    return found


def cache_folder() -> Path:
    """Where crates are copied to and built: outside the checkout, safe to delete."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "curation-operator" / "modules"


def find_toolchain() -> Toolchain | str:
    """The Rust that can build the modules, or the reason why there is none."""
    if shutil.which("cargo") is None or shutil.which("rustc") is None:
        return "cargo and rustc are not on the PATH"
    facts = dict(line.split(": ", 1) for line in _output("rustc", "-vV").splitlines() if ": " in line)
    sysroot = Path(_output("rustc", "--print", "sysroot"))
    if not (sysroot / "lib" / "rustlib" / TARGET).is_dir():
        return f"this Rust lacks the target {TARGET} (rustup target add {TARGET})"
    linker = sysroot / "lib" / "rustlib" / facts["host"] / "bin" / "wasm-component-ld"
    if not linker.is_file():
        return "this Rust comes without wasm-component-ld (it is part of 1.82 and newer)"
    commit = facts["commit-hash"]
    return Toolchain(f"{facts['release']} ({commit[:9]})", commit, sysroot, linker)


def compile_module(name: str, toolchain: Toolchain, work: Path) -> bytes:
    """The component built from the crate `name` in the folder `work`, checked to name no folder of this machine.

    :raises BuildError: when cargo fails, or when the component holds a path or a registry's name.
    """
    with _alone(work):
        return _compile(name, toolchain, work)


def _compile(name: str, toolchain: Toolchain, work: Path) -> bytes:
    crate = _copy_sources(name, work)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    environment["CARGO_TARGET_DIR"] = str(work / "target")
    environment["CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER"] = str(toolchain.linker)
    # The registry's source folders exist, and so can be remapped, only once the crates have been fetched.
    try:
        _cargo(crate, environment, "fetch")
    except BuildError as error:
        raise CratesUnavailable(str(error)) from None
    home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    # Of several prefixes that match, rustc takes the last one given.
    remaps = {home: "/cargo", toolchain.sysroot: "/rust"}
    remaps[toolchain.sysroot / "lib" / "rustlib" / "src" / "rust"] = f"/rustc/{toolchain.commit}"
    registries = sorted((home / "registry" / "src").glob("*"))
    remaps.update(dict.fromkeys(registries, "/crates"))
    remaps[work / "src"] = "/modules"
    flags = [f"--remap-path-prefix={folder}={neutral}" for folder, neutral in remaps.items()]
    environment["CARGO_ENCODED_RUSTFLAGS"] = "\x1f".join(flags)
    _cargo(crate, environment, "build", "--release", "--offline", "--target", TARGET)
    wasm = work / "target" / TARGET / "release" / f"{name.replace('-', '_')}.wasm"
    component = wasm.read_bytes()
    private = [Path.home(), home, toolchain.sysroot, ROOT, work, *(Path(registry.name) for registry in registries)]
    if found := traces(component, private):
        raise BuildError(f"the component of {name} names {', '.join(found)}: a path is not remapped in hack/modules.py")
    return component


def traces(component: bytes, names: Iterable[Path]) -> list[str]:
    """What the bytes tell of the machine they were built on: the given names, or those of cargo and rustup."""
    suspects = [str(name) for name in names if name != Path(name.anchor)]
    return [name for name in (*suspects, "registry", ".cargo", ".rustup", "target/") if name.encode() in component]


def build(work: Path | None = None) -> None:
    """Builds every module into the operator's package and records the compiler."""
    toolchain = find_toolchain()
    if isinstance(toolchain, str):
        raise BuildError(f"cannot build the modules: {toolchain}")
    for module in modules():
        component = compile_module(module.name, toolchain, work or cache_folder())
        digest = hashlib.sha256(component).hexdigest()
        module.component.parent.mkdir(parents=True, exist_ok=True)
        module.component.write_bytes(component)
        record = {"builtin": module.builtin, "rustc": toolchain.version, "sha256": digest}
        (SOURCES / module.name / "build.json").write_text(json.dumps(record, indent=2) + "\n")
        print(f"{module.component.relative_to(ROOT)}: {len(component)} bytes, sha256:{digest}")


def check(work: Path | None = None) -> str | None:
    """Builds every module and compares with what is kept.

    :returns: None when all are the same, or the reason why nothing could be compared.
    :raises BuildError: when the kept component is not what its record says or what the sources build to.
    """
    for module in modules():
        if hashlib.sha256(module.component.read_bytes()).hexdigest() != module.sha256:
            raise BuildError(f"{module.component.name} is not the one recorded in build.json: run `make modules`")
    toolchain = find_toolchain()
    if isinstance(toolchain, str):
        return toolchain
    for module in modules():
        if module.rustc != toolchain.version:
            return f"{module.name} was built by rustc {module.rustc}, and here is {toolchain.version}"
        try:
            component = compile_module(module.name, toolchain, work or cache_folder())
        except CratesUnavailable as error:
            return str(error)
        if component != module.component.read_bytes():
            raise BuildError(f"the sources of {module.name} build to other bytes than are kept: run `make modules`")
    return None


def main(arguments: list[str] | None = None) -> int:
    """The command line: 0 when all is well or cannot be compared, 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m hack.modules", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["build", "check"])
    try:
        if parser.parse_args(arguments).command == "build":
            build()
        elif (reason := check()) is not None:
            print(f"modules: not compared, since {reason}")
        else:
            print("modules: the sources build to the bytes that are kept")
    except BuildError as error:
        print(f"modules: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Two builds at once would pull the copied sources from under each other."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _copy_sources(name: str, work: Path) -> Path:
    """Copies the crate and the world to `work/src`: cargo writes its lock beside the crate."""
    for folder in ("wit", name):
        copy = work / "src" / folder
        shutil.rmtree(copy, ignore_errors=True)
        # The copies get the time of now: cargo compares times, and would take another checkout's older file for built.
        ignored = shutil.ignore_patterns("target", "Cargo.lock")
        shutil.copytree(SOURCES / folder, copy, ignore=ignored, copy_function=shutil.copyfile)
    return work / "src" / name


def _cargo(crate: Path, environment: Mapping[str, str], *arguments: str) -> None:
    done = subprocess.run(["cargo", *arguments, "--quiet"], cwd=crate, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildError(f"cargo {arguments[0]} failed for {crate.name}: {done.stderr.strip()}")


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
