"""The client when things go wrong: what is Unavailable, what is too large, and that nothing is sent twice."""

import asyncio
import socket

import pytest

from curation.egress.client import EgressClient, OutboundRequest, OutboundResponse
from curation.egress.errors import EgressRefused, ResponseTooLarge, Unavailable
from curation.egress.floor import AddressFloor
from curation.egress.url import parse_url
from tests.unit.egress.raw_server import OK, RawServer, answering, raw_server


async def fetch(
    client: EgressClient, port: int, limit: int = 1000, within: float = 30, method: str = "GET"
) -> OutboundResponse:
    request = OutboundRequest(method, parse_url(f"http://127.0.0.1:{port}/"))
    return await client.send(request, timeout=within, max_response_bytes=limit)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_an_answer_of_exactly_the_bound_passes(client: EgressClient) -> None:
    async with raw_server(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"a" * 1000)) as server:
        assert len((await fetch(client, server.port)).body) == 1000


TOO_LARGE = {
    "announced": (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", 1001),
    "in chunks": (CHUNKED + b"3e8\r\n" + b"a" * 1000 + b"\r\n1\r\na\r\n", 1001),
    "until the end of the connection": (b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 5000, 1001),
}


@pytest.mark.parametrize(("raw", "least"), TOO_LARGE.values(), ids=TOO_LARGE.keys())
async def test_an_answer_over_the_bound_is_cut_off(client: EgressClient, raw: bytes, least: int) -> None:
    async with raw_server(answering(raw)) as server:
        with pytest.raises(ResponseTooLarge) as large:
            await fetch(client, server.port)
    assert large.value.used >= least
    assert large.value.allowed == 1000
    assert "1000 are allowed" in str(large.value)


async def test_the_connection_of_a_cut_off_answer_is_not_used_again(client: EgressClient) -> None:
    async with raw_server(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"a" * 1500)) as server:
        for _ in range(2):
            with pytest.raises(ResponseTooLarge):
                await fetch(client, server.port)
    assert server.connections == 2


BROKEN = {
    "closed at once": (b"", "closed before an answer"),
    "closed in the head": (b"HTTP/1.1 200 OK\r\nContent-Le", "closed before an answer"),
    "closed in the body": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab", "cut short"),
    "closed in a chunk": (CHUNKED + b"5\r\nab", "cut short"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9\r\n\r\n", "not valid HTTP"),
    "a header without a name": (b"HTTP/1.1 200 OK\r\n: a\r\n\r\n", "not valid HTTP"),
    "a length of many digits": (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", "not valid HTTP"),
    "no chunks": (CHUNKED + b"x\r\n", "not valid HTTP"),
    "a chunk without its end": (CHUNKED + b"1\r\naX\r\n", "not valid HTTP"),
    "a chunk of a negative size": (CHUNKED + b"-1\r\n\r\n", "not valid HTTP"),
    "closed in the trailers": (CHUNKED + b"0\r\nA: b\r\n", "cut short"),
    "a coding that is not what it says": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab",
        "content coding gzip is damaged",
    ),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "not valid HTTP"),
    "an upgrade": (b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "switched protocols"),
}


