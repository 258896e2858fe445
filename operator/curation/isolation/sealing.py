"""Files in memory (Linux): copies, and seals, which say what nobody can do any more, whoever has the descriptor."""

import fcntl
import os
from typing import Final

F_SEAL_FUTURE_WRITE: Final = 0x0010
"""No stores by whoever maps it from now on; one that has it mapped already may store. Python has no name for it."""


def seal(descriptor: int, against: int) -> None:
    """Seal its size, its seals, and what `against` says: F_SEAL_WRITE or F_SEAL_FUTURE_WRITE. Raises OSError."""
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | against
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)


def in_memory(name: str, file: int) -> int:
    """A descriptor of a copy of a file, not sealed yet: as much of it as there is. Blocking. Raises OSError."""
    size, offset = os.fstat(file).st_size, 0
    copy = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        while offset < size and (sent := os.sendfile(copy, file, offset, size - offset)):
            offset += sent
    except BaseException:
        os.close(copy)
        raise
    return copy
