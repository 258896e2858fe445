"""The connection to the API server: one pool of TCP connections for kopf's watches and for our own calls.

Credentials are read by the official client (`kubernetes.aio`). Requests are aiohttp's, with JSON documents in and out:
the client's own layer and its typed models (1 ms a call) would cost processor time for nothing that is used here. One
middleware serves every request, kopf's included: it adds fresh credentials, repeats a request once when they had
expired, and reports to the metrics and to the server's clock.
"""

import asyncio
import logging
import os
import ssl
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import Configuration
from yarl import URL

from curation.cluster import documents
from curation.cluster.answers import Document, Failure, Unreachable
from curation.cluster.clock import ServerClock
from curation.cluster.credentials import ClusterCredentials, load
from curation.cluster.intake import Intake, Pages, TooLong, kind_of
from curation.cluster.kubeconfig import Overrides
from curation.cluster.proxies import without_credentials
from curation.cluster.request_labels import NO_ANSWER, RequestObserver, describe
from curation.cluster.sockets import Sockets

logger = logging.getLogger(__name__)

API_USER_AGENT: Final = "curation-operator"
JSON: Final = "application/json"
# aiohttp's own, 8 KiB a header and 128 headers, make an answer with many warnings (each one a header) no answer at all.
HEADER_BYTES: Final = 64 * 1024
HEADERS: Final = 4096
# The API server closes an idle connection after 90 s; a handshake costs it 2 ms of CPU.
KEEPALIVE_SECONDS: Final = 60.0


class BrokenOff(aiohttp.ClientConnectionError):
    """The connection broke in the middle of a PUT: nobody knows what the server did."""


