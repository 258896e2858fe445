"""The door: the process that ends the TLS of pods' connections. It holds a certificate's key, and nothing else.

Whoever connects is a stranger: all is bounded before anything else, by the address first. Whoever knocks is judged by
the operator, and if that lets it in it is joined with its worker: from then on bytes are handed on, and not read.
"""

import asyncio
import itertools
import socket
import ssl
from collections import Counter
from typing import Any, Final, cast

from curation.isolation.blocking import close_all
from curation.isolation.channel import Channel, QueueFull
from curation.isolation.frames import Frame, FrameRefused
from curation.isolation.rates import Rates
from curation.isolation.tls_server import Accepting
from curation.pods.connection import READ_BYTES, FrameReader, encoded, notice_absence
from curation.pods.frames import (
    ANSWERS_OF_DOOR,
    FROM_DOOR,
    KNOCKS,
    MAX_WHY,
    TO_DOOR,
    Admit,
    Certificate,
    Knock,
    Knocked,
    KnockerGone,
    Refuse,
    Refused,
    Serve,
    Welcome,
)

STRANGERS: Final = 256
"""Connections at a time that were not let in yet."""
STRANGERS_OF_ONE: Final = 16
"""Of one address; one more is closed."""
CONNECTIONS_A_SECOND: Final = 50.0
"""New ones of one address, after a burst of as many: a handshake takes a millisecond of the processor."""
GUESTS: Final = 1024
"""Connections at a time that were let in."""
HANDSHAKE_SECONDS: Final = 5.0
KNOCK_SECONDS: Final = 5.0
"""From the end of the handshake until it was said who comes."""
JUDGED_SECONDS: Final = 20.0
"""For the operator to say whether it may in, which it tries for 15 s. One that is frozen keeps no pod from others."""
LAST_SECONDS: Final = 5.0
"""For what was said last to leave, once one end has closed."""
BUSY_SECONDS: Final = 0.05
MAX_EXECUTION: Final = 1024
"""Characters of an execution's id."""
_FRAME_BYTES: Final = 24 << 10
"""Of a knock and its answer in the channel's queue."""

_Answer = Admit | Refuse


def main(channel: socket.socket) -> None:
    """Serve until the operator closes the channel."""
    asyncio.run(_Door(channel).run())


