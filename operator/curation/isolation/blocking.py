"""The end of a channel that a child has: each call waits. And what both ends do with a socket."""

import array
import os
import socket
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from curation.isolation.frames import Decoder, Frame, FrameRefused, Wire

READ_BYTES: Final = 65_536
"""Read at once: what one turn of a loop spends on one child."""
_INT: Final = array.array("i").itemsize


class BlockingChannel:
    """The other end, for a child: each call waits. One thread may receive; any may send."""

    def __init__(self, sock: socket.socket, *, outgoing: Wire, incoming: Wire) -> None:
        self._socket = sock
        self._outgoing, self._incoming = outgoing, incoming
        self._decoder = Decoder(incoming)
        self._sending = threading.Lock()
        sock.setblocking(True)

    def send(self, frame: Frame) -> None:
        """Send it whole. Raises FrameRefused for a frame over its bounds, and OSError if the other end has closed."""
        encoded = self._outgoing.encode(frame)
        with self._sending:
            whole = encoded.head + encoded.payload
            sent = send(self._socket, [whole], encoded.descriptors)
            self._socket.sendall(memoryview(whole)[sent:])

    def receive(self) -> Frame | None:
        """The next frame; None once the other end has closed. Raises FrameRefused and OSError."""
        while (frame := self._decoder.next()) is None:
            data, descriptors = received(self._socket, self._incoming)
            if not data:
                if self._decoder.unfinished:
                    raise FrameRefused("the last frame was cut off")
                return None
            self._decoder.feed(data, descriptors)
        return frame

    def close(self) -> None:
        """End it from this side."""
        self._decoder.close()
        self._socket.close()


def received(sock: socket.socket, wire: Wire) -> tuple[bytes, list[int]]:
    """What has come, and descriptors if the wire has any; no bytes at the end. Raises FrameRefused and OSError."""
    if not wire.max_descriptors:
        # The kernel closes descriptors that somebody sends and nobody has asked for.
        return sock.recv(READ_BYTES), []
    data, ancillary, flags, _ = sock.recvmsg(READ_BYTES, socket.CMSG_SPACE(wire.max_descriptors * _INT))
    found = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(content[: len(content) - len(content) % _INT])
    if flags & socket.MSG_CTRUNC:
        close_all(found)
        raise FrameRefused("more descriptors than any frame has")
    for each in found:
        os.set_inheritable(each, False)
    return data, list(found)


def send(sock: socket.socket, parts: Sequence[bytes | memoryview], descriptors: tuple[int, ...]) -> int:
    """Send what the socket takes, the descriptors with the first byte; how many bytes that was. Raises OSError."""
    if not descriptors:
        return sock.sendmsg(parts)
    return socket.send_fds(sock, parts, list(descriptors))


def close_all(descriptors: Iterable[int]) -> None:
    """Close those that are open."""
    for each in descriptors:
        with suppress(OSError):
            os.close(each)
