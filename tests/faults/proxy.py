"""An HTTP proxy between a client and the API server that does what networks do: loses answers, stalls, resets.

It speaks plain HTTP to the client and TLS to the server, as the user of the given kubeconfig; `kubeconfig()` writes one
for clients of the proxy. A request that carries a token goes on with it.

    async with FaultProxy(admin_kubeconfig) as proxy:
        fault = proxy.inject(lost_answer(method=UPDATE, path="/status"))
        ... connect with proxy.kubeconfig(folder) ...
        await fault.reached.wait()
"""

import asyncio
import base64
import json
import re
import socket
import ssl
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import yaml
from aiohttp import web

from curation.cluster.sockets import Sockets

Predicate = Callable[[str, str], bool]
"""Of the method and the path with its query."""

Method = str | tuple[str, ...] | None
"""One method, or several, or any."""
UPDATE: Final = ("PUT", "PATCH")
"""How the operator changes an object: a status by either, in whichever form it has at hand."""

_CLOSE_SECONDS = 60.0
_HOP_BY_HOP = frozenset({"connection", "host", "keep-alive", "transfer-encoding", "upgrade", "content-length"})


class Action(Enum):
    """What happens to a request that matches."""

    DROP_ANSWER = "carried out by the server; its answer is lost, and the connection is reset"
    RESET = "the connection is reset before the server gets it"
    HOLD_REQUEST = "waits, before the server gets it, until released"
    HOLD_ANSWER = "carried out by the server; its answer waits until released"
    SILENCE = "carried out by the server; its answer begins, and nothing more of it comes until released"
    REPEAT = "carried out by the server; its answer is lost on the way to a proxy, which sends the request once more"
    ANSWER = "answered by the proxy with a status of its own; the server does not get it"


@dataclass
class ProxyFault:
    """One thing that goes wrong, `times` times (None: always)."""

    action: Action
    matches: Predicate
    times: int | None = 1
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    hits: int = 0
    upstream_status: int | None = None
    """What the server answered to the last request that was carried out."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at the first request that meets it; for DROP_ANSWER and HOLD_ANSWER after the server has answered."""
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Let go what is held, now and later."""
        self._released.set()

    async def wait_released(self) -> None:
        """Wait for `release`."""
        await self._released.wait()


def matching(method: Method = None, path: str = "") -> Predicate:
    """Requests of that method (or of one of those) whose path and query contain a match of the regular expression."""
    pattern = re.compile(path)
    methods = (method,) if isinstance(method, str) else method
    return lambda given, where: (methods is None or given in methods) and pattern.search(where) is not None


def lost_answer(method: Method = None, path: str = "", times: int | None = 1) -> ProxyFault:
    """The write is applied, and nobody gets its answer."""
    return ProxyFault(Action.DROP_ANSWER, matching(method, path), times)


def reset(method: Method = None, path: str = "", times: int | None = 1) -> ProxyFault:
    """The connection breaks before anything is applied."""
    return ProxyFault(Action.RESET, matching(method, path), times)


def repeated(method: Method = None, path: str = "", times: int | None = 1) -> ProxyFault:
    """The write is applied, and a proxy on the way that did not get the answer (nginx, of a PUT) sends it again."""
    return ProxyFault(Action.REPEAT, matching(method, path), times)


def held_request(method: Method = None, path: str = "", times: int | None = 1) -> ProxyFault:
    """The request is slow to arrive: it is applied when released, whether or not its sender still waits."""
    return ProxyFault(Action.HOLD_REQUEST, matching(method, path), times)


def held_answer(method: Method = None, path: str = "", times: int | None = 1) -> ProxyFault:
    """The write is applied at once; the answer comes when released."""
    return ProxyFault(Action.HOLD_ANSWER, matching(method, path), times)


def silent(method: Method = None, path: str = "", times: int | None = 1) -> ProxyFault:
    """The answer begins and then says no more, as over a half-open connection; when released, the connection breaks."""
    return ProxyFault(Action.SILENCE, matching(method, path), times)


def answered(status: int, method: Method = None, path: str = "", times: int | None = 1, **more: Any) -> ProxyFault:
    """The proxy answers, with ``headers`` and ``body`` if they are given."""
    return ProxyFault(Action.ANSWER, matching(method, path), times, status=status, **more)


@dataclass
class Stall:
    """Answers that are watches, of paths that match: what the server sends is held back, until it is let through."""

    matches: Predicate
    waiting: int = 0
    """Pieces of answers that were read from the server and are held back now: a change is one piece."""
    _passes: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    _over: bool = False

    def let_pass(self, count: int = 1) -> None:
        """Pass so many pieces on."""
        for _ in range(count):
            self._passes.release()

    def end(self) -> None:
        """Pass on all that is held back, and whatever comes."""
        self._over = True
        self.let_pass(self.waiting)

    async def wait(self, method: str, path: str) -> None:
        """Hold a piece back."""
        if self._over or "watch=" not in path or not self.matches(method, path):
            return
        self.waiting += 1
        await self._passes.acquire()
        self.waiting -= 1


@dataclass(frozen=True)
class Exchange:
    """One request that came to the proxy, and the server's status for it (None: it did not get it)."""

    method: str
    path: str
    status: int | None


