"""The private folder of compiled modules.

wasmtime runs whatever a compiled artifact holds, without any check: whoever can write one owns the operator. So the
folder belongs to this user alone, what is in it was put there by `put`, and a file that is not what its record says is
treated as missing.
"""

import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from curation.wasm.engine import artifact_key

MAX_ARTIFACTS = 256
"""Compiled modules kept on disk; beyond it the least recently written go."""

MAX_BYTES = 512 << 20
"""Their size in all; the same. A compiled module is some 5 times its WebAssembly, and can be made to be 20 times."""


class CacheDirError(Exception):
    """The folder cannot be trusted with compiled code; the message says what to do."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled module on disk, and the size of the WebAssembly that it was made from."""

    path: Path
    size_bytes: int


class ArtifactDir:
    """Compiled modules by the digest of their WebAssembly. Blocking; for the store's own thread."""

    def __init__(self, path: Path) -> None:
        """Makes the folder if it is missing. Raises CacheDirError for one that others can write or read."""
        self._path = path
        self._key = artifact_key()
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

    def get(self, digest: str) -> Artifact | None:
        """The artifact of a module, if this installation has compiled it and it is intact."""
        path, record_path = self._paths(digest)
        try:
            if not all(self._ours(each) for each in (path, record_path)):
                return None
            record = _Record.model_validate_json(record_path.read_bytes())
            with path.open("rb") as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, ValidationError):
            return None
        return Artifact(path, record.size_bytes) if actual == record.sha256 else None

    def put(self, digest: str, compiled: bytes, size_bytes: int) -> Artifact:
        """Keeps a compiled module. Raises OSError when the folder cannot be written."""
        path, record_path = self._paths(digest)
        record = _Record(sha256=hashlib.sha256(compiled).hexdigest(), size_bytes=size_bytes)
        # The record comes last: an artifact without one does not exist.
        self._write(path, compiled)
        self._write(record_path, record.model_dump_json().encode())
        self._prune(keep=path)
        return Artifact(path, size_bytes)

    def drop(self, digest: str) -> None:
        """Forgets a module's artifact, if there is one."""
        for path in reversed(self._paths(digest)):
            path.unlink(missing_ok=True)

    def _paths(self, digest: str) -> tuple[Path, Path]:
        name = f"{digest.removeprefix('sha256:')}-{self._key}"
        return self._path / f"{name}.cwasm", self._path / f"{name}.json"

    @staticmethod
    def _ours(path: Path) -> bool:
        info = path.lstat()
        return stat.S_ISREG(info.st_mode) and info.st_uid == os.geteuid() and not info.st_mode & 0o022

    def _write(self, path: Path, content: bytes) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self._path, prefix=".new-")  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _prune(self, keep: Path) -> None:
        found = sorted(self._path.glob("*.cwasm"), key=lambda path: path.stat().st_mtime, reverse=True)
        total = 0
        for number, path in enumerate(found):
            total += path.stat().st_size
            if (number >= MAX_ARTIFACTS or total > MAX_BYTES) and path != keep:
                path.with_suffix(".json").unlink(missing_ok=True)
                path.unlink(missing_ok=True)
