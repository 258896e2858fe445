"""/healthz fails when a watch hangs, the loop is blocked or the lease is lost; /readyz also before the first list."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from curation.api.names import Phase
from curation.cluster.requests import Asked
from curation.reconciler.handlers import WATCH_SECONDS
from curation.reconciler.health import FIRST_LIST_SECONDS, LOOP_STALE_SECONDS, WATCH_STALE_SECONDS, Health, HealthServer
from curation.reconciler.metrics import Metrics, WatchAge
from tests.unit.reconciler.virtual_time import in_virtual_time, loop


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    made = Health(clock)
    made.expect("curationjobs")
    made.expect("curationmodules")
    return made


async def turn(health: Health) -> None:
    """Let the beating task turn once."""
    beating = asyncio.create_task(health.beat())
    await asyncio.sleep(0)
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


def beat(health: Health) -> None:
    """The event loop turns once."""
    asyncio.run(turn(health))


def test_a_watch_that_is_not_heard_of_for_long_is_stale(health: Health, clock: Clock) -> None:
    clock.now += WATCH_STALE_SECONDS - 1
    health.seen("curationjobs")
    clock.now += 2
    beat(health)
    assert health.problems() == [f"the watch of curationmodules was last alive {WATCH_STALE_SECONDS + 1:.0f} s ago"]


def test_a_watch_that_the_server_ends_in_time_and_that_is_opened_again_is_healthy(health: Health, clock: Clock) -> None:
    for _ in range(10):
        clock.now += WATCH_SECONDS
        for resource in ("curationjobs", "curationmodules"):
            health.request(Asked("watch", resource), "200", 0.01)
        beat(health)
        assert health.problems() == []
    assert WATCH_STALE_SECONDS > WATCH_SECONDS


@pytest.mark.parametrize(
    ("verb", "resource", "code"),
    [
        ("watch", "curationmodules", "403"),
        ("watch", "curationmodules", "<error>"),
        ("get", "curationmodules", "200"),
        ("patch", "curationmodules/status", "200"),
        ("watch", "curationjobs", "200"),
        ("list", "curationmodules", "403"),
        ("list", "curationmodules", "200"),
    ],
)
def test_no_other_request_keeps_a_watch_alive(
    health: Health, clock: Clock, verb: str, resource: str, code: str
) -> None:
    """Nor do lists: those that are made now and then beside the watch come on time when it hangs."""
    health.request(Asked("watch", "curationmodules"), "200", 0.01)
    clock.now += WATCH_STALE_SECONDS + 1
    health.seen("curationjobs")
    beat(health)
    health.request(Asked(verb, resource), code, 0.01)
    assert [problem.split()[3] for problem in health.problems()] == ["curationmodules"]


def test_a_first_list_may_be_as_long_as_its_pages_come(health: Health, clock: Clock) -> None:
    for _ in range(5):
        clock.now += WATCH_STALE_SECONDS - 1
        for resource in ("curationjobs", "curationmodules"):
            health.request(Asked("list", resource), "200", 0.01)
        beat(health)
        assert health.problems() == []


def test_a_watch_that_may_not_be_opened_is_stale_though_its_kind_is_listed_again_and_again(
    health: Health, clock: Clock
) -> None:
    """By the sweep: a Role may have list and not watch."""
    until = clock.now + FIRST_LIST_SECONDS + WATCH_STALE_SECONDS + 61
    while clock.now < until:
        clock.now += 60
        health.request(Asked("watch", "curationjobs"), "200", 0.01)
        health.request(Asked("watch", "curationmodules"), "403", 0.01)
        health.request(Asked("list", "curationmodules"), "200", 0.01)
    beat(health)
    assert [problem.split()[3] for problem in health.problems()] == ["curationmodules"]
    assert not health.synced


def test_one_namespaces_watch_does_not_hide_that_anothers_hangs(clock: Clock) -> None:
    health = Health(clock)
    for namespace in ("a", "b"):
        health.expect("curationjobs", namespace)
    clock.now += WATCH_STALE_SECONDS + 1
    beat(health)
    health.request(Asked("watch", "curationjobs", "a"), "200", 0.01)
    health.seen("curationjobs", "a")
    assert health.ages() == {"curationjobs": WATCH_STALE_SECONDS + 1}
    assert len(health.problems()) == 1
    assert not health.synced
    health.request(Asked("watch", "curationjobs", "b"), "200", 0.01)
    assert health.problems() == []
    assert health.synced


def test_what_the_watch_of_all_namespaces_delivers_keeps_it_alive(health: Health, clock: Clock) -> None:
    clock.now += 7
    health.seen("curationjobs", "a")
    assert health.ages() == {"curationjobs": 0, "curationmodules": 7}


def test_requests_for_kinds_that_are_not_watched_are_of_no_interest(health: Health) -> None:
    health.request(Asked("watch", "secrets"), "200", 0.01)
    assert sorted(health.ages()) == ["curationjobs", "curationmodules"]


def test_a_blocked_event_loop_is_unhealthy_until_it_turns_again(health: Health, clock: Clock) -> None:
    clock.now += LOOP_STALE_SECONDS + 5
    for resource in ("curationjobs", "curationmodules"):
        health.seen(resource)
    assert health.problems() == [f"the event loop was blocked for {LOOP_STALE_SECONDS + 5:.0f} s"]
    beat(health)
    assert health.problems() == []


def test_a_replica_that_has_never_led_is_healthy_and_one_that_lost_the_lease_is_not(health: Health) -> None:
    leads = False
    health.leading = lambda: leads
    assert health.problems() == []
    leads = True
    assert health.problems() == []
    leads = False
    assert health.problems() == ["the lease was lost"]
    assert health.problems() == ["the lease was lost"], "it stays lost"


def test_it_is_synced_once_all_kinds_are_watched(health: Health) -> None:
    health.request(Asked("watch", "curationjobs"), "200", 0)
    health.request(Asked("list", "curationmodules"), "200", 0)
    health.request(Asked("watch", "curationmodules"), "403", 0)
    assert not health.synced
    health.request(Asked("watch", "curationmodules"), "200", 0)
    assert health.synced


@asynccontextmanager
async def serving(health: Health, metrics: Metrics | None = None) -> AsyncIterator[HealthServer]:
    server = HealthServer(health, (metrics or Metrics()).registry)
    await server.start("127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def served(health: Health, metrics: Metrics) -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(health, metrics) as server, aiohttp.ClientSession(server.url) as http:
        yield http


async def ask(http: aiohttp.ClientSession, path: str) -> tuple[int, str]:
    async with http.get(path) as answer:
        return answer.status, await answer.text()


@in_virtual_time
async def test_a_loop_that_turns_is_healthy_from_the_first_answer_on_however_long_the_start_takes() -> None:
    health = Health(loop().time)
    async with served(health, Metrics()):
        await asyncio.sleep(10 * LOOP_STALE_SECONDS)
        assert health.problems() == []


@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("first_is_cancelled", [False, True])
async def test_a_close_during_another_one_ends_with_it(health: Health, turns: int, first_is_cancelled: bool) -> None:
    """The loss of the lease closes it, and so does the end of the process, at whatever step of the first that falls."""
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


async def test_the_probes_say_what_is_wrong(health: Health, clock: Clock) -> None:
    async with served(health, Metrics()) as http:
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


async def test_the_metrics_are_those_that_the_outside_interface_names(health: Health, clock: Clock) -> None:
    metrics = Metrics()
    metrics.registry.register(WatchAge(health.ages))
    clock.now += 7
    async with served(health, metrics) as http:
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