class FaultProxy:
    """Runs in the test's event loop, on a free port of 127.0.0.1. An async context manager."""

    def __init__(self, kubeconfig: Path, *, prefix: str = "") -> None:
        """With a `prefix` it serves below that path, as a gateway to many clusters does."""
        self._server, self._tls = _read(kubeconfig)
        self._prefix = prefix
        self._faults: list[ProxyFault] = []
        self._stalls: list[Stall] = []
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._sockets = Sockets()
        self.url = ""
        self.exchanges: list[Exchange] = []

    def inject(self, fault: ProxyFault) -> ProxyFault:
        """Let this go wrong from now on; the first fault that matches a request is the one that happens."""
        self._faults.append(fault)
        return fault

    def stall(self, path: str) -> Stall:
        """Let the watches of a path (a regular expression), also those that are open, be late from now on."""
        self._stalls.append(Stall(matching("GET", path)))
        return self._stalls[-1]

    def heal(self) -> None:
        """End all faults, and let go all that is held."""
        for stall in self._stalls:
            stall.end()
        self._stalls.clear()
        for fault in self._faults:
            fault.release()
        self._faults.clear()

    def kubeconfig(self, folder: Path) -> Path:
        """A kubeconfig for clients of the proxy."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": {"server": self.url}}],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
            "current-context": "proxy",
        }
        path = folder / "proxy-kubeconfig"
        path.write_text(json.dumps(document))
        return path

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls, socket_factory=self._sockets)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        application = web.Application(client_max_size=64 * 2**20)
        application.router.add_route("*", "/{tail:.*}", self._handle)
        # A handler goes on when its client is gone: a write that is on its way is carried out nevertheless.
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=False, shutdown_timeout=0.5)
        await self._runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}{self._prefix}"
        await web.SockSite(self._runner, listener).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()
        assert self._runner is not None
        assert self._session is not None
        # In this order: what was held is let go to the server, or cut off, before the way to the server is closed.
        await self._runner.cleanup()
        await self._session.close()
        await self._sockets.all_closed(_CLOSE_SECONDS)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        fault = self._next(request.method, request.path_qs)
        body = await request.read()
        if fault is None:
            return await self._forward(request, body)
        fault.hits += 1
        match fault.action:
            case Action.ANSWER:
                fault.reached.set()
                self._note(request, None)
                return web.Response(status=fault.status, headers=fault.headers, text=fault.body)
            case Action.RESET:
                fault.reached.set()
                self._note(request, None)
                return _break(request)
            case Action.HOLD_REQUEST:
                fault.reached.set()
                await fault.wait_released()
                return await self._forward(request, body, fault)
            case Action.DROP_ANSWER:
                async with self._ask(request, body) as answer:
                    await answer.read()
                    fault.upstream_status = answer.status
                self._note(request, fault.upstream_status)
                fault.reached.set()
                return _break(request)
            case Action.REPEAT:
                async with self._ask(request, body) as answer:
                    await answer.read()
                self._note(request, answer.status)
                return await self._forward(request, body, fault)
            case Action.HOLD_ANSWER | Action.SILENCE:
                return await self._forward(request, body, fault)

    def _next(self, method: str, path: str) -> ProxyFault | None:
        for fault in self._faults:
            if (fault.times is None or fault.hits < fault.times) and fault.matches(method, path):
                return fault
        return None

    def _ask(self, request: web.Request, body: bytes) -> Any:
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        return self._session.request(
            request.method,
            self._server + request.path_qs.removeprefix(self._prefix),
            headers=headers,
            data=body or None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None),
        )

    async def _forward(self, request: web.Request, body: bytes, fault: ProxyFault | None = None) -> web.StreamResponse:
        """Pass the answer on as it comes: a watch is one answer without an end."""
        try:
            async with self._ask(request, body) as answer:
                self._note(request, answer.status)
                if fault is not None:
                    fault.upstream_status = answer.status
                    fault.reached.set()
                    if fault.action is Action.HOLD_ANSWER:
                        await fault.wait_released()
                response = web.StreamResponse(status=answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in _HOP_BY_HOP:
                        response.headers.add(name, value)
                await response.prepare(request)
                if fault is not None and fault.action is Action.SILENCE:
                    await fault.wait_released()
                    return _break(request)
                async for chunk in answer.content.iter_any():
                    for stall in tuple(self._stalls):
                        await stall.wait(request.method, request.path_qs)
                    await response.write(chunk)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, ConnectionError):
            # The server, or the client, is gone in the middle: so is this connection.
            return _break(request)

    def _note(self, request: web.Request, status: int | None) -> None:
        self.exchanges.append(Exchange(request.method, request.path_qs, status))


def _break(request: web.Request) -> web.Response:
    """Reset the client's connection (RST, not the end of an answer)."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


def _read(kubeconfig: Path) -> tuple[str, ssl.SSLContext]:
    document = yaml.safe_load(kubeconfig.read_text())
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    if "client-certificate-data" in user:
        with tempfile.NamedTemporaryFile() as pair:
            for part in ("client-certificate-data", "client-key-data"):
                pair.write(base64.b64decode(user[part]) + b"\n")
            pair.flush()
            context.load_cert_chain(pair.name)
    return cluster["server"], context
