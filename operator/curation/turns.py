"""Slots that namespaces share: what one of them fills with work that hangs never keeps another from its turn."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Turns:
    """At most `capacity` at once. For one event loop.

    A namespace may hold as many as are free beside its own: half of all if it is alone, half of the rest beside a first
    one, and so on, so that one that comes later finds some. Those that wait are served in turn, namespace by namespace;
    the namespace `first` comes before all others.
    """

    def __init__(self, capacity: int, *, first: str | None = None) -> None:
        self._capacity = capacity
        self._first = first
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return sum(len(turns) for turns in self._waiting.values())

    @asynccontextmanager
    async def turn(self, namespace: str) -> AsyncIterator[None]:
        """Wait for a slot, and hold it for the block."""
        await self.take(namespace)
        try:
            yield
        finally:
            self.release(namespace)

    async def take(self, namespace: str) -> None:
        """Wait for a slot; `release` gives it back. Raises CancelledError when all waiting is ended by `close`."""
        if namespace not in self._waiting and self._may(namespace):
            self._held[namespace] += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(namespace, deque()).append(turn)
        if namespace == self._first:
            self._waiting.move_to_end(namespace, last=False)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(namespace)  # it had come in the very moment
            else:
                self._forget(namespace, turn)
            raise

    def release(self, namespace: str) -> None:
        """Give a slot of this namespace back, to the namespace that has waited longest of those that may have it."""
        self._held -= Counter([namespace])  # drops one at zero
        while (next_one := next((name for name in self._waiting if self._may(name)), None)) is not None:
            self._serve(next_one)

    def close(self) -> None:
        """Cancel all that wait."""
        for turns in tuple(self._waiting.values()):
            for turn in turns:
                turn.cancel()

    def _may(self, namespace: str) -> bool:
        return self._held[namespace] < self._capacity - self._held.total()

    def _serve(self, namespace: str) -> None:
        turns = self._waiting[namespace]
        turn = turns.popleft()
        if turns:
            self._waiting.move_to_end(namespace, last=namespace != self._first)
        else:
            del self._waiting[namespace]
        if not turn.cancelled():  # else whoever waited for it was cancelled in this moment, and has not run since
            self._held[namespace] += 1
            turn.set_result(None)

    def _forget(self, namespace: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(namespace)
        if turns is None:
            return
        with suppress(ValueError):
            turns.remove(turn)
        if not turns:
            del self._waiting[namespace]
