"""Slots that namespaces share: what one of them fills with work that hangs never keeps another from its turn."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """At most `capacity` at once. For one event loop.

    A namespace may hold as many as are free beside its own: half of all if it is alone, half of the rest beside a first
    one, and so on, so that one that comes later finds some. Those that wait are served in turn, namespace by namespace.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, namespace: str) -> AsyncIterator[None]:
        """Wait for a slot, and hold it for the block."""
        await self._take(namespace)
        try:
            yield
        finally:
            self._give(namespace)

    async def _take(self, namespace: str) -> None:
        if namespace not in self._waiting and self._may(namespace):
            self._held[namespace] += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(namespace, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give(namespace)  # it had come in the very moment
            else:
                self._forget(namespace, turn)
            raise

    def _may(self, namespace: str) -> bool:
        return self._held[namespace] < self._capacity - self._held.total()

    def _give(self, namespace: str) -> None:
        self._held -= Counter([namespace])  # drops one at zero
        while (next_one := next((name for name in self._waiting if self._may(name)), None)) is not None:
            turn = self._waiting[next_one].popleft()
            if self._waiting[next_one]:
                self._waiting.move_to_end(next_one)
            else:
                del self._waiting[next_one]
            self._held[next_one] += 1
            turn.set_result(None)

    def _forget(self, namespace: str, turn: asyncio.Future[None]) -> None:
        waiting = self._waiting[namespace]
        waiting.remove(turn)
        if not waiting:
            del self._waiting[namespace]
