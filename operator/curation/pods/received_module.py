"""A compiled module that comes in parts, into memory that nobody changes any more once it is whole (Linux)."""

import fcntl
import os

from curation.isolation.frames import FrameRefused
from curation.isolation.sealing import seal
from curation.pods.frames import MAX_MODULE_BYTES, ModulePart


class ReceivedModule:
    """Close it."""

    def __init__(self, digest: str, size: int) -> None:
        """Raises FrameRefused for a size over the bound, and OSError."""
        if not 0 < size <= MAX_MODULE_BYTES:
            raise FrameRefused(f"a compiled module of {size} bytes, at most {MAX_MODULE_BYTES}")
        self.digest = digest
        self._size = size
        self._received = 0
        self._descriptor = os.memfd_create("module", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)

    @property
    def complete(self) -> bool:
        """Whether all of it has come."""
        return self._received == self._size

    def take(self, part: ModulePart) -> None:
        """Raises FrameRefused for what does not follow, and OSError where there is no memory for it."""
        if (part.digest, part.size, part.offset) != (self.digest, self._size, self._received):
            raise FrameRefused(f"a part of a module at {part.offset}, where {self._received} comes next")
        if not part.payload or self._received + len(part.payload) > self._size:
            raise FrameRefused("a part of a module that is empty, or too long")
        left = memoryview(part.payload)
        while left:
            left = left[os.write(self._descriptor, left) :]
        self._received += len(part.payload)

    def sealed(self) -> int:
        """Its descriptor, which stays this object's; nobody can write to it any more."""
        seal(self._descriptor, fcntl.F_SEAL_WRITE)
        return self._descriptor

    def close(self) -> None:
        """Forget it. Whoever has got the descriptor keeps it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
