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
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from curation.building.build_cache import alone, cache_folder
from curation.building.build_errors import BuildError, CratesUnavailable
from curation.building.rust import TARGET, Toolchain

# Settings of the caller's cargo and rustc that would change the bytes.
_FOREIGN = ("RUSTFLAGS", "RUSTC", "RUSTDOC", "CARGO_ENCODED_", "CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_")
_NO_SOURCES = ("target", ".git")


@dataclass(frozen=True)
class Crate:
    """A module's sources."""

    folder: Path
    package: str
    library: str
    ignored: tuple[str, ...] = _NO_SOURCES
    """Names in the folder that are not copied to where it is built."""

    @classmethod
    def of(cls, folder: Path, *, ignore_lock: bool = False) -> "Crate":
        """The crate in a folder.

        :param ignore_lock: build it with the crates that its manifest pins, even if there is a Cargo.lock.
        :raises BuildError: when there is none that a component could be built from.
        """
        manifest = folder / "Cargo.toml"
        if not manifest.is_file():
            raise BuildError(f"{folder} has no Cargo.toml: give the folder of a module's crate")
        for path in folder.iterdir():
            if path.is_symlink() and not path.exists():
                raise BuildError(
                    f"{path} is a link that leads nowhere: copy the folder again with `cp -rL`, which follows links"
                )
        try:
            parsed = tomllib.loads(manifest.read_text(encoding="utf-8"))
            package = str(parsed["package"]["name"])
        except (ValueError, KeyError, TypeError) as error:
            raise BuildError(f"{manifest} is no manifest of a package: {error!r}") from None
        library = parsed.get("lib", {})
        if "cdylib" not in library.get("crate-type", []):
            raise BuildError(f'{manifest} makes no component: put crate-type = ["cdylib"] into its [lib]')
        name = str(library.get("name", package)).replace("-", "_")
        return cls(folder, package, name, (*_NO_SOURCES, *(["Cargo.lock"] if ignore_lock else [])))

    def sources(self) -> Iterator[Path]:
        """The files that it is built from."""
        for root, folders, files in os.walk(self.folder, followlinks=True):
            folders[:] = sorted(set(folders) - set(self.ignored))
            yield from (Path(root) / name for name in sorted(set(files) - set(self.ignored)))

    def digest(self) -> str:
        """A hash of all its sources, names and bytes."""
        total = hashlib.sha256()
        for path in self.sources():
            content = path.read_bytes()
            total.update(f"{path.relative_to(self.folder)}\0{len(content)}\0".encode() + content)
        return total.hexdigest()


def build_component(crate: Crate, toolchain: Toolchain, work: Path) -> bytes:
    """The component built in the folder `work`, checked to name no folder of this machine.

    :raises BuildError: when cargo fails, or when the component holds a path or a registry's name.
    """
    with alone(work):
        return _build(crate, toolchain, work)


def kept_component(crate: Crate, toolchain: Toolchain) -> bytes:
    """The component, built from nothing in a temporary folder, once for these sources and this compiler.

    :raises BuildError: see `build_component`.
    """
    recipe = hashlib.sha256(inspect.getsource(_build).encode()).hexdigest()
    key = hashlib.sha256(f"{crate.digest()} {toolchain.version} {toolchain.host} {recipe}".encode()).hexdigest()
    kept = cache_folder() / "kept"
    component = kept / f"{key}.wasm"
    with alone(kept):
        if not component.is_file():
            with tempfile.TemporaryDirectory(prefix="curation-module-") as work:
                built = build_component(crate, toolchain, Path(work))
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
    shutil.rmtree(copy, ignore_errors=True)
    # The copies get the time of now: cargo compares times, and would take another checkout's older file for built.
    ignored = shutil.ignore_patterns(*crate.ignored)
    shutil.copytree(crate.folder, copy, ignore=ignored, copy_function=shutil.copyfile)
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
    private = [home, toolchain.sysroot, crate.folder.resolve(), work, *(Path(registry.name) for registry in registries)]
    if found := traces(component, private):
        raise BuildError(
            f"the component of {crate.package} names {', '.join(found)}: a path is not remapped: please report it"
        )
    return component


def _cargo(crate: Path, environment: Mapping[str, str], *arguments: str) -> None:
    done = subprocess.run(["cargo", *arguments, "--quiet"], cwd=crate, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildError(f"cargo {arguments[0]} failed for {crate.name}: {done.stderr.strip()}")
