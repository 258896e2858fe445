"""Turns for the event loop while somebody goes through very many things, of which one may take long."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

AT_ONCE_SECONDS: Final = 0.01


class Pauses:
    """Call `pause` after each thing. What counts is time: of very many one may cost a thousand times another."""

    def __init__(self, seconds: float = AT_ONCE_SECONDS, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._since = monotonic()

    async def pause(self) -> None:
        """Let others work, if the last time was so many seconds ago."""
        if self._monotonic() - self._since >= self._seconds:
            await asyncio.sleep(0)
            self._since = self._monotonic()
