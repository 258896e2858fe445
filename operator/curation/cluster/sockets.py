"""The TCP sockets of the connection pool: found dead within a minute, and all closed at the end."""

import asyncio
import socket
from typing import Final
from weakref import WeakSet

import aiohttp

# A watch may be silent for long, so only the network can show that its peer is gone: 30 + 3 * 10 s.
KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
POLL_SECONDS: Final = 0.005
CLOSE_SECONDS: Final = 1.0


class Sockets:
    """Makes the sockets of a pool (aiohttp's ``socket_factory``), and can wait until all of them are closed."""

    def __init__(self) -> None:
        self._made: WeakSet[socket.socket] = WeakSet()

    def __call__(self, address: aiohttp.AddrInfoType) -> socket.socket:
        """Make a socket for this address."""
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE:
            # macOS names the first one otherwise; its own default serves there.
            if hasattr(socket, name):
                made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._made.add(made)
        return made

    async def all_closed(self, seconds: float = CLOSE_SECONDS) -> None:
        """Wait, so long at most, until none is open.

        Trap: a connection that was given up, during its TLS handshake or in the middle of an answer, is no longer the
        pool's, and is closed by the loop a moment later; a loop that ends before leaves it open.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            if all(made.fileno() == -1 for made in self._made):
                return
            await asyncio.sleep(POLL_SECONDS)
