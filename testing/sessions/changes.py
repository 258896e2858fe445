"""Waiting for a condition on the service's state without polling. Used by the faults, the service and the tests."""

import asyncio
from collections.abc import Callable


class Changes:
    """Wakes those who wait whenever something in the service has changed. For one event loop."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def notify(self) -> None:
        """Says that something has changed."""
        self._next.set()
        self._next = asyncio.Event()

    async def until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Returns once the condition holds.

        :param seconds: how long to wait at most.
        :raises TimeoutError: naming `what` was waited for.
        """
        try:
            async with asyncio.timeout(seconds):
                # There must be no await between the check and the wait: a change in between would be lost.
                while not condition():
                    await self._next.wait()
        except TimeoutError:
            raise TimeoutError(f"waited {seconds:g} s for {what}") from None
