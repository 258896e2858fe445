"""The private folder of compiled modules.

wasmtime runs whatever a compiled artifact holds, without any check: whoever can write one owns the operator. So the
folder belongs to this user alone, what is in it was put there by `put`, and a file that is not what its record says is
treated as missing.
"""

import hashlib
import os
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from curation.wasm import compiler
from curation.wasm.artifact_key import artifact_key
from curation.wasm.compiler import Compiled, ModuleFault

MAX_ARTIFACTS = 256
"""Compiled modules kept on disk; beyond it the oldest go of the namespace that has most."""

MAX_ARTIFACT_BYTES = 1 << 30
"""Their size in all; the same. A compiled module is some 3 to 6 times its WebAssembly (70 MiB of JavaScript's template,
48 of Python's), and can be made to be 25 times."""

MAX_REFUSED = 1024
"""Modules remembered as those that cannot be compiled or opened; beyond it the oldest are forgotten."""

_ABANDONED_SECONDS = 3600
"""Longer than a compilation may take: an unfinished file of that age is of a process that died."""


class CacheDirError(Exception):
    """The folder cannot be trusted with compiled code; the message says what to do."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)

    sha256: str
    size_bytes: int
    start_bytes: int
    trapping: tuple[str, ...]
    namespace: str


class CompileRefusal(BaseModel):
    """Why a module was not compiled; it would not be the next time either."""

    model_config = ConfigDict(frozen=True)

    fault: ModuleFault
    message: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled module on disk."""

    path: Path
    size_bytes: int
    """Size of the WebAssembly that it was made from."""
    start_bytes: int
    """Linear memory that it begins with."""
    trapping: tuple[str, ...] = ()
    """Interfaces of WASI that it imports: see `Compiled`."""


class ArtifactDir:
    """Compiled modules by the digest of their WebAssembly. Blocking; for the store's own thread."""

    def __init__(self, path: Path) -> None:
        """Makes the folder if it is missing. Raises CacheDirError for one that others can write or read."""
        self.path = path
        """The folder."""
        self._key = _key()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            info = path.lstat()
        except OSError as error:
            raise CacheDirError(f"cannot make the folder for compiled modules: {error}") from error
        if not stat.S_ISDIR(info.st_mode):
            raise CacheDirError(f"{path} is not a folder (symbolic links are not followed): name another one")
        if info.st_uid != os.geteuid():
            raise CacheDirError(f"{path} belongs to user {info.st_uid}, not to this one: name another folder")
        if info.st_mode & 0o077:
            raise CacheDirError(f"{path} is open to others (mode {info.st_mode & 0o777:04o}): chmod 0700 it")
        for left in self._left_behind():
            left.unlink(missing_ok=True)

    def get(self, digest: str) -> Artifact | None:
        """The artifact of a module, if this installation has compiled it and it is intact."""
        path, record_path, _ = self._paths(digest)
        try:
            if not all(self._ours(each) for each in (path, record_path)):
                return None
            record = _Record.model_validate_json(record_path.read_bytes())
            if _sha256(path) != record.sha256:
                return None
        except (OSError, ValidationError):
            return None
        return Artifact(path, record.size_bytes, record.start_bytes, record.trapping)

    def has(self, digest: str) -> bool:
        """Whether there is an artifact of a module, intact or not."""
        return self._paths(digest)[1].exists()

    def put(self, digest: str, compiled: Compiled, size_bytes: int, namespace: str) -> Artifact:
        """Takes over a file of this folder that the compiler has made, for a namespace.

        Raises OSError when the folder cannot be written.
        """
        path, record_path, refusal_path = self._paths(digest)
        try:
            sha256 = _sha256(compiled.path)
            record = _Record(
                sha256=sha256,
                size_bytes=size_bytes,
                start_bytes=compiled.start_bytes,
                trapping=compiled.trapping,
                namespace=namespace,
            )
            # The record comes last: an artifact without one does not exist.
            compiled.path.chmod(0o644)  # workers of another user open what they are handed; the folder is private
            compiled.path.replace(path)
        except BaseException:
            compiled.path.unlink(missing_ok=True)
            raise
        self._write(record_path, record)
        refusal_path.unlink(missing_ok=True)
        self._prune(keep=path)
        return Artifact(path, size_bytes, compiled.start_bytes, compiled.trapping)

    def refusal(self, digest: str) -> CompileRefusal | None:
        """Why a module was not compiled, if that is remembered."""
        path = self._paths(digest)[2]
        try:
            return CompileRefusal.model_validate_json(path.read_bytes()) if self._ours(path) else None
        except (OSError, ValidationError):
            return None

    def refuse(self, digest: str, refusal: CompileRefusal) -> None:
        """Remembers that a module is not to be compiled again. Raises OSError when the folder cannot be written."""
        self._write(self._paths(digest)[2], refusal)
        found = sorted(self.path.glob("*.refused"), key=_age)
        for path in found[MAX_REFUSED:]:
            path.unlink(missing_ok=True)

    def _paths(self, digest: str) -> tuple[Path, Path, Path]:
        """Of the artifact, of its record, and of the refusal that may be there instead."""
        name = f"{digest.removeprefix('sha256:')}-{self._key}"
        return self.path / f"{name}.cwasm", self.path / f"{name}.json", self.path / f"{name}.refused"

    @staticmethod
    def _ours(path: Path) -> bool:
        info = path.lstat()
        return stat.S_ISREG(info.st_mode) and info.st_uid == os.geteuid() and not info.st_mode & 0o022

    def _write(self, path: Path, content: BaseModel) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self.path, prefix=".new-")  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content.model_dump_json().encode())
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _prune(self, keep: Path) -> None:
        """Makes room, first at the cost of the namespace that takes most: one alone must not empty the folder."""
        found: dict[str, list[tuple[Path, int]]] = {}
        for path in sorted(self.path.glob("*.cwasm"), key=_age):
            with suppress(OSError):
                found.setdefault(self._owner(path), []).append((path, path.stat().st_size))
        sizes = Counter({owner: sum(size for _, size in kept) for owner, kept in found.items()})
        counts = Counter({owner: len(kept) for owner, kept in found.items()})
        while counts.total() > MAX_ARTIFACTS or sizes.total() > MAX_ARTIFACT_BYTES:
            held = counts if counts.total() > MAX_ARTIFACTS else sizes
            for owner, _ in held.most_common():
                if any(path != keep for path, _ in found[owner]):
                    break
            else:
                return
            place = next(index for index in range(len(found[owner]) - 1, -1, -1) if found[owner][index][0] != keep)
            path, size = found[owner].pop(place)
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            counts[owner] -= 1
            sizes[owner] -= size

    def _owner(self, path: Path) -> str:
        try:
            return _Record.model_validate_json(path.with_suffix(".json").read_bytes()).namespace
        except (OSError, ValidationError):
            return ""

    def _left_behind(self) -> Iterator[Path]:
        for path in self.path.glob(".new-*"):
            with suppress(OSError):
                if path.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                    yield path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _age(path: Path) -> float:
    """For sorting: the newest first."""
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0


def _key() -> str:
    """What an artifact or a refusal depends on besides the module: the engine, and the bounds that it was made in."""
    bounds = (
        *(compiler.CPU_SECONDS, compiler.CPU_SECONDS_PER_MIB, compiler.MEMORY_BYTES),
        *(compiler.ARTIFACT_BYTES, compiler.ARTIFACT_FACTOR, compiler.MAX_ARTIFACT_BYTES, compiler.OPEN_BYTES),
    )
    return hashlib.sha256(f"{artifact_key()}|{bounds!r}".encode()).hexdigest()[:16]
