"""Reaps what this process has inherited, where it is the init of its container: children of a child that was killed.

A listener that the kernel kills leaves its checkers; they end with it, and stay as zombies of process 1 until somebody
waits for them. Enough of them, and the pod may have no further process.
"""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

LOOK_SECONDS: Final = 60.0
LOOKS: Final = 5
"""At which a zombie was there. Whoever has started a child waits for it within milliseconds of its end."""


class Orphans:
    """For the event loop of a process that is process 1 of its container; elsewhere it does nothing."""

    def __init__(self, *, look_seconds: float = LOOK_SECONDS, init: bool | None = None) -> None:
        """`init` says whether this process inherits orphans; None: it does as process 1."""
        self._look_seconds = look_seconds
        self._init = os.getpid() == 1 if init is None else init
        self._seen: dict[tuple[int, str], int] = {}
        """How often each zombie was there, by its pid and when it began: a pid alone may be another's by now."""

    async def run(self) -> None:
        """Look without end."""
        while self._init:
            await asyncio.sleep(self._look_seconds)
            self.look()

    def look(self) -> list[int]:
        """Look once; the pids that were reaped."""
        self._seen = {each: self._seen.get(each, 0) + 1 for each in _zombies(os.getpid())}
        reaped = [pid for (pid, _), looks in self._seen.items() if looks >= LOOKS]
        for pid in reaped:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return reaped


def _zombies(parent: int) -> list[tuple[int, str]]:
    """The children of a process that have ended and wait to be reaped, each with the time at which it began."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # A program's name may hold anything, so what counts begins behind the last parenthesis.
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has gone meanwhile
        if len(fields) > 19 and fields[0] == "Z" and fields[1] == str(parent):
            found.append((int(folder.name), fields[19]))
    return found
