"""Names to checked addresses, and sockets to checked addresses only.

Called by the client's connector. The check at the socket is what makes it safe: the address in hand there is the one
that is connected to, so that no second look-up, cache or race of addresses can put another in its place.
"""

import socket
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from curation.egress.errors import EgressRefused
from curation.egress.floor import AddressFloor
from curation.egress.lookups import SystemResolver

AddrInfo = tuple[Any, Any, int, str, tuple[Any, ...]]
"""One answer of getaddrinfo: family, type, protocol, canonical name, socket address."""


class AddressRefused(OSError):
    """The floor refused an address at the socket. An OSError, since aiohappyeyeballs collects only those."""


class FloorResolver(AbstractResolver):
    """Asks another resolver (None: the system's) and returns the addresses that the floor lets through."""

    def __init__(self, floor: AddressFloor, inner: AbstractResolver | None = None) -> None:
        self._floor = floor
        self._inner = SystemResolver() if inner is None else inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises `EgressRefused` if there are addresses but none may be connected to, OSError if there are none."""
        answers = await self._inner.resolve(host, port, family)
        refusals = [self._floor.refusal(answer["host"]) for answer in answers]
        allowed = [answer for answer, refusal in zip(answers, refusals, strict=True) if refusal is None]
        if allowed:
            return allowed
        if refusals:
            raise EgressRefused(f"{host}: {refusals[0]}")
        raise OSError(f"{host} has no address")

    async def close(self) -> None:
        """Close the resolver that is asked."""
        await self._inner.close()


class FloorSockets:
    """Opens the socket for an address, if the floor lets it through: the last check before the connection."""

    def __init__(self, floor: AddressFloor) -> None:
        self._floor = floor

    def __call__(self, info: AddrInfo) -> socket.socket:
        """A socket of the address's family, not yet connected. Raises `AddressRefused`."""
        family, kind, protocol, _, address = info
        refusal = self._floor.refusal(str(address[0]))
        if refusal is not None:
            raise AddressRefused(refusal)
        return socket.socket(family, kind, protocol)
