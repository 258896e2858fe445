"""One at a time, in turn between namespaces: whoever has much to do delays others by one turn, not by all of it."""

import asyncio
from collections import OrderedDict, deque
from contextlib import suppress

OURS = ""
"""The namespace of what the operator ships: it comes before all others."""


class Turns:
    """A turn that one holds. For one event loop."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait for the turn."""
        return sum(len(turns) for turns in self._waiting.values())

    async def take(self, namespace: str) -> None:
        """Waits for the turn; `release` gives it back."""
        if not self._taken:
            self._taken = True
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(namespace, deque()).append(turn)
        if namespace == OURS:
            self._waiting.move_to_end(namespace, last=False)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # it was given in the same moment
            else:
                self._gives_up(namespace, turn)
            raise

    def release(self) -> None:
        """Gives the turn to the namespace that has waited longest for one."""
        if not self._waiting:
            self._taken = False
            return
        namespace, turns = self._waiting.popitem(last=False)
        turn = turns.popleft()
        if turns:
            self._waiting[namespace] = turns
        if turn.cancelled():  # who waited for it has not heard yet
            self.release()
        else:
            turn.set_result(None)

    def close(self) -> None:
        """Cancels all that wait."""
        for turns in tuple(self._waiting.values()):
            for turn in turns:
                turn.cancel()

    def _gives_up(self, namespace: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(namespace)
        if turns is None:
            return
        with suppress(ValueError):
            turns.remove(turn)
        if not turns:
            del self._waiting[namespace]
