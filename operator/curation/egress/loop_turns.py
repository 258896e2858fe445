"""Whoever works on a peer's bytes gives the event loop its turns: by time, since some bytes are dear."""

import asyncio
import time
from typing import Final

SECONDS: Final = 0.001
"""How long one may work between two turns. A turn itself costs a twentieth of that."""


class LoopTurns:
    """The turns of one task."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    async def rest(self) -> None:
        """Gives the others a turn if it is time; to be called after each bounded step of work."""
        if time.perf_counter() - self._last >= SECONDS:
            await asyncio.sleep(0)
            self._last = time.perf_counter()