@pytest.mark.parametrize(("raw", "message"), BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_broken_answer_is_unavailable_and_asked_for_once(
    client: EgressClient, raw: bytes, message: str, method: str
) -> None:
    async with raw_server(answering(raw, close=True)) as server:
        with pytest.raises(Unavailable, match=message) as error:
            await fetch(client, server.port, method=method)
        assert len(server.received) == 1
    assert f"http://127.0.0.1:{server.port}: " in str(error.value)


ODD = {
    "signs in a name": (b"X@Y(1)[2]: a\r\n", {}),
    "blanks in a name": (b"X Y: a\r\n b\r\n", {}),
    "blanks behind a name": (b"X-Y \t: a\r\n", {"x-y": "a"}),
}


@pytest.mark.parametrize(("header", "read"), ODD.values(), ids=ODD.keys())
async def test_a_header_that_common_clients_read_past_costs_no_answer_and_its_connection_is_used_once(
    client: EgressClient, header: bytes, read: dict[str, str]
) -> None:
    async with raw_server(answering(b"HTTP/1.1 200 OK\r\nA: 1\r\n" + header + OK.partition(b"\r\n")[2])) as server:
        answers = [await fetch(client, server.port) for _ in range(2)]
        assert server.connections == 2
    for answer in answers:
        assert (answer.status, answer.body) == (200, b"ok")
        assert answer.headers == {"a": "1", "content-length": "2", **read}


@pytest.mark.parametrize("name", [b"Transfer-Encoding ", b"Transfer Encoding", b"Content-Length\t", b"Content(Length)"])
async def test_an_odd_header_that_may_be_meant_to_frame_the_answer_makes_it_no_http(
    client: EgressClient, name: bytes
) -> None:
    raw = b"HTTP/1.1 200 OK\r\n" + name + b": 1\r\nContent-Length: 2\r\n\r\nok"
    async with raw_server(answering(raw, close=True)) as server:
        with pytest.raises(Unavailable, match="not valid HTTP"):
            await fetch(client, server.port)


async def _second_one_is_lost(server: RawServer, writer: asyncio.StreamWriter) -> bool:
    if len(server.received) != 2:
        writer.write(OK)
    return len(server.received) == 2


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_a_request_lost_on_a_reused_connection_is_not_sent_again(client: EgressClient, method: str) -> None:
    """HTTP libraries replay idempotent methods here, which would be a second call that nobody counted."""
    async with raw_server(_second_one_is_lost) as server:
        await fetch(client, server.port)
        with pytest.raises(Unavailable, match="closed before an answer"):
            await fetch(client, server.port, method=method)
        assert (server.connections, len(server.received)) == (1, 2)


async def test_after_one_loss_connections_to_that_origin_are_used_once(client: EgressClient) -> None:
    async with raw_server(_second_one_is_lost) as server:
        await fetch(client, server.port)
        with pytest.raises(Unavailable):
            await fetch(client, server.port)
        for _ in range(3):
            await fetch(client, server.port)
        assert (server.connections, len(server.received)) == (4, 5)
        assert len(client._idle) == 0


async def test_a_failed_answer_on_a_new_connection_costs_its_origin_nothing(client: EgressClient) -> None:
    async def first_one_is_lost(server: RawServer, writer: asyncio.StreamWriter) -> bool:
        if len(server.received) > 1:
            writer.write(OK)
        return len(server.received) == 1

    async with raw_server(first_one_is_lost) as server:
        with pytest.raises(Unavailable):
            await fetch(client, server.port)
        for _ in range(3):
            await fetch(client, server.port)
        assert server.connections == 2


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
async def test_what_may_change_something_never_goes_out_on_a_connection_that_was_used(
    client: EgressClient, method: str
) -> None:
    async with raw_server() as server:
        await fetch(client, server.port)
        await fetch(client, server.port, method=method)
        assert server.connections == 2


async def test_a_reset_is_unavailable_and_not_sent_again(client: EgressClient) -> None:
    async def reset(_: RawServer, writer: asyncio.StreamWriter) -> bool:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()
        return True

    async with raw_server(reset) as server:
        with pytest.raises(Unavailable):
            await fetch(client, server.port)
        assert len(server.received) == 1


async def test_nothing_listening_is_unavailable(client: EgressClient) -> None:
    async with raw_server() as server:
        port = server.port
    with pytest.raises(Unavailable, match=f"http://127.0.0.1:{port}: cannot connect"):
        await fetch(client, port)


async def test_no_answer_in_time_is_unavailable(client: EgressClient) -> None:
    answered = asyncio.Event()

    async def never(_: RawServer, __: asyncio.StreamWriter) -> None:
        await answered.wait()

    async with raw_server(never) as server:
        with pytest.raises(Unavailable, match="no answer within 2 s"):
            await fetch(client, server.port, within=2.0)
        assert len(server.received) == 1


async def test_an_answer_that_drips_is_ended_in_time(client: EgressClient) -> None:
    async def drip(_: RawServer, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        while not writer.is_closing():
            writer.write(b"1\r\na\r\n")
            await asyncio.sleep(0.005)

    async with raw_server(drip) as server:
        with pytest.raises(Unavailable, match="no answer within"):
            await fetch(client, server.port, limit=1_000_000, within=0.1)


async def test_a_cancelled_request_frees_its_connection(floor: AddressFloor) -> None:
    client = EgressClient(floor, limit=1)
    arrived = asyncio.Event()

    async def never(_: RawServer, __: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.Event().wait()

    async with raw_server(never) as server:
        task = asyncio.create_task(fetch(client, server.port))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(client._idle) == 0
    async with raw_server() as another:
        assert (await fetch(client, another.port)).status == 200
    await client.close()


async def test_many_slow_requests_go_on_side_by_side(client: EgressClient) -> None:
    everybody = asyncio.Event()

    async def together(server: RawServer, writer: asyncio.StreamWriter) -> None:
        if len(server.received) == 300:
            everybody.set()
        await everybody.wait()
        writer.write(OK)

    async with raw_server(together) as server:
        answers = await asyncio.gather(*(fetch(client, server.port, within=60) for _ in range(300)))
    assert [answer.status for answer in answers] == [200] * 300


async def test_a_closed_client_leaves_no_task_and_no_connection_and_can_be_used_again(client: EgressClient) -> None:
    async with raw_server() as server:
        await fetch(client, server.port)
        assert len(client._idle) == 1
        await client.close()
        assert len(client._idle) == 0
        await client.close()
        await fetch(client, server.port)
        assert server.connections == 2


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "0.0.0.0", "10.0.0.1", "2852039166", "0xa9fea9fe", "255.255.255.255"]
)
async def test_an_address_under_the_floor_is_refused_before_anything_is_opened(client: EgressClient, host: str) -> None:
    with pytest.raises(EgressRefused):
        await client.send(OutboundRequest("GET", parse_url(f"http://{host}/")), timeout=30, max_response_bytes=10)
    assert len(client._idle) == 0
