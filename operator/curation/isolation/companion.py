"""A child whose channel another child has: this process starts it, and ends it, and hears nothing of what they say."""

import asyncio
from typing import Final

from curation.isolation.hardening import Hardening
from curation.isolation.spawn import ChildEnd, Start, spawn

_LOOK_SECONDS: Final = 0.005


class Companion:
    """Made with a running loop, in the thread that lives as long as the child."""

    def __init__(self, target: str, hardening: Hardening, *, start: Start = spawn) -> None:
        """Starts it: see `child.Child`. Raises OSError."""
        self._loop = asyncio.get_running_loop()
        self._spawned = start(target, hardening)
        self.channel = self._spawned.channel
        """To be handed to the other child, and closed: while it is open here neither hears of the other's end."""
        self._stderr = self._spawned.stderr
        if self._stderr is not None:
            self._loop.add_reader(self._stderr, self._drain)

    @property
    def pid(self) -> int:
        """Its process id; 0 until that is known."""
        return self._spawned.pid

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        self._spawned.kill()

    async def ended(self, seconds: float) -> ChildEnd:
        """How it ended, by itself in so many seconds, else because it is killed then."""
        last = self._loop.time() + seconds
        while (end := self._reaped()) is None:
            if self._loop.time() >= last:
                self.kill()
            await asyncio.sleep(_LOOK_SECONDS)
        self._drained()
        return end

    def _reaped(self) -> ChildEnd | None:
        if self._stderr is not None:
            self._drain()
        return self._spawned.reaped()

    def _drain(self) -> None:
        if not self._spawned.drain():
            self._drained()

    def _drained(self) -> None:
        stderr, self._stderr = self._stderr, None
        if stderr is not None:
            self._loop.remove_reader(stderr)
