"""Everything real: an HTTP server as the peer, the gate, the egress client, the module store, the executor."""

import asyncio
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from curation.api.module import Credential
from curation.authz.book import PolicyBook
from curation.authz.gate import Gate
from curation.egress.client import EgressClient
from curation.egress.floor import AddressFloor
from curation.execution.in_process import InProcessExecutor
from curation.execution.origin_credentials import OriginCredential
from curation.execution.seam import CallEnd, Ended, ExecutionRequest, Executor, ModuleBuild, Supplies, Word
from curation.lifecycle.outcome import Report, RunKey, SessionRef, Trigger
from curation.wasm.limits import Limits
from curation.wasm.module_bytes import digest_of
from curation.wasm.store import ModuleStore

GENEROUS = 240
"""Seconds after which a test that waits has failed."""

NAMESPACE = "team"
PERMIT = "permit (principal, action, resource);"
ROOMY = Limits(cpu_seconds=60, wall_seconds=60)


@dataclass
class Seen:
    """A request that reached the peer."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: str


class Peer:
    """An HTTP server that keeps what it was asked, and answers /hold, and each path below it, only when released."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.go_on = asyncio.Event()
        self.may_go_on = defaultdict[str, asyncio.Event](asyncio.Event)
        """By path, of those below /hold/."""
        self._changed = asyncio.Condition()
        self.port = 0

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def count(self, path: str) -> int:
        return Counter(seen.path for seen in self.seen)[path]

    async def reached(self, path: str, times: int = 1) -> None:
        """Waits until so many requests for a path have arrived."""
        async with asyncio.timeout(GENEROUS), self._changed:
            await self._changed.wait_for(lambda: self.count(path) >= times)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        async with self._changed:
            self.seen.append(Seen(request.method, request.path, request.headers.copy(), await request.text()))
            self._changed.notify_all()
        match request.path:
            case "/hold":
                await self.go_on.wait()
            case path if path.startswith("/hold/"):
                await self.may_go_on[path].wait()
            case "/redirect":
                raise web.HTTPFound("/elsewhere")
            case "/large":
                return web.Response(body=b"x" * int(request.query["size"]))
            case "/binary":
                return web.Response(body=b"\xff\xfe!", headers={"X-One": "1"})
            case "/echo":
                sent = request.headers["Authorization"]
                return web.json_response({"you": sent}, headers={"X-You-Sent": sent.removeprefix("Bearer ")})
            case "/hang-up":
                assert request.transport is not None
                request.transport.close()
        return web.json_response({"id": "s-1", "more": "x" * int(request.query.get("size", 0))})