class Connection:
    """Sends requests. Use `connect`; close it at the end (it is an async context manager)."""

    def __init__(
        self,
        credentials: ClusterCredentials,
        *,
        request_timeout: float,
        parallel_calls: int,
        observer: RequestObserver | None,
        clock: ServerClock,
        cuts: bool,
    ) -> None:
        configuration: Configuration = credentials.configuration
        self.credentials = credentials
        self.clock = clock
        self.request_timeout = request_timeout
        self.server: str = configuration.host
        self._origin = URL(self.server).origin()
        self._prefix = URL(self.server).path.rstrip("/")
        self._observer = observer
        self.logins: list[float] = []
        """When kopf logged in, by the monotonic clock; kept by `kopf_login`."""
        self._closed = False
        self._pages = Pages() if cuts else None
        self._timeout = aiohttp.ClientTimeout(total=request_timeout or None)
        # The limit is here and not in the pool: watches hold connections for ever, and must not starve the writes.
        self._slots = asyncio.Semaphore(parallel_calls)
        context = credentials.tls_context()
        self._session: aiohttp.ClientSession | None = None
        """Of our own calls; made in the loop that makes them."""
        self._sockets = Sockets()
        self._connector = aiohttp.TCPConnector(
            limit=0, ssl=context, keepalive_timeout=KEEPALIVE_SECONDS, socket_factory=self._sockets
        )
        credentials.use_tls = self._use_tls

    @property
    def default_namespace(self) -> str | None:
        """The namespace of the kubeconfig's context, or of the pod; None when neither says one."""
        return self.credentials.namespace

    @property
    def proxy(self) -> str | None:
        """The HTTP proxy to the API server, if any."""
        proxy: str | None = self.credentials.configuration.proxy
        return proxy

    def _use_tls(self, context: ssl.SSLContext) -> None:
        """For connections that are made from now on. Open ones go on, watches for 45 s at the most."""
        # There is no public way to this. A test rotates the authorities of a server and would fail without.
        self._connector._ssl = context

    @property
    def _through(self) -> str:
        """For a message about a request that failed: the proxy may be what failed."""
        return f" (through the proxy {without_credentials(self.proxy)})" if self.proxy else ""

    def path_of(self, url: URL) -> str:
        """The path of a request as the API server knows it: one behind a gateway has a path of its own before it."""
        return url.path.removeprefix(self._prefix)

    def new_session(
        self,
        *,
        outermost: Sequence[aiohttp.ClientMiddlewareType] = (),
        response_class: type[aiohttp.ClientResponse] = aiohttp.ClientResponse,
    ) -> aiohttp.ClientSession:
        """One more session over the same pool. Closing it leaves the pool open."""
        arguments = self._session_arguments()
        arguments["middlewares"] = (*outermost, *arguments["middlewares"])
        return aiohttp.ClientSession(
            **arguments, response_class=response_class, connector_owner=False, proxy=self.proxy
        )

    def _session_arguments(self) -> dict[str, Any]:
        return {
            "connector": self._connector,
            "cookie_jar": aiohttp.DummyCookieJar(),
            "headers": {"User-Agent": API_USER_AGENT},
            "middlewares": (self._pass,),
            "read_bufsize": 2**21,  # one line of a watch is one object
            "max_line_size": HEADER_BYTES,
            "max_field_size": HEADER_BYTES,
            "max_headers": HEADERS,
            "trust_env": False,
        }

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Document | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        urgent: bool = False,
        warnings: list[str] | None = None,
    ) -> Document | Failure:
        """Send one request, once. The answer's document, or what the server says went wrong.

        ``urgent`` goes past the limit of parallel calls: a lease must not wait behind a burst of jobs. What the server
        warns of is added to ``warnings``, as it was sent. Raises `Unreachable` when there is no answer, or no whole
        one: then nobody knows what the server did.
        """
        url = f"{self.server}{path}?{urlencode(query)}" if query else self.server + path
        if urgent:
            return await self._send(method, url, body, content_type, accept, warnings)
        async with self._slots:
            return await self._send(method, url, body, content_type, accept, warnings)

    async def _send(
        self,
        method: str,
        url: str,
        body: Document | None,
        content_type: str,
        accept: str,
        warnings: list[str] | None,
    ) -> Document | Failure:
        if self._closed:
            raise Unreachable(f"{method} {url}: the connection was closed")
        try:
            if self._session is None:
                self._session = self.new_session()
            async with self._session.request(
                method,
                url,
                headers={"Content-Type": content_type, "Accept": accept},
                data=None if body is None else documents.body(body),
                timeout=self._timeout,
            ) as response:
                if warnings is not None:
                    warnings.extend(response.headers.getall("Warning", ()))
                raw = await response.read()
        except TimeoutError as error:
            raise Unreachable(f"{method} {url}: no answer within {self.request_timeout:g} s{self._through}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{method} {url}: {error or type(error).__name__}{self._through}") from error
        try:
            document = documents.loads(raw)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            if response.status < 300:
                raise Unreachable(f"{method} {url}: the answer is not a JSON object")
            document = {"message": raw[:256].decode(errors="replace").strip()}
        return document if response.status < 300 else _failure(response.status, response.headers, document)

    async def _pass(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """The middleware of every request."""
        if self._pages is None or request.url.origin() != self._origin:
            return await self._authorized(request, handler)
        path = self.path_of(request.url)
        asked = describe(request.method, path, request.url.query)
        kind = kind_of(path, asked.resource)
        if kind is None:
            return await self._authorized(request, handler)
        while True:
            # The metadata of objects alone make other pages than the objects.
            place = f"{path} {request.headers.get('Accept', '')}"
            limit = int(request.url.query.get("limit", 0))
            if limit:
                limit = self._pages.size(place, limit)
                request.url = request.url.update_query(limit=str(limit))
            response = await self._authorized(request, handler)
            if response.status >= 300:
                return response
            intake = Intake(response.content, kind, asked.verb)
            # Typed as aiohttp's own; what kopf and the official client read it by is the same.
            response.content = intake  # type: ignore[assignment]
            if not limit or asked.verb != "list":
                return response
            try:
                self._pages.came(place, limit, await intake.fetch(self._pages.bound(limit)))
                return response
            except TooLong:
                response.close()
                if limit == 1:
                    raise
                self._pages.too_long(place, limit)

    async def _authorized(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        response = await self._pass_once(request, handler)
        if response.status == 401 and await self._has_new_credentials(request):
            # A 401 was refused before anything was read from it, so this is no second try of a write.
            response.close()
            response = await self._pass_once(request, handler)
        return response

    async def _has_new_credentials(self, refused: aiohttp.ClientRequest) -> bool:
        """Whether there are other credentials than those that were refused, or can be had."""
        if refused.url.origin() != self._origin:
            return False
        # They may have been renewed while this request was under way, for another one that was refused before it.
        newer = await self.credentials.authorization() != refused.headers.get("Authorization")
        return newer or await self.credentials.renew()

    async def _pass_once(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        # A redirect to somewhere else must not carry our token there.
        if request.url.origin() == self._origin:
            authorization = await self.credentials.authorization()
            if authorization:
                request.headers["Authorization"] = authorization
            for name, _ in self.credentials.headers:
                request.headers.pop(name, None)
            for name, value in self.credentials.headers:
                request.headers.add(name, value)
        server_name = self.credentials.configuration.tls_server_name
        if server_name:
            request.server_hostname = server_name
        monotonic = self.clock.monotonic
        code, sent = NO_ANSWER, monotonic()
        try:
            response = await _once(request, handler)
            code, received = str(response.status), monotonic()
            self.clock.observe(response.headers.get("Date"), sent, received)
            return response
        finally:
            if self._observer is not None:
                asked = describe(request.method, self.path_of(request.url), request.url.query)
                self._observer(asked, code, monotonic() - sent)

    async def close(self) -> None:
        """Close the pool. Requests that are under way end with `Unreachable`."""
        self._closed = True
        await self.credentials.close()
        if self._session is not None:
            await self._session.close()
        await self._connector.close()
        await self._sockets.all_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def connect(
    *,
    request_timeout: float = 10.0,
    parallel_calls: int = 64,
    observer: RequestObserver | None = None,
    clock: ServerClock | None = None,
    environ: Mapping[str, str] = os.environ,
    overrides: Overrides | None = None,
    cuts: bool = False,
) -> Connection:
    """Read the cluster access of this process and make the pool; no request is sent yet.

    ``cuts``: objects come in within the bounds of `curation.cluster.bounds`, as an operator needs them, which reads
    what anybody wrote. A person who reads one wants to see all of it.
    ``overrides`` is what a command line says instead of the kubeconfig. ``request_timeout`` is in seconds (0: none) and
    holds for one call, not for its wait for one of the ``parallel_calls``.
    Raises `ConfigurationError` with a remedy.
    """
    return Connection(
        await load(environ, overrides=overrides),
        request_timeout=request_timeout,
        parallel_calls=parallel_calls,
        observer=observer,
        clock=clock or ServerClock(),
        cuts=cuts,
    )


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    # Trap: aiohttp sends a request with an idempotent method again over a new connection. The second copy of a PUT that
    # has landed is answered 409, as if somebody else had written.
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # there was no connection
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        if request.method != "PUT":
            raise
        raise BrokenOff(str(error) or type(error).__name__) from error


def _failure(code: int, headers: Any, status: Document) -> Failure:
    details = status.get("details") or {}
    retry_after = headers.get("Retry-After") or details.get("retryAfterSeconds")
    try:
        seconds = None if retry_after is None else float(retry_after)
    except ValueError:
        seconds = None
    reason, message = status.get("reason") or "", status.get("message") or ""
    return Failure(code, reason, message, seconds, details, status.get("metadata") or {})
