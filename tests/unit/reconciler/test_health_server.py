"""The port of /healthz, /readyz and /metrics: what it answers, that no client can take it, and that it takes nothing.

The hostile clients are processes of their own at full speed.
"""

import asyncio
import contextlib
import functools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from curation.api.names import Phase
from curation.cluster.request_labels import Asked
from curation.reconciler.runtime import health_server
from curation.reconciler.runtime.health import LOOP_STALE_SECONDS, WATCH_STALE_SECONDS, Health
from curation.reconciler.runtime.health_server import HEAD_BYTES, HealthServer
from curation.reconciler.runtime.metrics import Metrics, WatchAge
from testing.clock import SetClock
from tests.faults.flood import KINDS, flood
from tests.unit.reconciler.test_health import turn
from tests.unit.reconciler.virtual_time import in_virtual_time, loop

# Long, as other tests share the machine: what is awaited must come, never how fast.
PATIENCE = 60.0
HOST = "127.0.0.1"


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def health(clock: SetClock) -> Health:
    made = Health(clock)
    made.expect("curationjobs")
    made.expect("curationmodules")
    return made


@asynccontextmanager
async def serving(health: Health, registry: CollectorRegistry | None = None) -> AsyncIterator[HealthServer]:
    server = HealthServer(health, registry or Metrics().registry)
    await server.start(HOST, 0)
    try:
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def served(health: Health, registry: CollectorRegistry | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(health, registry) as server, aiohttp.ClientSession(server.url) as http:
        yield http


async def ask(http: aiohttp.ClientSession, path: str, method: str = "GET") -> tuple[int, str]:
    async with http.request(method, path) as answer:
        return answer.status, await answer.text()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - it sets no event
            await asyncio.sleep(0.001)


def port_of(server: HealthServer) -> int:
    return int(server.url.rpartition(":")[2])


def said(port: int, sent: bytes) -> bytes:
    """What a client reads that sends this, whatever of it is taken, and reads to the end."""
    with socket.create_connection((HOST, port), timeout=PATIENCE) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        return b"".join(iter(functools.partial(connection.recv, 65536), b""))


@in_virtual_time
async def test_a_loop_that_turns_is_healthy_from_the_first_answer_on_however_long_the_start_takes() -> None:
    health = Health(loop().time)
    async with served(health):
        await asyncio.sleep(10 * LOOP_STALE_SECONDS)
        assert health.problems() == []


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("first_is_cancelled", [False, True])
async def test_a_close_during_another_one_ends_with_it(health: Health, turns: int, first_is_cancelled: bool) -> None:
    """At whatever step of the first the second falls."""
    async with serving(health) as server:
        first = asyncio.create_task(server.close())
        for _ in range(turns):
            await asyncio.sleep(0)
        if first_is_cancelled:
            first.cancel()
        await server.close()
        await asyncio.gather(first, return_exceptions=first_is_cancelled)
        async with aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.ClientConnectionError):
                await ask(http, f"{server.url}/healthz")


async def test_a_closed_server_leaves_no_thread_and_no_connection(health: Health) -> None:
    async with serving(health) as server:
        with socket.create_connection((HOST, port_of(server)), timeout=PATIENCE) as connection:
            await server.close()
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
    assert "health" not in {thread.name for thread in threading.enumerate()}


async def test_the_probes_say_what_is_wrong(health: Health, clock: SetClock) -> None:
    async with served(health) as http:
        assert await ask(http, "/healthz") == (200, "ok\n")
        assert await ask(http, "/readyz") == (503, "not all kinds have been listed yet\n")
        for resource in ("curationjobs", "curationmodules"):
            health.request(Asked("watch", resource), "200", 0)
        assert await ask(http, "/readyz") == (200, "ok\n")
        clock.now += WATCH_STALE_SECONDS + 1
        await turn(health)
        for path in ("/healthz", "/readyz"):
            status, text = await ask(http, path)
            assert status == 503
            assert text.count("the watch of curation") == 2


ASK = "import sys, urllib.request as u\ntry: print(u.urlopen(sys.argv[1]).read().decode())\n"
ASK += "except u.HTTPError as e: print(e.code, e.read().decode())"


async def test_a_blocked_work_loop_is_answered_for_and_named(health: Health, clock: SetClock) -> None:
    """Another process asks while nothing of the work's loop turns."""
    async with serving(health) as server:
        await asyncio.sleep(0)
        clock.now += LOOP_STALE_SECONDS + 5
        for resource in ("curationjobs", "curationmodules"):
            health.seen(resource)
        program = [sys.executable, "-I", "-c", ASK, f"{server.url}/healthz"]
        found = subprocess.run(program, capture_output=True, text=True, check=True)  # noqa: ASYNC221 - it is to block
        assert found.stdout == f"503 the event loop was blocked for {LOOP_STALE_SECONDS + 5:.0f} s\n\n"
        await turn(health)
        async with aiohttp.ClientSession(server.url) as http:
            assert await ask(http, "/healthz") == (200, "ok\n")


