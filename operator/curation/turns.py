"""Fair turns: what one namespace has waiting, however much it is, keeps no other from its turn.

`Rotation` is a line in which the namespaces take turns. `Turns` gives out so many slots, to those that ask and to those
that wait in such a line; `AwaitedTurns` is the same for coroutines. Pure: no clock, no I/O. Everything that namespaces
share waits here: the work queue, the slots of Submit, Observe and Cancel, loads of modules, compilations, Events.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Rotation(Generic[K]):
    """A line of different items: first come, first served within a namespace, and the namespaces in turn."""

    def __init__(self, *, first: str | None = None) -> None:
        """The namespace `first` comes before all others each time."""
        self._first = first
        self._lines: OrderedDict[str, OrderedDict[K, None]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[K]:
        return iter([item for line in self._lines.values() for item in line])

    def count(self, namespace: str) -> int:
        """How many of this namespace wait."""
        return len(self._lines.get(namespace, ()))

    def head(self, namespace: str) -> K:
        """The first one of a namespace that waits. Raises KeyError if none does."""
        return next(iter(self._lines[namespace]))

    def heads(self) -> list[K]:
        """The first one of each namespace, in the order of their turns."""
        return [self.head(namespace) for namespace in self._lines]

    def add(self, namespace: str, item: K) -> None:
        """Join the line of the namespace; who waits already keeps its place."""
        line = self._lines.get(namespace)
        if line is None:
            line = self._lines[namespace] = OrderedDict()
            if namespace == self._first:
                self._lines.move_to_end(namespace, last=False)
        if item not in line:
            line[item] = None
            self._count += 1

    def discard(self, namespace: str, item: K) -> None:
        """Leave the line, if it waits."""
        line = self._lines.get(namespace)
        if line is None or item not in line:
            return
        del line[item]
        self._count -= 1
        if not line:
            del self._lines[namespace]

    def pop(self, may: Callable[[str], bool] = lambda _: True) -> tuple[str, K] | None:
        """Take the next one with its namespace, of the namespaces that `may`; None if there is none."""
        namespace = next((name for name in self._lines if may(name)), None)
        if namespace is None:
            return None
        line = self._lines[namespace]
        item, _ = line.popitem(last=False)
        self._count -= 1
        if not line:
            del self._lines[namespace]
        elif namespace != self._first:
            self._lines.move_to_end(namespace)
        return namespace, item


class Turns(Generic[K]):
    """At most `capacity` slots, held at once.

    A namespace may hold up to `share` times as many as are free beside its own. With 1 that is half of all if it is
    alone, half of the rest beside a first one, and so on; with 7 seven of eight. So one that comes later finds some (a
    dynamic threshold after Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998; `share` is its alpha).

    A slot that becomes free is kept for the next one in the line, which is called: it takes it, or leaves.
    """

    def __init__(
        self,
        capacity: int,
        call: Callable[[K], None],
        namespace_of: Callable[[K], str],
        *,
        share: int = 1,
        first: str | None = None,
    ) -> None:
        """`call` says to one that waits that a slot is kept for it. It must not raise."""
        self._capacity = capacity
        self._call = call
        self._namespace_of = namespace_of
        self._share = share
        self._held: dict[str, int] = {}
        self._total = 0
        self._called: set[K] = set()
        self._waiting: Rotation[K] = Rotation(first=first)

    @property
    def waiting(self) -> int:
        """How many wait and are not called yet."""
        return len(self._waiting)

    def held(self, namespace: str) -> int:
        """How many slots the namespace holds; those that are kept for it count."""
        return self._held.get(namespace, 0)

    def take(self, key: K) -> bool:
        """Hold a slot until `release`; False if there is none now: then it waits, and is called."""
        namespace = self._namespace_of(key)
        if key in self._called:
            self._called.remove(key)
            return True
        # Who comes when others of its namespace wait does not overtake them.
        if self._waiting.count(namespace) or not self._may(namespace):
            self._waiting.add(namespace, key)
            return False
        self._hold(namespace, 1)
        return True

    def hold(self, key: K) -> None:
        """Hold a slot until `release`, whether there is one or not: what it is for is under way already."""
        self._hold(self._namespace_of(key), 1)

    def leave(self, key: K) -> None:
        """It does not wait any more, nor takes what is kept for it, which the next one has."""
        if key in self._called:
            self._called.remove(key)
            self.release(key)
        else:
            self._waiting.discard(self._namespace_of(key), key)

    def decline(self, key: K) -> None:
        """It does not take the slot that is kept for it, if one is; who is not called yet goes on waiting."""
        if key in self._called:
            self.leave(key)

    def release(self, key: K) -> None:
        """Give a slot of this one's namespace back."""
        self._hold(self._namespace_of(key), -1)
        while self._total < self._capacity and (found := self._waiting.pop(self._may)) is not None:
            namespace, following = found
            self._hold(namespace, 1)
            self._called.add(following)
            self._call(following)

    def clear(self) -> list[K]:
        """Let nobody wait any more; returns who did."""
        left = [*self._called, *self._waiting]
        for key in left:
            self._waiting.discard(self._namespace_of(key), key)
        return left

    def _may(self, namespace: str) -> bool:
        return self.held(namespace) < self._share * (self._capacity - self._total)

    def _hold(self, namespace: str, more: int) -> None:
        held = self._held.pop(namespace, 0)
        now = max(0, held + more)
        self._total += now - held
        if now:
            self._held[namespace] = now


class _Ticket:
    """Who awaits a slot."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.called: asyncio.Future[None] | None = None
        """While it waits."""


class AwaitedTurns:
    """Slots that coroutines wait for, as `Turns` gives them out. For one event loop."""

    def __init__(self, capacity: int, *, share: int = 1, first: str | None = None) -> None:
        self._turns: Turns[_Ticket] = Turns(capacity, _serve, lambda ticket: ticket.namespace, share=share, first=first)

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return self._turns.waiting

    def held(self, namespace: str) -> int:
        """How many slots the namespace holds."""
        return self._turns.held(namespace)

    @asynccontextmanager
    async def turn(self, namespace: str) -> AsyncIterator[None]:
        """Wait for a slot, and hold it for the block."""
        release = await self.take(namespace)
        try:
            yield
        finally:
            release()

    async def take(self, namespace: str) -> Callable[[], None]:
        """Wait for a slot; what it returns gives it back. Raises CancelledError once `close` has ended all waiting."""
        ticket = _Ticket(namespace)
        if not self._turns.take(ticket):
            ticket.called = asyncio.get_running_loop().create_future()
            try:
                await ticket.called
            except asyncio.CancelledError:
                self._turns.leave(ticket)  # called in this very moment or not
                raise
            self._turns.take(ticket)
        return lambda: self._turns.release(ticket)

    def close(self) -> None:
        """Cancel all that wait."""
        for ticket in self._turns.clear():
            if ticket.called is not None:
                ticket.called.cancel()


def _serve(ticket: _Ticket) -> None:
    # Trap: whoever waits may be cancelled in this moment, and has not noticed yet; its `leave` passes the slot on.
    if ticket.called is not None and not ticket.called.done():
        ticket.called.set_result(None)
