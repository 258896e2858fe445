"""The one HTTP client for modules' requests: no redirects, no cookies, no proxies, no replays, judged addresses.

Called by the host functions once the gate has allowed a request. The canonical URL is put on the wire as it is.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from curation.egress.errors import EgressRefused, ResponseTooLarge, Unavailable
from curation.egress.floor import AddressFloor
from curation.egress.headers import response_headers, wire_headers
from curation.egress.lookups import BEGUN_FOR, TooManyLookups
from curation.egress.resolver import AddressRefused, JudgingResolver, JudgingSockets
from curation.egress.url import CanonicalURL, canonical_method

MAX_REQUEST_BODY: Final = 1024 * 1024
"""Bytes of a request's body."""
USER_AGENT: Final = "curation-operator"

# An idle connection that the server closes just as it is used again costs a request, since nothing is sent twice.
# Common servers close after 5 s or more, so ours are given up before.
_KEEP_ALIVE_SECONDS: Final = 4.0

Departure = Callable[[], None]


@dataclass(frozen=True, slots=True)
class OutboundRequest:
    """What is sent: the canonical URL that was judged, and the final headers, the host's own included."""

    method: str
    url: CanonicalURL
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    namespace: str = ""
    """Not sent: whose request it is, for the bound on names that are slow to resolve."""


@dataclass(frozen=True, slots=True)
class OutboundResponse:
    """What came back, of any status, redirects too. The body is as it was on the wire, never decompressed."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Held(Exception):
    """Carries what ``on_departure`` raised past aiohttp, which has its own plans for OSError and TimeoutError."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _Request(aiohttp.ClientRequest):
    """Asks once more when its connection stands, before its first byte is written."""

    on_departure: Departure | None = None

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        """Called by aiohttp with the established connection, which it closes if this raises."""
        if self.on_departure is not None:
            try:
                self.on_departure()
            except Exception as exc:
                raise _Held(exc) from exc
        return await super().send(conn)


class EgressClient:
    """Sends judged requests. Made anywhere, used and closed in one event loop.

    ``ca_bundle`` is a PEM file of further authorities to trust beside the system's. ``limit`` bounds the connections in
    all, ``limit_per_host`` those to one host; a request over them waits within its timeout. ``resolver`` (None: the
    system's) is asked for addresses; whatever it answers is judged.
    """

    def __init__(
        self,
        floor: AddressFloor,
        *,
        ca_bundle: Path | None = None,
        resolver: AbstractResolver | None = None,
        limit: int = 1024,
        limit_per_host: int = 512,
    ) -> None:
        self._floor = floor
        self._resolver = resolver
        self._limits = (limit, limit_per_host)
        self._tls = ssl.create_default_context()
        if ca_bundle is not None:
            self._tls.load_verify_locations(cafile=ca_bundle)
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        request: OutboundRequest,
        *,
        timeout: float,  # noqa: ASYNC109 - it bounds all of it, and turns into Unavailable
        max_response_bytes: int,
        on_departure: Departure | None = None,
    ) -> OutboundResponse:
        """Send once and read the answer within ``timeout`` seconds.

        ``on_departure`` is called at the last moment before the first byte of the request is written, on a connection
        that stands; if it raises, nothing has left, and what it raised is raised. Raises `EgressRefused` (nothing has
        left), `Unavailable` and `ResponseTooLarge` (the request may have been carried out).
        """
        headers = _checked(request, self._floor)
        begun_for = BEGUN_FOR.set(request.namespace)
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(request, headers, max_response_bytes, on_departure)
        except TimeoutError as exc:
            raise Unavailable(f"{request.url.origin}: no answer within {timeout:g} s") from exc
        except _Held as held:
            raise held.reason from None
        except (aiohttp.ClientError, OSError) as exc:
            if isinstance(getattr(exc, "os_error", exc), AddressRefused):
                raise EgressRefused(f"{request.url.host}: {getattr(exc, 'os_error', exc)}") from exc
            raise Unavailable(f"{request.url.origin}: {_why(exc)}") from exc
        finally:
            BEGUN_FOR.reset(begun_for)

    async def close(self) -> None:
        """Close every connection. The client can be used again afterwards."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _exchange(
        self, request: OutboundRequest, headers: dict[str, str], limit: int, on_departure: Departure | None
    ) -> OutboundResponse:
        async def once(sent: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            if isinstance(sent, _Request):
                sent.on_departure = on_departure
            try:
                return await handler(sent)
            except aiohttp.ClientConnectorError as exc:
                busy = exc.os_error
                if isinstance(busy, TooManyLookups) and busy.namespace not in (None, request.namespace):
                    # aiohttp looks a name up once for all who ask at a time, so this was the refusal of another.
                    return await once(sent, handler)
                raise
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as exc:
                # aiohttp replays idempotent methods on these two; as Unavailable they pass it by.
                raise Unavailable(f"{request.url.origin}: {_why(exc)}") from exc

        response = await self._opened().request(
            canonical_method(request.method),
            URL(request.url.url, encoded=True),
            headers=headers,
            skip_auto_headers=("Content-Type", "User-Agent"),
            data=request.body,
            allow_redirects=False,
            middlewares=(once,),
        )
        try:
            if response.status == 101:
                raise Unavailable(f"{request.url.origin}: it switched protocols unasked")
            body = b"" if request.method == "HEAD" else await _read(response, limit)
            return OutboundResponse(response.status, response_headers(response.raw_headers), body)
        finally:
            response.close()  # closes the connection if the body was not read to its end

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            limit, limit_per_host = self._limits
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=JudgingResolver(self._floor, self._resolver),
                    socket_factory=JudgingSockets(self._floor),
                    ssl=self._tls,
                    limit=limit,
                    limit_per_host=limit_per_host,
                    keepalive_timeout=_KEEP_ALIVE_SECONDS,
                ),
                request_class=_Request,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            )
        return self._session


def _checked(request: OutboundRequest, floor: AddressFloor) -> dict[str, str]:
    """Refuse what must not leave; the headers as they go on the wire."""
    canonical_method(request.method)
    headers = wire_headers(request.headers)
    names = {name.lower() for name in headers}
    if "user-agent" not in names:
        headers["User-Agent"] = USER_AGENT
    if "accept-encoding" not in names:
        headers["Accept-Encoding"] = "identity"
    if request.body is not None and len(request.body) > MAX_REQUEST_BODY:
        raise EgressRefused(f"the request's body has {len(request.body)} bytes, {MAX_REQUEST_BODY} are allowed")
    try:
        literal = IPv4Address(request.url.host)
    except ValueError:
        return headers  # a name: judged when it is resolved
    floor.check(literal, request.url.host)
    return headers


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    announced = response.content_length
    if announced is not None and announced > limit:
        raise ResponseTooLarge(announced, limit)
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise ResponseTooLarge(len(body), limit)
    return bytes(body)


def _why(exc: Exception) -> str:
    match exc:
        case aiohttp.ClientConnectorDNSError(os_error=TooManyLookups() as busy):
            return str(busy)
        case aiohttp.ClientConnectorDNSError():
            return f"the name does not resolve ({exc.os_error.strerror or exc.os_error})"
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is not trusted ({exc.certificate_error})"
        case aiohttp.ClientConnectorError():
            return f"cannot connect ({exc.os_error.strerror or exc.os_error})"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed before an answer"
        case aiohttp.ClientResponseError():
            return "the answer is not valid HTTP"  # the parser's message quotes it, what it repeats of the request too
        case aiohttp.ClientPayloadError():
            return "the answer was cut short"
        case _:
            return f"{str(exc) or type(exc).__name__}"
