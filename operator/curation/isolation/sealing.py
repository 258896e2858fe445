"""Seals of a file in memory (Linux): what nobody can do to it any more, whoever has its descriptor."""

import fcntl
from typing import Final

F_SEAL_FUTURE_WRITE: Final = 0x0010
"""No stores by whoever maps it from now on; one that has it mapped already may store. Python has no name for it."""


def seal(descriptor: int, against: int) -> None:
    """Seal its size, its seals, and what `against` says: F_SEAL_WRITE or F_SEAL_FUTURE_WRITE. Raises OSError."""
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | against
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
