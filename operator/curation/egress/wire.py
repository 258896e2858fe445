"""One connection: its bytes go out at once, come in piece by piece and counted, and stop when nobody reads.

Called by the client. The sockets are read by hand, and TLS is a pair of buffers, since the transports of event loops
read for as long as a peer sends and count nothing: a peer at full speed would hold up the loop, with messages of TLS
itself too.
"""

import asyncio
import select
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from curation.egress.errors import AnswerOverBounds
from curation.egress.loop_turns import LoopTurns

PIECE: Final = 64 * 1024
"""Bytes that are read at a time."""
MAX_HANDSHAKE: Final = 256 * 1024
"""Bytes that a TLS handshake may send us: long chains of certificates have a tenth of it."""
TLS_FREE: Final = 256 * 1024
"""Bytes that TLS may add to an answer (frames of its records, tickets, new keys) whatever the answer's size."""
TLS_SHARE: Final = 2
"""Beyond these, one byte of TLS for so many bytes of the answer."""


class Wire:
    """A connected socket, with TLS once `secure` has made it. Whoever makes one closes it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._tls: ssl.SSLObject | None = None
        self._tls_in = ssl.MemoryBIO()
        self._tls_out = ssl.MemoryBIO()
        self._encrypted = 0
        self._decrypted = 0
        self._unsent = bytearray()
        self._turns = LoopTurns()
        self._reading = False
        self._ready = False
        self._waiting: asyncio.Future[None] | None = None
        self._sender: asyncio.Task[None] | None = None

    async def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Make the TLS handshake and check the certificate. Raises `ssl.SSLError`, OSError and `AnswerOverBounds`."""
        self._tls = context.wrap_bio(self._tls_in, self._tls_out, server_hostname=host)
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
            await self._feed()
            if self._encrypted > MAX_HANDSHAKE:
                raise AnswerOverBounds(f"its TLS handshake is over {MAX_HANDSHAKE >> 10} KiB")
        self._flush()
        self._encrypted = self._tls_in.pending

    def send(self, data: bytes) -> None:
        """Writes without waiting: its first bytes have left when this returns. Raises OSError."""
        if self._tls is None:
            self._write(data)
            return
        left = memoryview(data)
        while left:
            left = left[self._tls.write(left) :]
        self._flush()

    async def receive(self) -> bytes:
        """The next bytes; empty at the end.

        Raises OSError, and `AnswerOverBounds` where TLS adds more to the bytes than it may.
        """
        if self._tls is None:
            return await self._receive()
        while (data := self._decrypt(self._tls)) == b"":
            await self._feed()
            if self._encrypted - self._decrypted > TLS_FREE + self._decrypted // TLS_SHARE:
                raise AnswerOverBounds(
                    f"TLS adds over {TLS_FREE >> 10} KiB and half of the answer to it; the service must send larger"
                    " records"
                )
        return data or b""

    def is_quiet(self) -> bool:
        """Whether all has been sent and nothing has arrived since the last `receive`, the peer's end included."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return self._sender is None and not self._tls_in.pending and not poll.poll(0)

    def watch(self, on_noise: Callable[[], object]) -> None:
        """Call this when something arrives, until `unwatch`."""
        self._loop.add_reader(self._sock, on_noise)
        self._reading = False

    def unwatch(self) -> None:
        """No longer."""
        self._loop.remove_reader(self._sock)
        self._ready = False

    async def close(self) -> None:
        """Close the socket; what is unsent stays so. For a wire that nobody waits on."""
        try:
            if (sender := self._sender) is not None:
                # Awaited, since its place in the loop goes by the socket's number, which another may have next.
                sender.cancel()
                await asyncio.wait([sender])
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the socket of a wire that has sent everything."""
        self._loop.remove_reader(self._sock)
        if self._tls is not None:
            with suppress(OSError):  # an ssl.SSLError too: the peer need not say goodbye
                self._tls.unwrap()
            with suppress(OSError):
                self._sock.send(self._tls_out.read())
        self._sock.close()

    async def _receive(self) -> bytes:
        await self._turns.rest()  # Trap: what is there already is given without a turn of the loop
        while True:
            if self._ready:
                try:
                    data = self._sock.recv(PIECE)
                except (BlockingIOError, InterruptedError):
                    data = None
                self._ready = data is not None and len(data) == PIECE  # else the loop says so again
                if data is not None:
                    return data
            if not self._reading:
                # For the whole answer, not for each piece as the loop's own sock_recv does it: half the system calls.
                self._loop.add_reader(self._sock, self._on_readable)
                self._reading = True
            self._waiting = self._loop.create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None

    def _on_readable(self) -> None:
        self._ready = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def _feed(self) -> None:
        raw = await self._receive()
        self._encrypted += len(raw)
        if raw:
            self._tls_in.write(raw)
        else:
            self._tls_in.write_eof()

    def _decrypt(self, tls: ssl.SSLObject) -> bytes | None:
        """What can be decrypted; None at the end of all."""
        out = bytearray()
        ended = False
        try:
            while len(out) < PIECE and not ended:
                record = tls.read(PIECE)
                out += record
                ended = not record
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):  # many servers leave out TLS's own goodbye
            ended = True
        self._decrypted += len(out)
        self._flush()
        return None if ended and not out else bytes(out)

    def _flush(self) -> None:
        if self._tls_out.pending:
            self._write(self._tls_out.read())

    def _write(self, data: bytes) -> None:
        sent = 0
        if self._sender is None:
            with suppress(BlockingIOError, InterruptedError):
                sent = self._sock.send(data)
        if sent < len(data):
            self._unsent += memoryview(data)[sent:]
            self._sender = self._sender or self._loop.create_task(self._send_rest())

    async def _send_rest(self) -> None:
        try:
            while self._unsent:
                rest, self._unsent = bytes(self._unsent), bytearray()
                await self._loop.sock_sendall(self._sock, rest)
        except OSError:
            pass  # whoever receives gets the error
        finally:
            self._sender = None
