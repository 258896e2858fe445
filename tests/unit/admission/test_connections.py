"""Strangers at the port of the webhook: bounded by address, and nobody else waits for them."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

import pytest

from curation.admission import connections as under_test
from curation.admission.connections import Connections
from tests.harness.certificates import self_signed

GENEROUS = 60


class Served:
    def __init__(self, folder: Path) -> None:
        self.pem, context = self_signed(folder, "127.0.0.1")
        self.asked: list[bytes] = []
        self.slow = asyncio.Event()
        self.connections = Connections(context, b"/review", self._answer)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self.port = self._listening.getsockname()[1]
        self._task = asyncio.create_task(self.connections.accept(self._listening))

    async def _answer(self, body: bytes, _: str) -> tuple[HTTPStatus, bytes]:
        self.asked.append(body)
        if body == b"slow":
            await self.slow.wait()
        return HTTPStatus.OK, b"{}"

    async def close(self) -> None:
        tasks = [self._task, *self.connections.tasks()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listening.close()

    async def open(self, source: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = ssl.create_default_context(cafile=str(self.pem))
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=context, local_addr=(source, 0))

    async def ask(
        self, body: bytes, *, path: str = "/review", method: str = "POST", source: str = "127.0.0.1"
    ) -> bytes:
        reader, writer = await self.open(source)
        try:
            writer.write(request(body, path=path, method=method))
            async with asyncio.timeout(GENEROUS):
                return await reader.readline()
        finally:
            writer.transport.abort()

    async def until_bodies(self, size: int) -> None:
        async with asyncio.timeout(GENEROUS):
            while self.connections.bodies != size:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.01)


def request(body: bytes, *, path: str = "/review", method: str = "POST", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode() + body


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    made = Served(tmp_path)
    yield made
    await made.close()


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the other side ends the connection without an answer."""
    async with asyncio.timeout(GENEROUS):
        try:
            return await reader.read(1) == b""
        except OSError:
            return True


async def test_a_connection_carries_one_request_after_the_other(served: Served) -> None:
    reader, writer = await served.open()
    for number in range(3):
        sent = request(b"x" * number * 100_000)
        for start in range(0, len(sent), 50_000):
            writer.write(sent[start : start + 50_000])
            await writer.drain()
        async with asyncio.timeout(GENEROUS):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(2) == b"{}"
    assert [len(each) for each in served.asked] == [0, 100_000, 200_000]
    await served.until_bodies(0)
    writer.transport.abort()


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/other", "POST", b"404"), ("/review", "GET", b"405"), ("/review?timeout=3s", "POST", b"200")],
)
async def test_only_the_webhooks_own_path_is_answered(served: Served, path: str, method: str, status: bytes) -> None:
    assert status in await served.ask(b"{}", path=path, method=method)


async def test_one_address_has_a_share_of_the_connections(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "CONNECTIONS_OF_ONE", 3)
    flood = [await served.open("127.0.0.2") for _ in range(3)]
    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        await served.open("127.0.0.2")
    assert b"200" in await served.ask(b"{}"), "the API server has an address of its own"
    for _, writer in flood:
        writer.transport.abort()


async def test_a_handshake_that_does_not_end_is_given_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "HANDSHAKE_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    assert await ended(reader)
    writer.transport.abort()


@pytest.mark.parametrize("sent", [b"POST /rev", request(b"{}", length=1000), request(b"slow")])
async def test_a_request_that_does_not_end_is_given_up(
    served: Served, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(under_test, "REQUEST_SECONDS", 0.3)
    reader, writer = await served.open()
    writer.write(sent)
    assert await ended(reader)
    writer.transport.abort()
    await served.until_bodies(0)


async def test_bodies_are_bounded_each_and_in_sum(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "MAX_BODY_BYTES", 1000)
    assert b"413" in await served.ask(b"x" * 1001)
    monkeypatch.setattr(under_test, "MAX_BODIES_BYTES", 1500)
    _, writer = await served.open()
    writer.write(request(b"x" * 900, length=1000))
    await served.until_bodies(900)
    assert b"503" in await served.ask(b"y" * 900)
    writer.transport.abort()
    await served.until_bodies(0)
    assert b"200" in await served.ask(b"y" * 900)


async def test_requests_of_one_address_are_bounded_in_their_rate(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "REQUESTS_A_SECOND", 1.0)
    now = asyncio.get_running_loop().time()
    assert served.connections._asking.may("127.0.0.2", 1.0, now + 3600)  # and the next one in another second
    assert b"429" in await served.ask(b"{}", source="127.0.0.2")
    assert b"200" in await served.ask(b"{}")


async def test_new_connections_of_one_address_are_bounded_in_their_rate(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "CONNECTIONS_A_SECOND", 1.0)
    assert served.connections._connecting.may("127.0.0.2", 1.0, asyncio.get_running_loop().time() + 3600)
    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        await served.open("127.0.0.2")
    assert b"200" in await served.ask(b"{}")


async def test_addresses_that_have_taken_all_give_way_to_one_that_has_less(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "CONNECTIONS", 4)
    flood = [await served.open(source) for source in ("127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.3")]
    assert b"200" in await served.ask(b"{}")
    reader, _ = flood[0]
    assert await ended(reader), "the oldest of one that has most"
    assert len(served.connections.tasks()) <= 4
    for _, writer in flood:
        writer.transport.abort()


@pytest.mark.parametrize("sent", [b"\x00" * 100, b"GET /\r\n\r\n", b"POST /review HTTP/1.1\r\n" + b"a: b\r\n" * 9000])
async def test_what_is_no_http_ends_its_connection_alone(served: Served, sent: bytes) -> None:
    reader, writer = await served.open()
    writer.write(sent)
    assert await ended(reader)
    writer.transport.abort()
    assert b"200" in await served.ask(b"{}")
