"""Serves /healthz, /readyz and /metrics, on a thread and a loop of their own: no client slows the work down.

There is no password on this port, so whoever reaches it is a stranger: connections, their time and what is read of
each are bounded, and a flood of them costs the one that floods its own connections first.
"""

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, cast

import h11
import uvloop
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from curation.reconciler.runtime.health import Health
from curation.reconciler.runtime.listening import listen, url

log = logging.getLogger(__name__)

HEALTH_CONNECTIONS: Final = 256
"""Open at once. One more takes the place of the oldest of the address that has most."""
HEALTH_CONNECTIONS_OF_ONE: Final = 64
"""Of one address."""
HEAD_BYTES: Final = 8192
"""Of a request, its first line and headers."""
HEAD_SECONDS: Final = 5.0
"""From the connection to the end of the request's head. A kubelet's probe is given up before."""
ANSWER_SECONDS: Final = 10.0
"""Until the client has taken the answer: Prometheus gives up then, too."""
LEFTOVER_BYTES: Final = 65536
"""What a client may send after the head and still read its answer; more of it ends the connection."""
RENDER_SECONDS: Final = 1.0
"""How long a page of metrics is kept."""
SHUTDOWN_SECONDS: Final = 0.25

# Trap: the client's library makes a page for each version that a client invents, and fails on some. These two are all.
_PAGES: Final = {False: choose_encoder(""), True: choose_encoder("application/openmetrics-text; version=1.0.0")}


@dataclass(frozen=True, slots=True)
class _HealthPage:
    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


