"""The client on the wire: exactly the canonical request, once, and nothing that was not asked for."""

import pytest

from curation.egress.client import USER_AGENT, EgressClient, OutboundRequest, OutboundResponse
from curation.egress.errors import EgressRefused
from curation.egress.url import parse_url
from tests.unit.egress.raw_server import RawServer, answering, raw_server


async def get(client: EgressClient, server: RawServer, path: str = "/", **headers: str) -> OutboundResponse:
    return await send(client, OutboundRequest("GET", parse_url(f"http://127.0.0.1:{server.port}{path}"), headers))


async def send(client: EgressClient, request: OutboundRequest, limit: int = 100_000) -> OutboundResponse:
    return await client.send(request, timeout=30, max_response_bytes=limit)


TARGETS = [
    "/",
    "/v1/sessions?a=b",
    "/%61/%2e%2e/b",
    "/group%2fproject",
    "/%C3%BC/ü?ü=%c3%bc",
    "/a;b=c,d:e@f!$&'()*+?x=%26&y=+&z=%20%2B",
    "//double//slash",
    "/?",
    "/?a=http://b/?c",
    '/<">^`{|}?<">^`{|}[]',
    "/100%25?100%25",
    "/~user/%7Euser",
    "/@127.0.0.1/x",
    "/a%3Bb%3Dc",
]


@pytest.mark.parametrize("target", TARGETS)
async def test_what_the_gate_allowed_is_what_is_sent(client: EgressClient, target: str) -> None:
    async with raw_server() as server:
        url = parse_url(f"http://127.0.0.1:{server.port}{target}")
        assert (await send(client, OutboundRequest("GET", url))).body == b"ok"
    assert server.heads[0][0] == f"GET {url.target} HTTP/1.1"
    assert f"Host: 127.0.0.1:{server.port}" in server.heads[0]


async def test_every_spelling_of_the_address_arrives_as_one_host(client: EgressClient) -> None:
    async with raw_server() as server:
        for host in ("127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "①②⑦.0.0.1", "127.0.0.1."):
            await send(client, OutboundRequest("GET", parse_url(f"http://{host}:{server.port}/")))
    assert {head[1] for head in server.heads} == {f"Host: 127.0.0.1:{server.port}"}
    assert server.connections == 1, "one origin, one connection"


async def test_the_whole_request_is_what_was_given_and_little_more(client: EgressClient) -> None:
    async with raw_server() as server:
        url = parse_url(f"http://127.0.0.1:{server.port}/v1")
        headers = {"content-type": "application/json", "X-Run": "1", "user-agent": "mine"}
        await send(client, OutboundRequest("POST", url, headers, b'{"a":"\xc3\xbc"}'))
        await send(client, OutboundRequest("POST", url))
    lines = set(server.heads[0][1:])
    assert lines == {
        f"Host: 127.0.0.1:{server.port}",
        "content-type: application/json",
        "X-Run: 1",
        "user-agent: mine",
        "Accept: */*",
        "Accept-Encoding: identity",
        "Content-Length: 10",
    }
    assert server.received[0].endswith(b'\r\n\r\n{"a":"\xc3\xbc"}')
    assert f"User-Agent: {USER_AGENT}" in server.heads[1]
    assert "Content-Length: 0" in server.heads[1]
    assert not any(line.lower().startswith("content-type") for line in server.heads[1])


async def test_header_smuggling_leaves_nothing_on_the_wire(client: EgressClient) -> None:
    async with raw_server() as server:
        for headers in (
            {"X": "a\r\nHost: b"},
            {"X\r\nY": "a"},
            {"Content-Length": "5"},
            {"Transfer-Encoding": "chunked"},
        ):
            with pytest.raises(EgressRefused):
                await get(client, server, **headers)
        with pytest.raises(EgressRefused):
            await send(client, OutboundRequest("CONNECT", parse_url(f"http://127.0.0.1:{server.port}/")))
    assert (server.connections, server.received) == (0, [])


async def test_a_body_over_the_bound_is_refused(client: EgressClient) -> None:
    async with raw_server() as server:
        url = parse_url(f"http://127.0.0.1:{server.port}/")
        with pytest.raises(EgressRefused, match="1048577 bytes, 1048576 are allowed"):
            await send(client, OutboundRequest("POST", url, {}, b"a" * 1_048_577))
        await send(client, OutboundRequest("POST", url, {}, b"a" * 1_048_576))
    assert server.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_not_an_order(client: EgressClient, status: int) -> None:
    location = "http://169.254.169.254/latest"
    raw = f"HTTP/1.1 {status} Go\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
    async with raw_server(answering(raw)) as server:
        answer = await get(client, server)
    assert (answer.status, answer.headers["location"], len(server.received)) == (status, location, 1)


async def test_no_cookie_is_kept_or_shown(client: EgressClient) -> None:
    async with raw_server(answering(b"HTTP/1.1 200 OK\r\nSet-Cookie: s=1\r\nContent-Length: 0\r\n\r\n")) as server:
        answer = await get(client, server)
        await get(client, server)
    assert "set-cookie" not in answer.headers
    assert not any("cookie" in line.lower() for head in server.heads for line in head)


async def test_the_environment_sets_no_proxy_and_no_credentials(
    client: EgressClient, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w") as file:  # noqa: ASYNC230, PTH123
        file.write("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", netrc)
    async with raw_server() as server:
        await get(client, server)
    assert not any(line.lower().startswith("authorization") for line in server.heads[0])


async def test_the_answer_to_head_has_no_body(client: EgressClient) -> None:
    async with raw_server(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n")) as server:
        answer = await send(client, OutboundRequest("HEAD", parse_url(f"http://127.0.0.1:{server.port}/")))
    assert (answer.status, answer.body) == (200, b"")
