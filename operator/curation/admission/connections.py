"""HTTPS connections of strangers: the API server, and whoever else reaches the port. All is bounded, by address first.

An address has a share of the connections, a rate of requests, and a time for each step. Bodies are bounded each and in
sum. So a flood costs the one that floods, and the API server, which has addresses of its own, is answered.
"""

import asyncio
import socket
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Final, cast

import h11

from curation.isolation.rates import Rates

CONNECTIONS: Final = 192
"""Open at once. One more takes the place of the oldest of the address that has most."""
CONNECTIONS_OF_ONE: Final = 48
"""Of one address; one more is closed."""
CONNECTIONS_A_SECOND: Final = 50.0
"""New ones of one address, after a burst of as many: a handshake takes a millisecond of the processor."""
REQUESTS_A_SECOND: Final = 500.0
"""Of one address, after a burst of as many."""
MAX_BODY_BYTES: Final = 8 << 20
"""An API server takes 3 MiB, and shows an object and the one before it."""
MAX_BODIES_BYTES: Final = 64 << 20
"""Of all requests that are being read or answered."""
HEAD_BYTES: Final = 16_384
HANDSHAKE_SECONDS: Final = 5.0
REQUEST_SECONDS: Final = 10.0
"""From the first byte of a request to the end of its answer."""
IDLE_SECONDS: Final = 90.0

Answer = Callable[[bytes, str], Awaitable[tuple[HTTPStatus, bytes]]]
"""Given a body and the address that sent it."""


class Connections:
    """Accepts connections, and answers their requests, in one event loop."""

    def __init__(self, context: ssl.SSLContext, path: bytes, answer: Answer) -> None:
        """`answer` is given the bodies of POST requests for the path."""
        self._context = context
        self._path = path
        self._answer = answer
        self._of: dict[str, OrderedDict[asyncio.Task[None], None]] = {}
        """The open ones of each address, oldest first."""
        self._connecting, self._asking = Rates(), Rates()
        self.bodies = 0
        """Bytes of all requests that are being read or answered."""

    async def accept(self, listening: socket.socket) -> None:
        """Accept without end."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(listening)
            except OSError:
                # Out of descriptors, or the peer is gone: others' connections end, and then there is room.
                await asyncio.sleep(0.05)
                continue
            address = str(peer[0])
            if not self._has_room(address):
                accepted.close()
                continue
            task = asyncio.create_task(self._served(accepted, address))
            self._of.setdefault(address, OrderedDict())[task] = None
            task.add_done_callback(partial(self._ended, address))

    def tasks(self) -> list[asyncio.Task[None]]:
        """Of the connections that are open."""
        return [task for mine in self._of.values() for task in mine]

    def _has_room(self, address: str) -> bool:
        """Whether this address may have one more; that of another may end for it."""
        mine = len(self._of.get(address, ()))
        now = asyncio.get_running_loop().time()
        if mine >= CONNECTIONS_OF_ONE or not self._connecting.may(address, CONNECTIONS_A_SECOND, now):
            return False
        if len(self.tasks()) >= CONNECTIONS:
            busiest = max(self._of.values(), key=len)
            if len(busiest) <= mine:
                return False
            next(iter(busiest)).cancel()
        return True

    def _ended(self, address: str, task: asyncio.Task[None]) -> None:
        mine = self._of[address]
        del mine[task]
        if not mine:
            del self._of[address]

    async def _served(self, accepted: socket.socket, address: str) -> None:
        writer: asyncio.StreamWriter | None = None
        try:
            accepted.setblocking(False)
            async with asyncio.timeout(HANDSHAKE_SECONDS + 1):
                reader, writer = await _opened(accepted, self._context)
            await self._requests(reader, writer, address)
        except (OSError, TimeoutError, ssl.SSLError, asyncio.IncompleteReadError, h11.ProtocolError):
            pass  # a stranger's
        finally:
            if writer is not None:
                writer.transport.abort()
            else:
                accepted.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                data = await reader.read(HEAD_BYTES)
            if not data:
                return
            http.receive_data(data)
            async with asyncio.timeout(REQUEST_SECONDS):
                await self._request(http, reader, writer, address)
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()

    async def _request(
        self, http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str
    ) -> None:
        taken = 0
        try:
            body = bytearray()
            request: h11.Request | None = None
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    data = await reader.read(65_536)
                    http.receive_data(data)
                    if not data and request is None:
                        return
                elif isinstance(event, h11.Request):
                    request = event
                    if (refusal := self._refusal(request, address)) is not None:
                        await _send(http, writer, *refusal)
                        return
                    if http.they_are_waiting_for_100_continue:
                        writer.write(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                elif isinstance(event, h11.Data):
                    taken += len(event.data)
                    self.bodies += len(event.data)
                    if taken > MAX_BODY_BYTES or self.bodies > MAX_BODIES_BYTES:
                        busy = taken <= MAX_BODY_BYTES
                        status = HTTPStatus.SERVICE_UNAVAILABLE if busy else HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                        await _send(http, writer, status, b"more than is read at once")
                        return
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    await _send(http, writer, *await self._answer(bytes(body), address))
                    return
                else:
                    return
        finally:
            self.bodies -= taken

    def _refusal(self, request: h11.Request, address: str) -> tuple[HTTPStatus, bytes] | None:
        if not self._asking.may(address, REQUESTS_A_SECOND, asyncio.get_running_loop().time()):
            return HTTPStatus.TOO_MANY_REQUESTS, b"too many requests of one address"
        if request.target.partition(b"?")[0] != self._path:
            return HTTPStatus.NOT_FOUND, b"here is a webhook for the API server"
        if request.method != b"POST":
            return HTTPStatus.METHOD_NOT_ALLOWED, b"POST is allowed"
        return None


async def _opened(
    accepted: socket.socket, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=65_536)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol,
        accepted,
        ssl=context,
        ssl_handshake_timeout=HANDSHAKE_SECONDS,
        ssl_shutdown_timeout=1.0,
    )
    return reader, asyncio.StreamWriter(cast(asyncio.WriteTransport, transport), protocol, reader, loop)


async def _send(http: h11.Connection, writer: asyncio.StreamWriter, status: HTTPStatus, body: bytes) -> None:
    json = status is HTTPStatus.OK
    headers = [
        ("Content-Type", "application/json" if json else "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        *([] if json else [("Connection", "close")]),
    ]
    head = h11.Response(status_code=status, reason=status.phrase, headers=headers)
    for event in (head, h11.Data(data=body), h11.EndOfMessage()):
        writer.write(http.send(event) or b"")
    with suppress(ConnectionError):
        await writer.drain()