class Names(AbstractResolver):
    """Resolves every name to the loopback address; `slow.test` only when released."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        if host == "slow.test":
            self.asked.set()
            await self.go_on.wait()
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=2, proto=0, flags=0)]

    async def close(self) -> None:
        pass


class Notes:
    """An observer that keeps what it is notified of."""

    def __init__(self) -> None:
        self.started: list[ExecutionRequest] = []
        self.calls: list[tuple[str, str]] = []
        self.ended: list[Report] = []

    def on_start(self, request: ExecutionRequest) -> None:
        self.started.append(request)

    def on_call(self, request: ExecutionRequest, call: CallEnd) -> None:
        assert call.seconds >= 0
        self.calls.append((call.decision, call.code))

    def on_end(self, request: ExecutionRequest, report: Report, seconds: float) -> None:
        assert seconds >= 0
        self.ended.append(report)


class Stock(Supplies):
    """What requests refer to: bytes by their digest, credentials by run."""

    def __init__(self) -> None:
        self.bytes: dict[str, bytes | Exception | Awaitable[bytes]] = {}
        self.values: dict[str, tuple[OriginCredential, ...]] = {}

    async def wasm(self, request: ExecutionRequest) -> bytes:
        found = self.bytes[request.module.digest]
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, bytes) else await found

    async def credentials(self, request: ExecutionRequest) -> tuple[OriginCredential, ...]:
        return self.values[request.run.id]


class Heard:
    """An execution that was started, and all that was said of it."""

    def __init__(self, executor: Executor, request: ExecutionRequest) -> None:
        self.request = request
        self.words: list[Word] = []
        self.ended: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        self._executor = executor
        executor.start(request, self.hear)

    def hear(self, execution: str, word: Word) -> None:
        assert execution == self.request.execution
        self.words.append(word)
        if isinstance(word, Ended) and not self.ended.done():
            self.ended.set_result(word.report)

    def stop(self, why: str) -> None:
        self._executor.stop(self.request.execution, why)

    async def report(self) -> Report:
        return await asyncio.shield(self.ended)


@dataclass
class Rig:
    """An executor and all around it."""

    peer: Peer
    book: PolicyBook
    names: Names
    modules: ModuleStore
    client: EgressClient
    executor: Any
    notes: Notes
    stock: Stock
    numbers: list[int] = field(default_factory=list)
    later: timedelta = timedelta()
    """How far the gate's clock is put forward."""

    def now(self) -> datetime:
        return datetime.now(UTC) + self.later

    def permit(self, text: str = PERMIT) -> None:
        assert self.book.put_policy(NAMESPACE, "p", text).valid

    def request(
        self,
        wasm: bytes,
        trigger: Trigger = Trigger.SUBMIT,
        *,
        limits: Limits = ROOMY,
        credentials: tuple[OriginCredential, ...] = (),
        session: SessionRef | None = None,
    ) -> ExecutionRequest:
        self.numbers.append(0)
        attempt = len(self.numbers)
        digest = digest_of(wasm)
        request = ExecutionRequest(
            trigger=trigger,
            run=RunKey("uid-1", f"uid-1.g3.a{attempt}", 3, attempt, "v1:abc"),
            namespace=NAMESPACE,
            job="job-1",
            module=ModuleBuild("build-session", digest, limits),
            labels={"team": "red"},
            credentials=tuple(map(reference, credentials)),
            session=session,
        )
        self.stock.bytes[digest] = wasm
        self.stock.values[request.run.id] = credentials
        return request

    def ask(self, request: ExecutionRequest) -> Heard:
        """Execute it, once more if it was executed before."""
        self.numbers.append(0)
        return Heard(self.executor, replace(request, number=len(self.numbers)))

    def start(self, wasm: bytes, trigger: Trigger = Trigger.SUBMIT, **more: Any) -> Heard:
        return self.ask(self.request(wasm, trigger, **more))

    async def run(self, wasm: bytes, trigger: Trigger = Trigger.SUBMIT, **more: Any) -> Report:
        return await ended(self.start(wasm, trigger, **more))


def reference(value: OriginCredential) -> Credential:
    origin = {"scheme": value.scheme, "host": value.host, "port": value.port, "header": value.header}
    return Credential.model_validate({**origin, "secretKeyRef": {"name": "s", "key": "k"}})


async def ended(execution: Heard) -> Report:
    async with asyncio.timeout(GENEROUS):
        return await execution.report()


async def until(condition: Callable[[], bool]) -> None:
    """Waits until something that nobody announces is so."""
    async with asyncio.timeout(GENEROUS):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)


def guest_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("wasm-")]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    peer = Peer()
    application = web.Application(client_max_size=8 << 20)
    application.router.add_route("*", "/{path:.*}", peer.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    peer.port = runner.addresses[0][1]
    book, names, modules, notes, stock = PolicyBook(), Names(), ModuleStore(tmp_path / "cache"), Notes(), Stock()
    client = EgressClient(AddressFloor([ip_network("127.0.0.0/8")]), resolver=names)
    gate = Gate(book, lambda: made.now())
    executor = InProcessExecutor(modules, gate, client, stock, observer=notes)
    made = Rig(peer, book, names, modules, client, executor, notes, stock)
    made.permit()
    yield made
    for each in (peer.go_on, names.go_on, *peer.may_go_on.values()):
        each.set()
    await made.executor.drain(grace=5)
    await modules.close()
    await client.close()
    await runner.cleanup()
    assert guest_threads() == []


@pytest.fixture
async def narrow(rig: Rig) -> AsyncIterator[Rig]:
    """A rig whose executor runs one guest at a time."""
    wide = rig.executor
    executor = InProcessExecutor(wide.store, wide.gate, wide.sender, rig.stock, max_concurrent=1, observer=rig.notes)
    yield replace(rig, executor=executor)
    rig.peer.go_on.set()
    await executor.drain(grace=5)