class _Door:
    def __init__(self, channel: socket.socket) -> None:
        self._channel_socket = channel
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_3
        self._tls.num_tickets = 0
        self._accepting = Accepting(self._tls, self._accept_on, self._say)
        self._numbers = itertools.count(1)
        self._judged: dict[int, asyncio.Future[_Answer]] = {}
        """Who has knocked and has no answer, by the number of the connection."""
        self._strangers: Counter[str] = Counter()
        """How many of each address were not let in yet."""
        self._rates = Rates()
        self._guests = 0
        self._serving: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        ended = asyncio.Event()
        # The socket is the caller's too, and closed by it.
        self._channel = Channel(
            self._channel_socket.dup(),
            outgoing=FROM_DOOR,
            incoming=TO_DOOR,
            on_frame=self._told,
            on_end=lambda _: ended.set(),
            max_queued_bytes=STRANGERS * _FRAME_BYTES,
        )
        await ended.wait()
        self._accepting.end()
        for task in self._serving:
            task.cancel()

    # -- the operator ------------------------------------------------------------------------------------------------

    def _told(self, frame: Frame) -> None:
        match frame:
            case Serve() | Certificate():
                self._accepting.told(frame)
            case Admit(connection=number) | Refuse(connection=number):
                waiting = self._judged.get(number)
                if waiting is not None and not waiting.done():
                    waiting.set_result(frame)
                else:  # who has knocked is gone
                    close_all(frame.descriptors)

    def _say(self, frame: Frame) -> bool:
        try:
            self._channel.send(frame)
        except (QueueFull, FrameRefused):
            return False
        return True

    # -- strangers ---------------------------------------------------------------------------------------------------

    async def _accept_on(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(listening)
            except OSError:
                # Out of descriptors, or the peer is gone: others' connections end, and then there is room.
                await asyncio.sleep(BUSY_SECONDS)
                continue
            address = str(peer[0])
            if not self._rates.may(address, CONNECTIONS_A_SECOND, loop.time()):
                accepted.close()
                continue
            if self._strangers[address] >= STRANGERS_OF_ONE or self._strangers.total() >= STRANGERS:
                accepted.close()
                continue
            self._strangers[address] += 1
            task = asyncio.create_task(self._serve(accepted, address))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve(self, accepted: socket.socket, address: str) -> None:
        writer: asyncio.StreamWriter | None = None
        joined: socket.socket | None = None
        try:
            try:
                accepted.setblocking(False)
                notice_absence(accepted)
                async with asyncio.timeout(HANDSHAKE_SECONDS + 1):
                    reader, writer = await _opened(accepted, self._tls)
                joined = await self._let_in(reader, writer)
            finally:
                self._strangers -= Counter([address])  # drops one at zero
            if joined is not None:
                await self._carry(reader, writer, joined)
        except (OSError, TimeoutError, ssl.SSLError, FrameRefused):
            pass  # a stranger's
        finally:
            if joined is not None:
                joined.close()
            if writer is not None:
                writer.transport.abort()
            else:
                accepted.close()

    async def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> socket.socket | None:
        """Where its worker listens, if it may in. Raises OSError, TimeoutError and FrameRefused."""
        heard = FrameReader(reader, KNOCKS)
        async with asyncio.timeout(KNOCK_SECONDS):
            knock = await heard.next()
        if not isinstance(knock, Knock):
            return None
        if heard.unfinished or len(knock.execution) > MAX_EXECUTION or not knock.payload:
            raise FrameRefused("more than a knock, or less")
        answer = await self._judge(knock, reader)
        async with asyncio.timeout(KNOCK_SECONDS):
            if isinstance(answer, Refuse):
                writer.write(encoded(ANSWERS_OF_DOOR, Refused(why=answer.why[:MAX_WHY], final=answer.final)))
                await _closed(writer)
                return None
            joined = socket.socket(fileno=answer.descriptors[0])
            try:
                writer.write(encoded(ANSWERS_OF_DOOR, Welcome()))
                await writer.drain()
            except BaseException:
                joined.close()
                raise
            return joined

    async def _judge(self, knock: Knock, reader: asyncio.StreamReader) -> _Answer:
        """What the operator says. Raises ConnectionError if that is not waited for."""
        number = next(self._numbers)
        full = Refuse(connection=number, why="the door has no room just now", final=False)
        if self._guests + len(self._judged) >= GUESTS:
            return full
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[_Answer] = loop.create_future()
        self._judged[number] = waiting
        leaving = loop.create_task(reader.read(1))  # nothing is to be said before the answer
        try:
            if not self._say(Knocked(connection=number, execution=knock.execution, payload=knock.payload)):
                return full
            either: set[asyncio.Future[Any]] = {waiting, leaving}
            await asyncio.wait(either, timeout=JUDGED_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                self._say(KnockerGone(connection=number))
                if leaving.done():
                    raise ConnectionError("it has gone, or speaks before it may")
                return Refuse(connection=number, why="nobody has judged it in time", final=False)
            if leaving.done():
                close_all(waiting.result().descriptors)
                raise ConnectionError("it has gone, or speaks before it may")
            return waiting.result()
        finally:
            del self._judged[number]
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)

    # -- guests ------------------------------------------------------------------------------------------------------

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, joined: socket.socket) -> None:
        """Hand bytes on, both ways, until one end closes."""
        self._guests += 1
        try:
            from_worker, to_worker = await asyncio.open_unix_connection(sock=joined, limit=READ_BYTES)
            pumps = {
                asyncio.create_task(_pump(reader, to_worker)),
                asyncio.create_task(_pump(from_worker, writer)),
            }
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                # What was said last is still on its way.
                async with asyncio.timeout(LAST_SECONDS):
                    await asyncio.gather(_closed(writer), _closed(to_worker), return_exceptions=True)
            finally:
                for each in pumps:
                    each.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
                to_worker.transport.abort()
        finally:
            self._guests -= 1


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(READ_BYTES):
        writer.write(data)
        await writer.drain()


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Close it, once all that was written has left. Raises OSError."""
    writer.close()
    await writer.wait_closed()


async def _opened(accepted: socket.socket, tls: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=READ_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol, accepted, ssl=tls, ssl_handshake_timeout=HANDSHAKE_SECONDS, ssl_shutdown_timeout=1.0
    )
    return reader, asyncio.StreamWriter(cast(asyncio.WriteTransport, transport), protocol, reader, loop)
