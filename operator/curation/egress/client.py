"""The one HTTP client for modules' requests: no redirects, no cookies, no proxies, no replays, checked addresses.

Called by `execution.calls` once the gate has allowed a request. The canonical URL is put on the wire as it is.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from aiohttp.abc import AbstractResolver

from curation.egress.connect import Connector
from curation.egress.content import codings, decoded
from curation.egress.errors import AnswerOverBounds, EgressRefused, ResponseTooLarge, Unavailable
from curation.egress.floor import AddressFloor
from curation.egress.headers import of_the_run, response_headers, wire_headers
from curation.egress.idle import Channel, IdleWires
from curation.egress.response import Exchange, Response
from curation.egress.trust import Trust
from curation.egress.url import CanonicalURL, canonical_method
from curation.egress.wire import Wire

MAX_REQUEST_BODY: Final = 1024 * 1024
"""Bytes of a request's body."""
CONNECTIONS: Final = 2048
"""In use at once. More than there can be executions, so that none waits here and is blamed on a slow service."""
USER_AGENT: Final = "curation-operator"

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""RFC 9110 section 9.2.1: methods that ask for no change, of those that may be sent."""
_DECODERS: Final = 2
"""Threads that decode bodies; what one holds for another's body is at most a body's own time."""

Departure = Callable[[], None]


@dataclass(frozen=True, slots=True)
class OutboundRequest:
    """What is sent: the canonical URL that the gate has allowed, and the final headers, the host's own included."""

    method: str
    url: CanonicalURL
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    namespace: str = ""
    """Not sent: whose request it is, for the bound on names that are slow to resolve, and for its connection."""
    module: str = ""
    """Not sent: the build of the module, for its connection."""
    patient: bool = False
    """Not sent: whether it may wait a moment for a connection that others like it use, rather than open another."""