class _Pages:
    """What is answered. Used by the server's thread alone."""

    def __init__(self, health: Health, registry: CollectorRegistry, monotonic: Callable[[], float]) -> None:
        self._health = health
        self._registry = registry
        self._monotonic = monotonic
        self._kept: dict[bool, tuple[float, _HealthPage]] = {}

    def answer(self, request: h11.Request) -> _HealthPage:
        """What this request is answered."""
        path = request.target.partition(b"?")[0]
        page = {b"/healthz": self._healthz, b"/readyz": self._readyz, b"/metrics": self._metrics}.get(path)
        if page is None:
            return _page(HTTPStatus.NOT_FOUND, "here are /healthz, /readyz and /metrics")
        if request.method not in (b"GET", b"HEAD"):
            return _page(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD are allowed")
        return page(request)

    def _healthz(self, _: h11.Request) -> _HealthPage:
        return _health_page(self._health.problems())

    def _readyz(self, _: h11.Request) -> _HealthPage:
        missing = [] if self._health.synced else ["not all kinds have been listed yet"]
        return _health_page(missing + self._health.problems())

    def _metrics(self, request: h11.Request) -> _HealthPage:
        accepted = b",".join(value for name, value in request.headers if name == b"accept")
        open_metrics = b"application/openmetrics-text" in accepted.lower()
        kept = self._kept.get(open_metrics)
        if kept is None or self._monotonic() >= kept[0]:
            encode, content_type = _PAGES[open_metrics]
            try:
                made = _HealthPage(HTTPStatus.OK, encode(self._registry), content_type)
            except Exception:
                log.exception("the metrics could not be rendered")
                made = _page(HTTPStatus.INTERNAL_SERVER_ERROR, "the metrics could not be rendered; the log says why")
            self._kept[open_metrics] = kept = self._monotonic() + RENDER_SECONDS, made
        return kept[1]


class _Clients:
    """The open connections, oldest first, and which address holds them."""

    def __init__(self) -> None:
        self._of: dict[str, OrderedDict[_Connection, None]] = {}
        self.count = 0

    def add(self, connection: "_Connection") -> None:
        """One more; at a bound another one is ended before."""
        mine = self._of.get(connection.address)
        if mine is not None and len(mine) >= HEALTH_CONNECTIONS_OF_ONE:
            next(iter(mine)).abort()
        elif self.count >= HEALTH_CONNECTIONS:
            busiest = max(self._of, key=lambda address: len(self._of[address]))
            next(iter(self._of[busiest])).abort()
        self._of.setdefault(connection.address, OrderedDict())[connection] = None
        self.count += 1

    def remove(self, connection: "_Connection") -> None:
        """It has ended, or is about to."""
        mine = self._of.get(connection.address)
        if mine is None or connection not in mine:
            return
        del mine[connection]
        self.count -= 1
        if not mine:
            del self._of[connection.address]

    def end_all(self) -> None:
        """End every connection."""
        for mine in list(self._of.values()):
            for connection in list(mine):
                connection.abort()


class _Connection(asyncio.BufferedProtocol):
    """One connection: one request, one answer, the end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pages: _Pages, clients: _Clients) -> None:
        self._loop = loop
        self._pages = pages
        self._clients = clients
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self._buffer = bytearray(HEAD_BYTES)
        self._read = 0
        self._asked = b""
        self._answered = False
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it
        self.address = str((transport.get_extra_info("peername") or ("",))[0])
        self._give(HEAD_SECONDS)
        self._clients.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        """See asyncio."""
        if self._timer is not None:
            self._timer.cancel()
        self._clients.remove(self)

    def abort(self) -> None:
        """End it now, whatever is under way."""
        self._clients.remove(self)
        if self._transport is not None:
            self._transport.abort()

    def eof_received(self) -> bool:
        """See asyncio. A client may close its side once it has asked; the answer still goes out."""
        if not self._answered:
            self.abort()
        return False

    def get_buffer(self, sizehint: int) -> bytearray:
        """See asyncio. No more than a head is read at once, however much was sent."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        rest = HEAD_BYTES - self._read
        self._read += nbytes
        if self._answered:
            if self._read > HEAD_BYTES + LEFTOVER_BYTES:
                self.abort()
            return
        # Trap: h11 checks the size only of a head that is not whole.
        try:
            self._http.receive_data(bytes(self._buffer[: min(nbytes, rest)]))
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            self._send(_page(HTTPStatus(error.error_status_hint), "this is no HTTP request"))
            return
        if isinstance(event, h11.Request):
            self._asked = event.method
            self._send(self._pages.answer(event))
        elif self._read >= HEAD_BYTES:
            what = f"more than {HEAD_BYTES} bytes of headers"
            self._send(_page(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, what))

    def _send(self, answer: _HealthPage) -> None:
        assert self._transport is not None
        self._answered = True
        self._give(ANSWER_SECONDS)
        headers = [
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            ("Connection", "close"),
        ]
        if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", "GET, HEAD"))
        head = h11.Response(status_code=answer.status, reason=answer.status.phrase, headers=headers)
        body = b"" if self._asked == b"HEAD" else answer.body
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            if sent := self._http.send(event):
                self._transport.write(sent)
        # Trap: closed with something unread, the system would throw away what the client has not read of the answer.
        # So our side is closed, and the rest is up to the client, within the bounds.
        self._transport.write_eof()

    def _give(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self.abort)


class HealthServer:
    """The HTTP server of one process."""

    def __init__(
        self, health: Health, registry: CollectorRegistry, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._health = health
        self._pages = _Pages(health, registry, monotonic)
        self._clients = _Clients()
        self._beating: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.url = ""

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._clients.count

    async def start(self, host: str, port: int) -> None:
        """Listen, and beat on the running loop: a start that takes long blocks nothing.

        Raises OSError if the address cannot be had.
        """
        sockets = listen(host, port)
        self.url = url(sockets[0])
        self._beating = asyncio.create_task(self._health.beat(), name="beat")
        self._loop = uvloop.new_event_loop()
        # A daemon: what hangs here must not keep the process from its end.
        self._ended = ended = self._loop.create_future()
        self._thread = threading.Thread(
            target=self._serve, args=(self._loop, sockets, ended), name="health", daemon=True
        )
        self._thread.start()

    async def close(self) -> None:
        """Stop listening and beating. May be called again, also while an earlier call is under way or was cancelled."""
        if self._beating is not None:
            self._beating.cancel()
        if self._thread is None or self._loop is None:
            return
        with contextlib.suppress(RuntimeError):  # it is closed already
            self._loop.call_soon_threadsafe(self._end)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join, SHUTDOWN_SECONDS)

    def _end(self) -> None:
        """Trap: `loop.stop` would end whatever the loop waits for just then, its own end too, and leave it open."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _serve(
        self, loop: asyncio.AbstractEventLoop, sockets: list[socket.socket], ended: asyncio.Future[None]
    ) -> None:
        """The thread."""

        def connection() -> _Connection:
            return _Connection(loop, self._pages, self._clients)

        servers = [loop.run_until_complete(loop.create_server(connection, sock=each)) for each in sockets]
        try:
            loop.run_until_complete(ended)
        finally:
            for server in servers:
                server.close()
            self._clients.end_all()
            loop.run_until_complete(asyncio.sleep(0))  # the transports close
            loop.close()


def _health_page(problems: list[str]) -> _HealthPage:
    return _page(HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK, "\n".join(problems) or "ok")


def _page(status: HTTPStatus, text: str) -> _HealthPage:
    return _HealthPage(status, f"{text}\n".encode())
