"""What a parent does about a child until it has ended: reads its stderr, and reaps it."""

import asyncio
from typing import Final

from curation.isolation.spawn import ChildEnd, Process

_LOOK_SECONDS: Final = 0.005


class Draining:
    """Reads what a child writes to stderr whenever there is something, until `end`. Made with a running loop.

    Trap: the number of the pipe is another file's once it is closed, which reaping does: `end` comes before that.
    """

    def __init__(self, spawned: Process) -> None:
        self._loop = asyncio.get_running_loop()
        self._spawned = spawned
        self._stderr = spawned.stderr
        if self._stderr is not None:
            self._loop.add_reader(self._stderr, self._drain)

    def end(self) -> None:
        """Read it no more."""
        stderr, self._stderr = self._stderr, None
        if stderr is not None:
            self._loop.remove_reader(stderr)

    def _drain(self) -> None:
        if not self._spawned.drain():
            self.end()


async def reaped(spawned: Process, seconds: float) -> ChildEnd:
    """How it ended, by itself in so many seconds, else because it is killed then. Its stderr is read here meanwhile."""
    loop = asyncio.get_running_loop()
    last = loop.time() + seconds
    while (end := spawned.reaped()) is None:
        spawned.drain()
        if loop.time() >= last:
            spawned.kill()
        await asyncio.sleep(_LOOK_SECONDS)
    return end