async def test_other_pages_and_methods_are_refused_with_what_there_is(health: Health) -> None:
    async with served(health) as http:
        assert await ask(http, "/") == (404, "here are /healthz, /readyz and /metrics\n")
        assert await ask(http, "/healthz?verbose") == (200, "ok\n")
        assert await ask(http, "/healthz", "HEAD") == (200, "")
        async with http.post("/healthz", data=b"x" * 1000) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"GET /healthz HTTP/1.0\r\n\r\n", 200, id="HTTP/1.0"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", 200, id="an IPv6 host"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 4000, 200, id="pipelined requests get one answer"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 10**6, 431, id="a header without end"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"a:b\r\n" * 10**5, 431, id="headers without end"),
        pytest.param(b"GET /" + b"x" * 10**6, 431, id="a path without end"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * HEAD_BYTES + b"\r\n\r\n",
            431,
            id="a whole head, over the bound",
        ),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, id="TLS"),
        pytest.param(b"GET /healthz HTTP/1.1\r\n\r\n", 400, id="no host"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, id="a bad length"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404, id="HTTP/2"),
    ],
)
async def test_what_is_no_modest_request_is_answered_once_and_the_connection_ends(
    health: Health, sent: bytes, status: int
) -> None:
    async with serving(health) as server:
        answer = await asyncio.to_thread(said, port_of(server), sent)
    if len(sent) < HEAD_BYTES + health_server.LEFTOVER_BYTES or answer:  # else it may be reset before it has read
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_head_that_does_not_come_ends_its_connection(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_server, "HEAD_SECONDS", 0.2)
    async with serving(health) as server:
        port = port_of(server)
        assert await asyncio.to_thread(ends, port, b"") == b""
        assert await asyncio.to_thread(ends, port, b"GET /healthz HTTP/1.1\r\nHost: a\r\n") == b""


def ends(port: int, sent: bytes) -> bytes:
    """What is read until the server ends the connection of a client that sends this, and then drips."""
    with socket.create_connection((HOST, port), timeout=PATIENCE) as connection:
        connection.sendall(sent)
        connection.setblocking(False)
        read = b""
        while True:
            try:
                if sent:
                    connection.send(b"x")
                got = connection.recv(100)
            except BlockingIOError:
                time.sleep(0.01)
                continue
            except ConnectionError:
                return read
            if not got:
                return read
            read += got


class Heavy(Collector):
    """Makes a page that no socket buffer holds; counts how often."""

    def __init__(self, lines: int = 100_000) -> None:
        self.lines = lines
        self.rendered = 0

    def collect(self) -> Iterator[Metric]:
        self.rendered += 1
        family = Metric("heavy", "Of many lines.", "gauge")
        for number in range(self.lines):
            family.add_sample("heavy", {"number": str(number)}, 1.0)
        yield family


async def test_a_client_that_does_not_read_its_page_is_ended(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_server, "ANSWER_SECONDS", 0.2)
    registry, heavy = CollectorRegistry(), Heavy()
    registry.register(heavy)
    async with serving(health, registry) as server:
        with socket.create_connection((HOST, port_of(server)), timeout=PATIENCE) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: bool(heavy.rendered) and not server.connections)


async def test_a_render_is_kept_for_a_second_in_each_of_two_formats_whatever_a_client_invents(health: Health) -> None:
    clock, registry, heavy = SetClock(), CollectorRegistry(), Heavy(3)
    registry.register(heavy)
    heavy.rendered = 0
    server = HealthServer(health, registry, clock)
    await server.start(HOST, 0)
    accepted = ["", "text/plain", "*/*", *(f"text/plain; version=1.0.{n}; escaping=allow-utf-8" for n in range(20))]
    open_metrics = [f"application/openmetrics-text; version={version}" for version in ("1.0.0", "9.9.9", "x", "1..")]
    try:
        async with aiohttp.ClientSession(server.url) as http:
            for accept in accepted + open_metrics:
                async with http.get("/metrics", headers={"Accept": accept}) as answer:
                    assert answer.status == 200
                    kind = "application/openmetrics-text" if accept in open_metrics else "text/plain"
                    assert answer.content_type == kind
            assert heavy.rendered == 2
            clock.now += health_server.RENDER_SECONDS
            await ask(http, "/metrics")
            assert heavy.rendered == 3
    finally:
        await server.close()


async def test_metrics_that_cannot_be_rendered_are_an_error_and_the_probes_go_on(
    health: Health, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Collector):
        broken = False

        def collect(self) -> Iterator[Metric]:
            if self.broken:
                raise ValueError("no")
            return iter(())

    registry, broken = CollectorRegistry(), Broken()
    registry.register(broken)
    broken.broken = True
    async with served(health, registry) as http:
        assert (await ask(http, "/metrics"))[0] == 500
        assert (await ask(http, "/metrics"))[0] == 500
        assert await ask(http, "/healthz") == (200, "ok\n")
    assert caplog.text.count("the metrics could not be rendered") == 1, "a flood of requests is none of lines"


