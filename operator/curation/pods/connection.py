"""A connection between a carrier and the door, as both have it."""

import asyncio
import socket
from contextlib import suppress
from typing import Final

from curation.isolation.frames import Decoder, Frame, FrameRefused, Wire

READ_BYTES: Final = 64 << 10
_IDLE_SECONDS, _INTERVAL_SECONDS, _PROBES = 15, 5, 3
_TAKEN_MILLISECONDS: Final = 30_000
"""For the other end to take what was sent."""


def notice_absence(sock: socket.socket | None) -> None:
    """Have this connection fail when nobody is at its other end any more, in half a minute."""
    if sock is None:
        return
    options = (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", _IDLE_SECONDS),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", _INTERVAL_SECONDS),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", _PROBES),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", _TAKEN_MILLISECONDS),
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
    )
    for level, name, value in options:
        with suppress(OSError, AttributeError):  # not every system has all of them
            sock.setsockopt(level, getattr(socket, name), value)


class FrameReader:
    """Frames from a stream. Close it."""

    def __init__(self, reader: asyncio.StreamReader, wire: Wire) -> None:
        self._reader = reader
        self._decoder = Decoder(wire)

    @property
    def unfinished(self) -> bool:
        """Whether there is more than the frames that were read."""
        return self._decoder.unfinished

    async def next(self) -> Frame | None:
        """The next frame; None once the other end has closed. Raises FrameRefused and OSError."""
        while (frame := self._decoder.next()) is None:
            data = await self._reader.read(READ_BYTES)
            if not data:
                return None
            self._decoder.feed(data)
        return frame


def encoded(wire: Wire, frame: Frame) -> bytes:
    """The bytes of a frame without descriptors. Raises FrameRefused."""
    made = wire.encode(frame)
    if made.descriptors:
        raise FrameRefused(f"{frame.NAME}: descriptors go over no network")
    return made.head + made.payload
