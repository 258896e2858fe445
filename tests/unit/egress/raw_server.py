"""A TCP server on loopback that keeps every byte it gets and answers by script: the wire, not a library's view."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class RawServer:
    """What arrived: connections, and the bytes of each request head and body."""

    port: int = 0
    connections: int = 0
    received: list[bytes] = field(default_factory=list)
    stray: bytearray = field(default_factory=bytearray)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def heads(self) -> list[list[str]]:
        """The lines of each request's head."""
        return [each.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n") for each in self.received]


Response = Callable[[RawServer, asyncio.StreamWriter], Awaitable[bool | None]]
"""Writes an answer; True closes the connection after it."""


async def nothing_left() -> None:
    """Wait until no other task runs: the server has then seen the end of each connection, and any late byte."""
    current = asyncio.current_task()
    others = [task for task in asyncio.all_tasks() if task is not current]
    if others:
        _, pending = await asyncio.wait(others, timeout=30)
        assert not pending, pending


async def _read_request(reader: asyncio.StreamReader, server: RawServer) -> bytes | None:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = await reader.read(1)
        if not byte:
            server.stray += head
            return None
        head += byte
    length = next(
        (line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), b"0"
    )
    return head + (await reader.readexactly(int(length)) if int(length) else b"")


async def _ok(_: RawServer, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


def answering(raw: bytes, *, close: bool = False) -> Response:
    """An answer of fixed bytes."""

    async def answer(_: RawServer, writer: asyncio.StreamWriter) -> bool:
        writer.write(raw)
        return close

    return answer


@asynccontextmanager
async def raw_server(answer: Response = _ok, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """Serve on a free port of 127.0.0.1 until the block ends; leaves no connection and no task behind."""
    state = RawServer()
    open_connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read_request(reader, state)) is not None:
                state.received.append(request)
                if await answer(state, writer):
                    break
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        state.writers.append(writer)
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        open_connections[task] = writer
        task.add_done_callback(lambda done: open_connections.pop(done, None))

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    state.port = listener.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        listener.close()
        pending = list(open_connections)
        for task, writer in list(open_connections.items()):
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await listener.wait_closed()
