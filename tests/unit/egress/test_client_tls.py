"""TLS: always verified, against the system's authorities and the given bundle."""

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from curation.egress.client import EgressClient, OutboundRequest
from curation.egress.errors import Unavailable
from curation.egress.floor import AddressFloor
from curation.egress.url import parse_url
from tests.harness.certificates import self_signed
from tests.unit.egress.raw_server import raw_server

Certificate = Callable[[str], tuple[Path, ssl.SSLContext]]


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    """Makes a self-signed certificate for a name: its PEM file, and a server's context with it."""
    return partial(self_signed, tmp_path)


async def fetch(client: EgressClient, port: int, on_departure: Callable[[], None] | None = None) -> bytes:
    request = OutboundRequest("GET", parse_url(f"https://localhost:{port}/"))
    try:
        answer = await client.send(request, timeout=30, max_response_bytes=100, on_departure=on_departure)
        return answer.body
    finally:
        await client.close()


async def test_a_certificate_of_the_bundle_is_trusted(floor: AddressFloor, certificate: Certificate) -> None:
    pem, context = certificate("localhost")
    async with raw_server(tls=context) as server:
        assert await fetch(EgressClient(floor, ca_bundle=pem), server.port) == b"ok"


async def test_a_certificate_of_nobody_is_not_trusted(floor: AddressFloor, certificate: Certificate) -> None:
    _, context = certificate("localhost")
    departed: list[bool] = []
    async with raw_server(tls=context) as server:
        with pytest.raises(Unavailable, match=r"its certificate is not trusted \(.*\): name its authority with --ca-b"):
            await fetch(EgressClient(floor), server.port, lambda: departed.append(True))
        assert (server.received, departed) == ([], [])


async def test_a_certificate_for_another_name_is_not_trusted(floor: AddressFloor, certificate: Certificate) -> None:
    pem, context = certificate("other.example")
    async with raw_server(tls=context) as server:
        with pytest.raises(Unavailable, match=r"its certificate is not trusted \([^()]*\)$"):
            await fetch(EgressClient(floor, ca_bundle=pem), server.port)
        assert server.received == []


async def test_a_server_without_tls_is_unavailable(floor: AddressFloor) -> None:
    def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        with pytest.raises(Unavailable, match=r"https://localhost:\d+: cannot connect"):
            await fetch(EgressClient(floor), server.sockets[0].getsockname()[1])


async def test_a_renewed_bundle_is_trusted_and_what_it_held_before_no_more(floor: AddressFloor, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old_pem, old = self_signed(tmp_path / "old", "localhost")
    new_pem, new = self_signed(tmp_path / "new", "localhost")
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(old_pem.read_bytes())
    client = EgressClient(floor, ca_bundle=bundle)
    assert bundle in client.trust.files()
    async with raw_server(tls=old) as before, raw_server(tls=new) as after:
        assert await fetch(client, before.port) == b"ok"
        for broken in (b"", b"no certificate", new_pem.read_bytes()[:-40]):
            bundle.write_bytes(broken)
            with pytest.raises((OSError, ValueError)):
                await client.trust.renew()
            assert await fetch(client, before.port) == b"ok"
        with pytest.raises(Unavailable, match="its certificate is not trusted"):
            await fetch(client, after.port)
        bundle.write_bytes(new_pem.read_bytes())
        await client.trust.renew()
        assert await fetch(client, after.port) == b"ok"
        with pytest.raises(Unavailable, match="its certificate is not trusted"):
            await fetch(client, before.port)