@dataclass(frozen=True, slots=True)
class OutboundResponse:
    """What came back, of any status, redirects too. A content coding that is known is undone, and said no more."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Held(Exception):
    """Carries what ``on_departure`` raised past the handlers of the connection's own errors."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class EgressClient:
    """Sends requests that the gate has allowed. Made anywhere, used and closed in one event loop.

    ``ca_bundle`` is a PEM file, or what one holds, of further authorities to trust beside the system's. ``limit``
    bounds the connections that are in use; a request over it waits within its timeout. ``resolver`` (None: the
    system's) is asked for addresses; the floor checks whatever it answers.
    """

    def __init__(
        self,
        floor: AddressFloor,
        *,
        ca_bundle: Path | bytes | None = None,
        resolver: AbstractResolver | None = None,
        limit: int = CONNECTIONS,
        trusts_at_once: bool = True,
    ) -> None:
        """`trusts_at_once`: see `Trust`."""
        self._floor = floor
        self.trust = Trust(ca_bundle, at_once=trusts_at_once)
        self._connector = Connector(floor, self.trust, resolver)
        self._idle = IdleWires()
        self._slots = asyncio.Semaphore(limit)
        self._decoders: ThreadPoolExecutor | None = None

    async def send(
        self,
        request: OutboundRequest,
        *,
        timeout: float,  # noqa: ASYNC109 - it bounds all of it, and turns into Unavailable
        max_response_bytes: int,
        on_departure: Departure | None = None,
    ) -> OutboundResponse:
        """Send once and read the answer within ``timeout`` seconds.

        ``on_departure`` is called at the last moment before the first byte of the request is written, on an open
        connection; if it raises, nothing has left, and what it raised is raised. Raises `EgressRefused` (nothing has
        left), `Unavailable`, `ResponseTooLarge` and `AnswerOverBounds` (the request may have been carried out).
        """
        headers = checked(request, self._floor)
        try:
            async with asyncio.timeout(timeout), self._slots:
                answer = await self._exchange(request, headers, max_response_bytes, on_departure)
                return await self._response(answer, max_response_bytes)
        except TimeoutError as exc:
            raise Unavailable(f"{request.url.origin}: no answer within {timeout:g} s") from exc
        except _Held as held:
            raise held.reason from None
        except Unavailable as exc:
            raise Unavailable(f"{request.url.origin}: {exc}") from exc
        except AnswerOverBounds as exc:
            raise AnswerOverBounds(f"{request.url.origin}: {exc}", exc.status) from exc

    async def close(self) -> None:
        """Close every connection that nobody uses. The client can be used again afterwards."""
        self._idle.close()
        await self._connector.close()
        decoders, self._decoders = self._decoders, None
        if decoders is not None:
            decoders.shutdown()  # what it still does is bounded

    async def _exchange(
        self, request: OutboundRequest, headers: dict[str, str], limit: int, on_departure: Departure | None
    ) -> Response:
        url = request.url
        shown = url.host if (url.scheme, url.port) in {("http", 80), ("https", 443)} else f"{url.host}:{url.port}"
        exchange = Exchange(
            canonical_method(request.method), url.target, [("Host", shown), *headers.items()], request.body
        )
        channel = _channel(request, headers)
        # A server may close a connection just as it is used again, and nothing is sent twice: only what changes nothing
        # takes that risk, and once for an origin.
        if request.method.upper() not in SAFE or request.body:
            return await self._on_wire(request, exchange, channel, None, limit, on_departure)
        kept = await self._idle.soon(channel) if request.patient else self._idle.take(channel)
        self._idle.begin(channel)
        try:
            return await self._on_wire(request, exchange, channel, kept, limit, on_departure)
        finally:
            self._idle.end(channel)

    async def _on_wire(
        self,
        request: OutboundRequest,
        exchange: Exchange,
        channel: Channel,
        kept: Wire | None,
        limit: int,
        on_departure: Departure | None,
    ) -> Response:
        wire = kept or await self._connector.connect(request.url, request.namespace)
        try:
            _depart(wire, exchange.request, on_departure)
            answer = await exchange.answer(wire, limit)
        except BaseException as exc:
            if kept is not None and isinstance(exc, Unavailable) and not exchange.begun:
                self._idle.avoid(channel)
            if isinstance(exc, ResponseTooLarge | AnswerOverBounds):
                exc.status = exchange.status
            await wire.close()
            raise
        if answer.ended and not request.body:
            self._idle.keep(channel, wire)
        else:
            await wire.close()
        return answer

    async def _response(self, answer: Response, limit: int) -> OutboundResponse:
        headers = response_headers(answer.headers)
        body = answer.body
        # A part of a coded body cannot be decoded.
        names = (
            codings(headers.get("content-encoding", "")) if body and answer.status != HTTPStatus.PARTIAL_CONTENT else []
        )
        undone = [*answer.codings, *names]
        if undone:
            self._decoders = self._decoders or ThreadPoolExecutor(_DECODERS, thread_name_prefix="decode")
            try:
                body = await asyncio.get_running_loop().run_in_executor(self._decoders, decoded, body, undone, limit)
            except (ResponseTooLarge, AnswerOverBounds) as exc:
                exc.status = answer.status
                raise
        if names:
            for name in ("content-encoding", "content-length"):
                headers.pop(name, None)
        return OutboundResponse(answer.status, headers, bytes(body))


def _depart(wire: Wire, data: bytes, on_departure: Departure | None) -> None:
    """The last check and the first byte, with nothing in between."""
    if on_departure is not None:
        try:
            on_departure()
        except Exception as exc:
            raise _Held(exc) from exc
    try:
        wire.send(data)
    except OSError as exc:
        raise Unavailable("the connection was closed before an answer") from exc


def _channel(request: OutboundRequest, headers: dict[str, str]) -> Channel:
    digest = hashlib.sha256()
    for name, value in headers.items():
        if not of_the_run(name):
            digest.update(f"{len(name)}:{name}{len(value)}:{value}".encode())
    return Channel(request.namespace, request.module, request.url.origin, digest.digest())


def checked(request: OutboundRequest, floor: AddressFloor) -> dict[str, str]:
    """The headers as they go on the wire. Raises `EgressRefused` for what must not leave; no name is resolved yet."""
    canonical_method(request.method)
    headers = wire_headers(request.headers)
    names = {name.lower() for name in headers}
    for name, value in (("User-Agent", USER_AGENT), ("Accept", "*/*"), ("Accept-Encoding", "identity")):
        if name.lower() not in names:
            headers[name] = value
    if request.body is not None and len(request.body) > MAX_REQUEST_BODY:
        raise EgressRefused(f"the request's body has {len(request.body)} bytes, {MAX_REQUEST_BODY} are allowed")
    try:
        literal = IPv4Address(request.url.host)
    except ValueError:
        return headers  # a name: checked when it is resolved
    floor.check(literal, request.url.host)
    return headers
