"""From a host to a connection: a look-up for each namespace, and a socket to an address that was checked.

Called by the client. The check at the socket is what makes it safe: the address in hand there is the one that is
connected to, so that no second look-up, cache or race of addresses can put another in its place.
"""

import asyncio
import contextvars
import socket
import ssl
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from aiohappyeyeballs import start_connection
from aiohttp.abc import AbstractResolver, ResolveResult

from curation.egress.errors import EgressRefused, Unavailable
from curation.egress.floor import AddressFloor
from curation.egress.lookups import BEGUN_FOR, TooManyLookups
from curation.egress.resolver import AddrInfo, FloorResolver, FloorSockets
from curation.egress.trust import Trust
from curation.egress.url import CanonicalURL
from curation.egress.wire import Wire

_NEXT_ADDRESS_SECONDS: Final = 0.25
"""RFC 8305 section 5: when another address is tried as well."""
_UNKNOWN_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21})
"""What OpenSSL's X509_V_ERR_* say of a chain that ends at nobody whom we trust: no name, time or use is wrong."""
_IN_FULL = "a Service is named in full, such as sessions.team-a.svc.cluster.local"


@dataclass(slots=True)
class _LookUp:
    task: asyncio.Task[list[ResolveResult]]
    waiting: int = 0


class Connector:
    """Makes connections. For one event loop at a time."""

    def __init__(self, floor: AddressFloor, trust: Trust, resolver: AbstractResolver | None = None) -> None:
        self._floor = floor
        self._trust = trust
        self._resolver = FloorResolver(floor, resolver)
        self._sockets = FloorSockets(floor)
        self._look_ups: dict[tuple[str, str], _LookUp] = {}

    async def connect(self, url: CanonicalURL, namespace: str) -> Wire:
        """A connection to the URL's origin, with TLS for https. Raises `EgressRefused` and `Unavailable`."""
        infos = await self._addresses(url, namespace)
        try:
            sock = await start_connection(
                infos, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, socket_factory=self._sockets
            )
        except (OSError, RuntimeError) as exc:
            refusals = [self._floor.refusal(str(info[4][0])) for info in infos]
            if all(refusals):
                raise EgressRefused(f"{url.host}: {'; '.join(map(str, refusals))}") from exc
            raise Unavailable(f"cannot connect ({getattr(exc, 'strerror', None) or exc})") from exc
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Wire(sock)
        if url.scheme == "http":
            return wire
        try:
            await wire.secure(self._trust.context, url.host)
        except ssl.SSLCertVerificationError as exc:
            await wire.close()
            remedy = ": name its authority with --ca-bundle" if exc.verify_code in _UNKNOWN_AUTHORITY else ""
            raise Unavailable(f"its certificate is not trusted ({exc.verify_message}){remedy}") from exc
        except OSError as exc:
            await wire.close()
            raise Unavailable(f"cannot connect ({exc.strerror or exc})") from exc
        except BaseException:
            await wire.close()
            raise
        return wire

    async def close(self) -> None:
        """End every look-up that is waited for."""
        tasks = [each.task for each in self._look_ups.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._resolver.close()

    async def _addresses(self, url: CanonicalURL, namespace: str) -> list[AddrInfo]:
        try:
            IPv4Address(url.host)
        except ValueError:
            pass
        else:
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (url.host, url.port))]
        try:
            found = await self._look_up(url.host, namespace)
        except TooManyLookups as exc:
            raise Unavailable(str(exc)) from exc
        except OSError as exc:
            raise Unavailable(f"the name does not resolve ({exc.strerror or exc}); {_IN_FULL}") from exc
        infos: list[AddrInfo] = []
        for each in found:
            place = (each["host"], url.port)
            address = (*place, 0, 0) if each["family"] == socket.AF_INET6 else place
            infos.append((each["family"], socket.SOCK_STREAM, each["proto"], "", address))
        return infos

    async def _look_up(self, host: str, namespace: str) -> list[ResolveResult]:
        """One look-up for all of a namespace that ask for a name at a time. No answer is kept, or shared further."""
        key = (namespace, host)
        look_up = self._look_ups.get(key)
        if look_up is None:
            context = contextvars.copy_context()
            context.run(BEGUN_FOR.set, namespace)
            task = asyncio.get_running_loop().create_task(self._resolver.resolve(host), context=context)
            look_up = self._look_ups[key] = _LookUp(task)
            task.add_done_callback(lambda _: self._look_ups.pop(key, None))
        look_up.waiting += 1
        try:
            return await asyncio.shield(look_up.task)
        finally:
            look_up.waiting -= 1
            if not look_up.waiting and not look_up.task.done():
                look_up.task.cancel()
                self._look_ups.pop(key, None)
