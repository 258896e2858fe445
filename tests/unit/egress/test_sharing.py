"""Which requests may follow one another on a connection: of one namespace, module, origin and credentials."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from curation.egress import idle
from curation.egress.client import EgressClient, OutboundRequest
from curation.egress.errors import Unavailable
from curation.egress.idle import SHARED
from curation.egress.url import parse_url
from tests.unit.egress.raw_server import OK, RawServer, raw_server


async def ask(client: EgressClient, server: RawServer, **more: Any) -> bytes:
    given = {"method": "GET", "namespace": "a", "module": "m@sha256:1", "headers": {"Authorization": "one"}, **more}
    url = parse_url(f"http://{given.pop('host', '127.0.0.1')}:{server.port}/")
    return (await client.send(OutboundRequest(url=url, **given), timeout=30, max_response_bytes=100)).body


async def test_requests_of_one_kind_use_one_connection(client: EgressClient) -> None:
    async with raw_server() as server:
        for number in range(3):
            headers = {"Authorization": "one", "Curation-Run-Id": f"u.g1.a{number}", "Idempotency-Key": str(number)}
            await ask(client, server, headers=headers)
        assert server.connections == 1


async def test_requests_that_may_wait_share_few_connections_however_many_are_made_at_once(
    client: EgressClient,
) -> None:
    async with raw_server() as server:
        answers = await asyncio.gather(*(ask(client, server, patient=True) for _ in range(20)))
        assert answers == [b"ok"] * 20
        assert server.connections <= SHARED
        assert not client._idle._patient
        assert not client._idle._used


async def test_who_may_wait_does_so_for_a_moment_only_and_who_may_not_does_not(
    client: EgressClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = asyncio.Event()

    async def answer(_: RawServer, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.write(OK)

    async with raw_server(answer) as server:
        asking = [asyncio.create_task(ask(client, server, patient=patient)) for patient in [False] * (SHARED + 1)]
        while server.connections <= SHARED:  # noqa: ASYNC110 - none of them waits for another
            await asyncio.sleep(0.01)
        monkeypatch.setattr(idle, "PATIENCE_SECONDS", 0.01)
        asking.append(asyncio.create_task(ask(client, server, patient=True)))
        while server.connections <= SHARED + 1:  # noqa: ASYNC110 - its patience has an end
            await asyncio.sleep(0.01)
        released.set()
        assert await asyncio.gather(*asking) == [b"ok"] * (SHARED + 2)


async def test_who_waits_for_a_connection_gets_none_of_another_kind_and_can_give_up(client: EgressClient) -> None:
    released = asyncio.Event()

    async def answer(_: RawServer, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.write(OK)

    async with raw_server(answer) as server:
        asking = [asyncio.create_task(ask(client, server)) for _ in range(SHARED)]
        while server.connections < SHARED:  # noqa: ASYNC110 - until all of them are in use
            await asyncio.sleep(0.01)
        gives_up = asyncio.create_task(ask(client, server, patient=True))
        while not client._idle._patient:  # noqa: ASYNC110 - until it waits
            await asyncio.sleep(0.001)
        other = asyncio.create_task(ask(client, server, patient=True, namespace="b"))
        while server.connections <= SHARED:  # noqa: ASYNC110 - the other one waits for nobody
            await asyncio.sleep(0.001)
        gives_up.cancel()
        await asyncio.wait([gives_up])
        assert not client._idle._patient
        released.set()
        assert await asyncio.gather(*asking, other) == [b"ok"] * (SHARED + 1)


async def test_a_server_that_closes_each_connection_is_asked_all_the_same(client: EgressClient) -> None:
    async def answer(_: RawServer, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")

    async with raw_server(answer) as server:
        assert await asyncio.gather(*(ask(client, server, patient=True) for _ in range(9))) == [b"ok"] * 9
        assert server.connections == 9


OTHERS = {
    "another namespace": {"namespace": "b"},
    "another module": {"module": "n@sha256:1"},
    "another build": {"module": "m@sha256:2"},
    "other credentials": {"headers": {"Authorization": "two"}},
    "a cookie": {"headers": {"Authorization": "one", "Cookie": "a"}},
    "another header of credentials": {"headers": {"X-Api-Key": "one"}},
    "none": {"headers": {}},
    "another host": {"host": "localhost"},
    # What runs together must not be one: the name's end is part of it.
    "shifted": {"headers": {"Authorizatio": "none"}},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
async def test_nothing_else_shares_it(client: EgressClient, other: dict[str, Any]) -> None:
    async with raw_server() as server:
        await ask(client, server)
        await ask(client, server, **other)
        assert server.connections == 2
        await ask(client, server)
        assert server.connections == 2, "the first one is kept all the same"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET"])
async def test_a_connection_is_not_used_after_a_request_with_a_body(client: EgressClient, method: str) -> None:
    """A server that ignores bodies takes the body for the next request, and its answer would be another's."""
    async with raw_server() as server:
        await ask(client, server, method=method, body=b"GET /smuggled HTTP/1.1\r\n\r\n")
        await ask(client, server)
        assert server.connections == 2


@pytest.mark.parametrize("stray", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"])
async def test_a_connection_that_has_received_a_byte_since_its_answer_is_closed(
    client: EgressClient, stray: bytes
) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def answer(_: RawServer, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(OK)

    async with raw_server(answer) as server:
        await ask(client, server)
        assert len(client._idle) == 1
        writers[0].write(stray)
        await writers[0].drain()
        with suppress(ConnectionResetError):
            await writers[0].wait_closed()  # the client's doing: the server goes on reading
        assert len(client._idle) == 0
        assert await ask(client, server) == b"ok"
        assert server.connections == 2


async def test_a_byte_that_the_loop_has_not_seen_yet_counts_as_well(client: EgressClient) -> None:
    async def answer(_: RawServer, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)

    async with raw_server(answer) as server:
        await ask(client, server)
        (channel,) = client._idle._kept
        wire = client._idle._kept[channel][0].wire
        wire.unwatch()  # as if the loop were busy
        peers = [each for each in server.writers if not each.is_closing()]
        peers[0].write(b"x")
        await peers[0].drain()
        while wire.is_quiet():  # noqa: ASYNC110 - until the byte has come across
            await asyncio.sleep(0.001)
        assert client._idle.take(channel) is None


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nx",
    ],
    ids=["a second answer", "said so", "HTTP/1.0", "two framings", "a byte after the last chunk"],
)
async def test_an_answer_after_which_a_connection_is_not_kept(client: EgressClient, raw: bytes) -> None:
    async def answer(_: RawServer, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)

    async with raw_server(answer) as server:
        assert [await ask(client, server), await ask(client, server)] == [b"ok"] * 2
        assert server.connections == 2


async def test_a_failed_answer_leaves_no_connection(client: EgressClient) -> None:
    async def answer(_: RawServer, writer: asyncio.StreamWriter) -> None:
        writer.write(b"nonsense\r\n\r\n")

    async with raw_server(answer) as server:
        with pytest.raises(Unavailable):
            await ask(client, server)
        assert len(client._idle) == 0


async def test_idle_connections_of_one_namespace_are_bounded(client: EgressClient) -> None:
    async with raw_server() as server:
        await asyncio.gather(*(ask(client, server, module=str(number)) for number in range(50)))
        assert len(client._idle) == 32
        await ask(client, server, namespace="b")
        assert len(client._idle) == 33
