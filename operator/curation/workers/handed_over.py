"""What a worker has of the operator: compiled modules, of which its guests have the code, and credentials."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from curation.execution.origin_credentials import OriginCredential
from curation.execution.seam import ExecutionRequest, Unsupplied
from curation.guests.apart import ApartGuests
from curation.wasm.artifacts import Artifact
from curation.wasm.store import LoadedModule
from curation.workers.frames import PutArtifact

_ELSEWHERE: Final = Path()
"""Where artifacts are: the guest host opens them."""


class HandedModules:
    """See `execution.seam.Modules`: what the operator has handed over, and the guest host has."""

    def __init__(self, guests: ApartGuests) -> None:
        self._guests = guests
        self._loaded: dict[str, LoadedModule] = {}
        self._descriptors: dict[str, int] = {}
        """For pods, to which the bytes are sent."""

    def put(self, frame: PutArtifact) -> None:
        """Take a compiled module, whose descriptor is this object's from now on."""
        (descriptor,) = frame.descriptors
        self.remove(frame.digest)
        self._descriptors[frame.digest] = descriptor
        self._guests.put(frame.digest, descriptor)
        artifact = Artifact(_ELSEWHERE, frame.size_bytes, frame.start_bytes)
        self._loaded[frame.digest] = LoadedModule(frame.digest, artifact)

    def remove(self, digest: str) -> None:
        """It is not needed any more."""
        if self._loaded.pop(digest, None) is not None:
            self._guests.drop(digest)
            os.close(self._descriptors.pop(digest))

    def opened(self, digest: str) -> int:
        """A descriptor of it, which is the caller's. Raises Unsupplied and OSError."""
        if digest not in self._descriptors:
            raise Unsupplied("The compiled module was not handed over.")
        return os.dup(self._descriptors[digest])

    def has(self, digest: str) -> bool:
        """See `execution.seam.Modules`."""
        return digest in self._loaded

    async def load(self, digest: str, _fetch: Callable[[], Awaitable[bytes]], _namespace: str) -> LoadedModule:
        """See `execution.seam.Modules`. Raises Unsupplied."""
        if digest not in self._loaded:
            raise Unsupplied("The compiled module was not handed over.")
        return self._loaded[digest]

    def forget(self, _digest: str) -> None:
        """See `execution.seam.Modules`: what cannot be opened now cannot be opened the next time."""


class HandedSupplies:
    """See `execution.seam.Supplies`: what the operator has handed over."""

    def __init__(self, credentials: dict[str, list[OriginCredential]]) -> None:
        self._credentials = credentials

    async def wasm(self, request: ExecutionRequest) -> bytes:
        """See `execution.seam.Supplies`. Raises Unsupplied."""
        raise Unsupplied("The compiled module was not handed over.")

    async def credentials(self, request: ExecutionRequest) -> tuple[OriginCredential, ...]:
        """See `execution.seam.Supplies`."""
        return tuple(self._credentials.get(request.execution, ()))