@pytest.mark.parametrize("source", ["127.0.0.2", HOST], ids=["from-another-address", "from-the-same-address"])
@pytest.mark.parametrize("kind", KINDS)
async def test_probes_are_answered_in_a_flood_of_any_kind(health: Health, kind: str, source: str) -> None:
    """From the kubelet's own address too, as clients on the node have it."""
    registry = CollectorRegistry()
    Gauge("some", "A gauge.", registry=registry)
    async with served(health, registry) as http:
        assert http._base_url is not None
        port = http._base_url.port
        assert port is not None
        with flood(kind, HOST, port, source):
            for path in ("/healthz", "/metrics") * 5:
                await until_answered(http, path)


async def until_answered(http: aiohttp.ClientSession, path: str) -> None:
    """As a kubelet asks: again, when its connection is lost."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                status, _ = await ask(http, path)
                assert status == 200
                return
            await asyncio.sleep(0.01)


async def test_of_thousands_of_connections_a_few_are_open_at_a_time(health: Health) -> None:
    async with serving(health) as server:
        port = port_of(server)
        with flood("hold", HOST, port, "127.0.0.2"), flood("loris", HOST, port, "127.0.0.3"):
            await until(lambda: server.connections == 2 * health_server.HEALTH_CONNECTIONS_OF_ONE)
            most = max([server.connections for _ in range(10_000)])
        assert most == 2 * health_server.HEALTH_CONNECTIONS_OF_ONE
        enough = 2 * health_server.HEALTH_CONNECTIONS // health_server.HEALTH_CONNECTIONS_OF_ONE
        async with asyncio.timeout(PATIENCE):
            with contextlib.ExitStack() as held:
                counts = list[int]()
                # Who says nothing is closed after a while: on a slow machine more of them are needed.
                while len(counts) < enough or max(counts) < health_server.HEALTH_CONNECTIONS:
                    source = (f"127.0.1.{len(counts) % 250 + 1}", 0)
                    for _ in range(health_server.HEALTH_CONNECTIONS_OF_ONE):
                        made = socket.create_connection((HOST, port), timeout=PATIENCE, source_address=source)
                        held.enter_context(made)
                    await asyncio.sleep(0.01)
                    counts.append(server.connections)
                assert max(counts) == health_server.HEALTH_CONNECTIONS
                async with aiohttp.ClientSession(server.url) as http:
                    assert await ask(http, "/healthz") == (200, "ok\n")


async def test_the_metrics_are_those_that_the_outside_interface_names(health: Health, clock: SetClock) -> None:
    metrics = Metrics()
    metrics.registry.register(WatchAge(health.ages))
    clock.now += 7
    async with served(health, metrics.registry) as http:
        status, text = await ask(http, "/metrics")
    assert status == 200
    families = {line.split()[2]: line.split()[3] for line in text.splitlines() if line.startswith("# TYPE")}
    for name, kind in {
        "curation_jobs": "gauge",
        "curation_transitions_total": "counter",
        "curation_completions_total": "counter",
        "curation_run_duration_seconds": "histogram",
        "curation_runs_in_flight": "gauge",
        "curation_http_calls_total": "counter",
        "curation_policy_decision_seconds": "histogram",
        "curation_approvals": "gauge",
        "curation_approval_age_seconds": "gauge",
        "curation_api_requests_total": "counter",
        "curation_write_conflicts_total": "counter",
        "curation_queue_depth": "gauge",
        "curation_queue_latency_seconds": "histogram",
        "curation_reconcile_seconds": "histogram",
        "curation_abandoned_runs": "gauge",
        "curation_leader": "gauge",
        "curation_watch_age_seconds": "gauge",
    }.items():
        assert families.get(name) == kind, name
    assert 'curation_watch_age_seconds{resource="curationjobs"} 7.0' in text
    for phase in Phase:
        assert f'curation_jobs{{phase="{phase}"}} 0.0' in text
    for verdict in ("applied", "stale", "duplicate", "gone"):
        assert f'curation_completions_total{{verdict="{verdict}"}} 0.0' in text


async def test_no_series_says_when_another_one_began(health: Health) -> None:
    """`_created`, a series beside each counter and histogram, which nobody asks for and each server stores."""
    metrics = Metrics()
    metrics.completions.labels(verdict="applied").inc()
    metrics.queue_latency.observe(1)
    async with served(health, metrics.registry) as http:
        for accept in ("", "application/openmetrics-text; version=1.0.0"):
            async with http.get("/metrics", headers={"Accept": accept}) as answer:
                text = await answer.text()
            assert "curation_queue_latency_seconds_bucket" in text
            assert "_created" not in text
            assert list(text_string_to_metric_families(text))
