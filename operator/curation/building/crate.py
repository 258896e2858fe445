"""A crate's folder as a module is built from it: which files, and which crates it names by a path."""

import hashlib
import os
import re
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.building.build_errors import BuildError

_NO_SOURCES = ("target", ".git")


@dataclass(frozen=True)
class Crate:
    """A module's sources."""

    folder: Path
    package: str
    library: str
    ignored: tuple[str, ...] = _NO_SOURCES
    """Names in the folder that are not copied to where it is built."""
    local: tuple["Crate", ...] = ()
    """The crates that its manifest names by a path, such as the contract's."""

    @classmethod
    def of(cls, folder: Path, *, ignore_lock: bool = False) -> "Crate":
        """The crate in a folder.

        :param ignore_lock: build it with the crates that its manifest pins, even if there is a Cargo.lock.
        :raises BuildError: when there is none that a component could be built from.
        """
        crate, manifest = _read(folder, (*_NO_SOURCES, *(["Cargo.lock"] if ignore_lock else [])), ())
        if "cdylib" not in manifest.get("lib", {}).get("crate-type", []):
            raise BuildError(f'{folder / "Cargo.toml"} makes no component: put crate-type = ["cdylib"] into its [lib]')
        return crate

    def all(self) -> Iterator["Crate"]:
        """It and those that it is built with by a path, each once."""
        found = {self.package: self}
        for each in self.local:
            found.update({inner.package: inner for inner in each.all()})
        yield from found.values()

    def sources(self) -> Iterator[Path]:
        """The files of its folder that it is built from."""
        for root, folders, files in os.walk(self.folder, followlinks=True):
            folders[:] = sorted(set(folders) - set(self.ignored))
            yield from (Path(root) / name for name in sorted(set(files) - set(self.ignored)))

    def digest(self) -> str:
        """A hash of all its sources and of those of its local crates, names and bytes."""
        total = hashlib.sha256()
        for crate in self.all():
            for path in crate.sources():
                content = path.read_bytes()
                name = f"{crate.package}/{path.relative_to(crate.folder)}"
                total.update(f"{name}\0{len(content)}\0".encode() + content)
        return total.hexdigest()

    def copy(self, target: Path) -> None:
        """Copy it into a folder, where its local crates are its neighbours."""
        # The copies get the time of now: cargo compares times, and would take another checkout's older file for built.
        ignored = shutil.ignore_patterns(*self.ignored)
        shutil.copytree(self.folder, target, ignore=ignored, copy_function=shutil.copyfile)
        manifest = target / "Cargo.toml"
        text = manifest.read_text(encoding="utf-8")
        for path in _local_paths(tomllib.loads(text)):
            name = next(each.package for each in self.local if each.folder == _beside(self.folder, path))
            said = re.compile(rf"(\bpath\s*=\s*)(?:\"{re.escape(path)}\"|'{re.escape(path)}')")
            text, count = said.subn(rf'\1"../{name}"', text)
            if not count:
                raise BuildError(f"{self.folder / 'Cargo.toml'}: write the path of {name} as a plain string")
        manifest.write_text(text, encoding="utf-8")


def _read(folder: Path, ignored: tuple[str, ...], within: tuple[Path, ...]) -> tuple[Crate, dict[str, Any]]:
    """The crate in a folder, and its manifest. `within` are those that it is read for."""
    file = folder / "Cargo.toml"
    if not file.is_file():
        if within:
            raise BuildError(
                f"{within[-1] / 'Cargo.toml'} names the crate in {folder}, and there is none: mend its path"
            )
        raise BuildError(f"{folder} has no Cargo.toml: give the folder of a module's crate")
    for path in folder.iterdir():
        if path.is_symlink() and not path.exists():
            raise BuildError(
                f"{path} is a link that leads nowhere: copy the folder again with `cp -rL`, which follows links"
            )
    try:
        manifest = tomllib.loads(file.read_text(encoding="utf-8"))
        package = str(manifest["package"]["name"])
        paths = _local_paths(manifest)
        library = manifest.get("lib", {})
        name = str(library.get("name", package)).replace("-", "_")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildError(f"{file} is no manifest of a package: {error!r}") from None
    if folder in within:
        raise BuildError(f"{file} depends on itself")
    local = tuple(_read(_beside(folder, path), _NO_SOURCES, (*within, folder))[0] for path in paths)
    crate = Crate(folder, package, name, ignored, local)
    folders: dict[str, Path] = {}
    for each in (crate, *(inner for outer in local for inner in outer.all())):
        if folders.setdefault(each.package, each.folder) != each.folder:
            raise BuildError(f"{file} is built with two crates named {each.package}: rename one")
    return crate, manifest


def _beside(folder: Path, path: str) -> Path:
    return Path(os.path.normpath(folder / path))


def _local_paths(manifest: dict[str, Any]) -> list[str]:
    """The paths of a manifest's dependencies, of whatever kind."""
    found: list[str] = []
    for key, value in manifest.items():
        if key in ("dependencies", "build-dependencies", "dev-dependencies"):
            found += [str(each["path"]) for each in value.values() if isinstance(each, dict) and "path" in each]
        elif key == "target":
            found += [path for each in value.values() for path in _local_paths(each)]
    return list(dict.fromkeys(found))
