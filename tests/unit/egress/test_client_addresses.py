"""The address that was checked is the address connected to, whatever DNS answers, and when."""

import socket

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from curation.egress.client import EgressClient, OutboundRequest
from curation.egress.errors import EgressRefused, Unavailable
from curation.egress.floor import AddressFloor
from curation.egress.resolver import AddressRefused, FloorResolver, FloorSockets
from curation.egress.url import parse_url
from tests.unit.egress.raw_server import RawServer, raw_server

METADATA = "169.254.169.254"


class ScriptedResolver(AbstractResolver):
    """Answers each look-up with the next list of addresses, the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in answer
        ]

    async def close(self) -> None:
        self.closed = True


async def fetch(client: EgressClient, server: RawServer, host: str = "rebind.example") -> int:
    request = OutboundRequest("GET", parse_url(f"http://{host}:{server.port}/"))
    return (await client.send(request, timeout=30, max_response_bytes=100)).status


@pytest.mark.parametrize(
    "answers",
    [
        [METADATA],
        ["10.0.0.1"],
        ["::1"],
        ["::ffff:169.254.169.254"],
        ["fe80::1%eth0"],
        ["64:ff9b::a9fe:a9fe"],
        ["0.0.0.0"],
    ],
    ids=lambda answers: answers[0],
)
async def test_a_name_that_leads_under_the_floor_is_refused(floor: AddressFloor, answers: list[str]) -> None:
    client = EgressClient(floor, resolver=ScriptedResolver(answers))
    async with raw_server() as server:
        with pytest.raises(EgressRefused, match=r"rebind\.example: "):
            await fetch(client, server)
        assert server.connections == 0
    await client.close()


async def test_of_several_addresses_only_the_allowed_ones_are_tried(floor: AddressFloor) -> None:
    client = EgressClient(floor, resolver=ScriptedResolver([METADATA, "::1", "127.0.0.1", "10.0.0.1"]))
    async with raw_server() as server:
        assert await fetch(client, server) == 200
        assert server.heads[0][1] == f"Host: rebind.example:{server.port}"
    await client.close()


async def test_dns_that_changes_after_the_check_changes_nothing(
    floor: AddressFloor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check takes the first answer; whoever asked again to connect would get the second."""
    resolver = ScriptedResolver(["127.0.0.1"], [METADATA])
    client = EgressClient(floor, resolver=resolver)
    opened: list[str] = []
    original = FloorSockets.__call__

    def recorded(self: FloorSockets, info: tuple[object, object, int, str, tuple[object, ...]]) -> socket.socket:
        opened.append(str(info[4][0]))
        return original(self, info)

    monkeypatch.setattr(FloorSockets, "__call__", recorded)
    async with raw_server() as server:
        assert await fetch(client, server) == 200
        assert (resolver.asked, opened) == (1, ["127.0.0.1"])
    await client.close()
    with pytest.raises(EgressRefused, match="metadata"):
        await fetch(client, server)
    assert (resolver.asked, opened) == (2, ["127.0.0.1"])
    await client.close()


async def test_the_socket_is_checked_even_if_the_resolver_lies(
    floor: AddressFloor, monkeypatch: pytest.MonkeyPatch
) -> None:
    lying = ScriptedResolver([METADATA], ["10.0.0.1", METADATA, "::1"])

    async def unjudged(
        _: FloorResolver, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return await lying.resolve(host, port, family)

    monkeypatch.setattr(FloorResolver, "resolve", unjudged)
    client = EgressClient(floor)
    async with raw_server() as server:
        for host in ("one.example", "three.example"):
            with pytest.raises(EgressRefused, match=f"{host}: .*no policy can allow it"):
                await fetch(client, server, host)
        assert server.connections == 0
    await client.close()


async def test_no_socket_is_made_for_an_address_under_the_floor(floor: AddressFloor) -> None:
    with pytest.raises(AddressRefused):
        FloorSockets(floor)((socket.AF_INET, socket.SOCK_STREAM, 0, "", (METADATA, 80)))


async def test_a_name_without_address_is_unavailable(floor: AddressFloor) -> None:
    client = EgressClient(floor, resolver=ScriptedResolver([]))
    async with raw_server() as server:
        with pytest.raises(Unavailable, match=r"http://rebind\.example:\d+: the name does not resolve"):
            await fetch(client, server)
    await client.close()


async def test_a_name_that_does_not_exist_is_unavailable(client: EgressClient) -> None:
    async with raw_server() as server:
        with pytest.raises(Unavailable, match="the name does not resolve"):
            await fetch(client, server, "no-such-name.invalid")


async def test_localhost_reaches_only_the_loopback_that_is_allowed(client: EgressClient) -> None:
    async with raw_server() as server:
        assert await fetch(client, server, "localhost") == 200
