"""From a crate's folder to the bytes of a component, which are a function of the sources and the compiler alone.

Every path that the compiler could write into them is remapped. The component is made by `wasm-component-ld`, which
comes with Rust beside its own linker.
"""

import hashlib
import inspect
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from curation.building.build_cache import alone, cache_folder
from curation.building.build_errors import BuildError, CratesUnavailable
from curation.building.crate import Crate
from curation.building.rust import TARGET, Toolchain

# Settings of the caller's cargo and rustc that would change the bytes.
_FOREIGN = ("RUSTFLAGS", "RUSTC", "RUSTDOC", "CARGO_ENCODED_", "CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_")


def build_component(crate: Crate, toolchain: Toolchain, work: Path) -> bytes:
    """The component built in the folder `work`, checked to name no folder of this machine.

    :raises BuildError: when cargo fails, or when the component holds a path or a registry's name.
    """
    with alone(work):
        return _build(crate, toolchain, work)


def kept_component(crate: Crate, toolchain: Toolchain, work: Path | None = None) -> bytes:
    """The component, built once for these sources and this compiler.

    :param work: the folder to build in; without it a temporary one, that is from nothing.
    :raises BuildError: see `build_component`.
    """
    recipe = hashlib.sha256((inspect.getsource(_build) + inspect.getsource(Crate.copy)).encode()).hexdigest()
    key = hashlib.sha256(f"{crate.digest()} {toolchain.version} {toolchain.host} {recipe}".encode()).hexdigest()
    kept = cache_folder() / "kept"
    component = kept / f"{key}.wasm"
    with alone(kept):
        if not component.is_file():
            if work is not None:
                built = build_component(crate, toolchain, work)
            else:
                with tempfile.TemporaryDirectory(prefix="curation-module-") as folder:
                    built = build_component(crate, toolchain, Path(folder))
            whole = component.with_suffix(".part")
            whole.write_bytes(built)
            whole.rename(component)
        return component.read_bytes()


def traces(component: bytes, names: Iterable[Path | str]) -> list[str]:
    """Which of the names, paths of this machine as a rule, are in the bytes. "/" is in any, and means nothing."""
    return [str(name) for name in names if str(name) != "/" and str(name).encode() in component]


def _build(crate: Crate, toolchain: Toolchain, work: Path) -> bytes:
    # cargo writes its lock and its target folder beside the crate.
    copy = work / "src" / crate.package
    for each in crate.all():
        shutil.rmtree(work / "src" / each.package, ignore_errors=True)
        each.copy(work / "src" / each.package)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    environment["CARGO_TARGET_DIR"] = str(work / "target")
    environment["CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER"] = str(toolchain.linker)
    # The registry's source folders exist, and so can be remapped, only once the crates have been fetched.
    try:
        _cargo(copy, environment, "fetch")
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
    _cargo(copy, environment, "build", "--release", "--offline", "--target", TARGET)
    component = (work / "target" / TARGET / "release" / f"{crate.library}.wasm").read_bytes()
    folders = [each.folder.resolve() for each in crate.all()]
    private = [home, toolchain.sysroot, *folders, work, *(Path(registry.name) for registry in registries)]
    if found := traces(component, private):
        raise BuildError(
            f"the component of {crate.package} names {', '.join(found)}: a path is not remapped: please report it"
        )
    return component


def _cargo(crate: Path, environment: Mapping[str, str], *arguments: str) -> None:
    done = subprocess.run(["cargo", *arguments, "--quiet"], cwd=crate, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildError(f"cargo {arguments[0]} failed for {crate.name}: {done.stderr.strip()}")
