"""on_departure: called once, on an open connection, before the first byte; what it refuses never leaves."""

import asyncio

import pytest

from curation.egress.client import EgressClient, OutboundRequest
from curation.egress.errors import Unavailable
from curation.egress.url import parse_url
from tests.unit.egress.raw_server import RawServer, nothing_left, raw_server


class FenceDied(Exception):
    """What the host raises when the run is over."""


async def post(client: EgressClient, server: RawServer, on_departure: object, body: bytes | None = b"body") -> int:
    method = "GET" if body is None else "POST"  # only what changes nothing goes out on a connection that is kept
    request = OutboundRequest(method, parse_url(f"http://127.0.0.1:{server.port}/"), {}, body)
    answer = await client.send(request, timeout=30, max_response_bytes=100, on_departure=on_departure)  # type: ignore[arg-type]
    return answer.status


def refuse(error: Exception) -> object:
    def on_departure() -> None:
        raise error

    return on_departure


# The last two are what the connection's own handlers and asyncio.timeout would take for their own.
ERRORS = [FenceDied("over"), RuntimeError("x"), ConnectionResetError("x"), TimeoutError("x")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_a_refusal_on_a_new_connection_lets_no_byte_out(client: EgressClient, error: Exception) -> None:
    async with raw_server() as server:
        with pytest.raises(type(error)) as raised:
            await post(client, server, refuse(error))
        assert raised.value is error
        await nothing_left()
        assert (server.connections, server.received, bytes(server.stray)) == (1, [], b"")


async def test_a_refusal_on_a_reused_connection_lets_no_byte_out(client: EgressClient) -> None:
    async with raw_server() as server:
        assert await post(client, server, None, None) == 200
        with pytest.raises(FenceDied):
            await post(client, server, refuse(FenceDied()), None)
        await nothing_left()
        assert (server.connections, len(server.received), bytes(server.stray)) == (1, 1, b"")
        assert await post(client, server, None, None) == 200


async def test_it_is_called_once_when_connected_and_before_the_request_arrives(client: EgressClient) -> None:
    seen: list[tuple[int, int]] = []
    async with raw_server() as server:
        for _ in range(2):
            await post(client, server, lambda: seen.append((server.connections, len(server.received))), None)
    assert [received for _, received in seen] == [0, 1]
    assert server.connections == 1


async def test_it_is_not_called_without_an_open_connection(client: EgressClient) -> None:
    called: list[bool] = []
    async with raw_server() as server:
        pass
    with pytest.raises(Unavailable):
        await post(client, server, lambda: called.append(True))
    assert called == []


async def test_each_request_has_its_own(client: EgressClient) -> None:
    async with raw_server() as server:
        results = await asyncio.gather(
            *(post(client, server, refuse(FenceDied()) if n % 2 else None) for n in range(40)), return_exceptions=True
        )
        assert [type(result) for result in results] == [int, FenceDied] * 20
        assert len(server.received) == 20
