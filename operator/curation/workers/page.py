"""The fence page: a page of memory that the operator writes and its worker can only read.

It says of each execution whether it may still send, and which revision of policies and grants is wanted. The operator
writes it in the call that receives a change, so neither a full socket nor a busy worker delays what it says.
"""

import mmap
import os
import sys
import tempfile
from typing import Final

from curation.isolation.sealing import F_SEAL_FUTURE_WRITE, seal

SLOTS: Final = 8192
"""Executions of one worker at a time; more than any executor may have."""

_HEADER: Final = 16
_SIZE: Final = _HEADER + SLOTS
_ALIVE: Final = 1
_DEAD: Final = 0


class FencePage:
    """The operator's side. Close it."""

    def __init__(self) -> None:
        """Raises OSError."""
        if sys.platform == "linux":
            self.descriptor = os.memfd_create("fence", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(self.descriptor, _SIZE)
            self._map = mmap.mmap(self.descriptor, _SIZE)
            seal(self.descriptor, F_SEAL_FUTURE_WRITE)  # this mapping may store
        else:
            with tempfile.NamedTemporaryFile() as file:
                file.truncate(_SIZE)
                self._map = mmap.mmap(file.fileno(), _SIZE)
                self.descriptor = os.open(file.name, os.O_RDONLY)
        whole = memoryview(self._map)
        # Trap: one aligned store of eight bytes each, which no reader sees half of.
        self._revision = whole[:8].cast("Q")
        self._offset = whole[8:16].cast("d")
        self._words = whole[_HEADER:]
        self._free = list(range(SLOTS - 1, -1, -1))

    def want(self, revision: int) -> None:
        """Nothing leaves that was judged by less than this revision of policies and grants."""
        self._revision[0] = revision

    def set_clock(self, offset: float) -> None:
        """Seconds from the monotonic clock of this machine to the server's Unix time."""
        self._offset[0] = offset

    def take(self) -> int:
        """The slot of an execution, alive. Raises IndexError if there is none left."""
        slot = self._free.pop()
        self._words[slot] = _ALIVE
        return slot

    def kill(self, slot: int) -> None:
        """Nothing of this execution leaves any more."""
        self._words[slot] = _DEAD

    def give(self, slot: int) -> None:
        """The execution in it has ended: the slot is for another."""
        self.kill(slot)
        self._free.append(slot)

    def close(self) -> None:
        """Nobody asks any more."""
        for view in (self._revision, self._offset, self._words):
            view.release()
        self._map.close()
        os.close(self.descriptor)


class FenceReader:
    """The worker's side."""

    def __init__(self, descriptor: int) -> None:
        """Takes the descriptor over. Raises OSError and ValueError."""
        try:
            page = mmap.mmap(descriptor, _SIZE, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        whole = memoryview(page)
        self._revision = whole[:8].cast("Q")
        self._offset = whole[8:16].cast("d")
        self._words = whole[_HEADER:]

    @property
    def wanted(self) -> int:
        """The revision that must have been applied before anything leaves."""
        return int(self._revision[0])

    @property
    def clock_offset(self) -> float:
        """See `FencePage.set_clock`."""
        return float(self._offset[0])

    def alive(self, slot: int) -> bool:
        """Whether what the execution in this slot asks for may leave."""
        return bool(self._words[slot] == _ALIVE)
