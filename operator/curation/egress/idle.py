"""Connections that wait for another request of the very same kind.

Called by the client. A connection is a channel: what a server answers too much to one request is the answer to the
next. So no two namespaces, modules, origins or sets of credentials ever share one; none is kept after a request with a
body, in which a server may see a second request; and none that has received a byte since its answer. Only requests that
ask for no change go out on one, and an origin that has closed one just then gets no second chance.
"""

import asyncio
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from cachetools import FIFOCache

from curation.egress.wire import Wire

# An idle connection that the server closes just as it is used again costs a request, since nothing is sent twice.
# Common servers close after 5 s or more, so ours are given up before.
_SECONDS: Final = 4.0
MAX_IDLE: Final = 256
"""Idle connections in all."""
MAX_IDLE_OF_ONE: Final = 32
"""Idle connections of one namespace."""

SHARED: Final = 2
"""Connections of a channel in use, from which on a patient request waits for one of them rather than open another."""
PATIENCE_SECONDS: Final = 0.5
"""How long it waits: a service that takes longer to answer is asked on more connections."""

MAX_AVOIDED: Final = 4096
"""Origins whose connections are used once, the newest: one more costs another its memory, so at worst a request."""


@dataclass(frozen=True, slots=True)
class Channel:
    """Whose requests a connection may carry, and where to. Equal for those that may follow one another."""

    namespace: str
    module: str
    origin: str
    headers: bytes
    """A digest of all headers of the request but the run's own: credentials are among them, a module's own too."""


@dataclass(slots=True)
class _Idle:
    wire: Wire
    timer: asyncio.TimerHandle | None = None


class IdleWires:
    """Keeps idle connections, the newest of a channel first out."""

    def __init__(self) -> None:
        self._kept: dict[Channel, list[_Idle]] = {}
        self._number = 0
        self._avoided: FIFOCache[tuple[str, str], None] = FIFOCache(MAX_AVOIDED)
        self._used: Counter[Channel] = Counter()
        """Connections in use that may be kept."""
        self._patient: dict[Channel, deque[asyncio.Future[None]]] = {}

    def __len__(self) -> int:
        return self._number

    def take(self, channel: Channel) -> Wire | None:
        """One that may carry another request of this channel."""
        while kept := self._kept.get(channel):
            wire = self._remove(channel, kept[-1])
            if wire.is_quiet():
                return wire
            wire.abort()
        return None

    async def soon(self, channel: Channel) -> Wire | None:
        """The same for a request that may wait a moment, while others like it use connections that it can have."""
        loop = asyncio.get_running_loop()
        last = loop.time() + PATIENCE_SECONDS
        while (wire := self.take(channel)) is None and self._used[channel] >= SHARED:
            left = last - loop.time()
            if left <= 0 or (channel.namespace, channel.origin) in self._avoided:
                break
            line = self._patient.setdefault(channel, deque())
            called: asyncio.Future[None] = loop.create_future()
            line.append(called)
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await called
            except asyncio.CancelledError:
                if called.done() and not called.cancelled():
                    self._call(channel)  # it was called in this very moment: the next one is
                raise
            finally:
                with suppress(ValueError):
                    line.remove(called)
                if not line and self._patient.get(channel) is line:
                    del self._patient[channel]
        return wire

    def begin(self, channel: Channel) -> None:
        """A connection is in use for a request after which it may be kept, until `end`."""
        self._used[channel] += 1

    def end(self, channel: Channel) -> None:
        """It was kept, or closed."""
        self._used[channel] -= 1
        if not self._used[channel]:
            del self._used[channel]
        self._call(channel)

    def _call(self, channel: Channel) -> None:
        for called in self._patient.get(channel, ()):
            if not called.done():
                called.set_result(None)
                return

    def keep(self, channel: Channel, wire: Wire) -> None:
        """Keeps it for a moment, or closes it where there are enough."""
        if (channel.namespace, channel.origin) in self._avoided:
            wire.abort()
            return
        of_one = sum(len(kept) for each, kept in self._kept.items() if each.namespace == channel.namespace)
        if self._number >= MAX_IDLE or of_one >= MAX_IDLE_OF_ONE or not wire.is_quiet():
            wire.abort()
            return
        loop = asyncio.get_running_loop()
        idle = _Idle(wire)
        idle.timer = loop.call_later(_SECONDS, self._drop, channel, idle)
        wire.watch(lambda: self._drop(channel, idle))
        self._kept.setdefault(channel, []).append(idle)
        self._number += 1

    def avoid(self, channel: Channel) -> None:
        """Keep no more connections of this namespace to this origin: it closes them without a word."""
        place = (channel.namespace, channel.origin)
        self._avoided[place] = None
        for each in [each for each in self._kept if (each.namespace, each.origin) == place]:
            for idle in list(self._kept[each]):
                self._drop(each, idle)

    def close(self) -> None:
        """Closes them all."""
        for channel, kept in list(self._kept.items()):
            for idle in list(kept):
                self._drop(channel, idle)

    def _drop(self, channel: Channel, idle: _Idle) -> None:
        self._remove(channel, idle).abort()

    def _remove(self, channel: Channel, idle: _Idle) -> Wire:
        if idle.timer is not None:
            idle.timer.cancel()
        idle.wire.unwatch()
        kept = self._kept[channel]
        kept.remove(idle)
        if not kept:
            del self._kept[channel]
        self._number -= 1
        return idle.wire
