"""/healthz fails when a watch hangs, the loop is blocked or the lease is lost; /readyz also before the first list."""

import asyncio

import pytest

from curation.cluster.request_labels import Asked
from curation.reconciler.process.handlers import WATCH_SECONDS
from curation.reconciler.runtime.health import LOOP_STALE_SECONDS, WATCH_STALE_SECONDS, Health
from testing.clock import SetClock


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def health(clock: SetClock) -> Health:
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


def test_a_watch_without_a_sign_of_life_for_long_is_stale(health: Health, clock: SetClock) -> None:
    clock.now += WATCH_STALE_SECONDS - 1
    health.seen("curationjobs")
    clock.now += 2
    beat(health)
    assert health.problems() == [f"the watch of curationmodules was last alive {WATCH_STALE_SECONDS + 1:.0f} s ago"]


def test_a_watch_that_the_server_ends_in_time_and_that_is_opened_again_is_healthy(
    health: Health, clock: SetClock
) -> None:
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
    health: Health, clock: SetClock, verb: str, resource: str, code: str
) -> None:
    """Nor do lists: those that are made now and then beside the watch come on time when it hangs."""
    health.request(Asked("watch", "curationmodules"), "200", 0.01)
    clock.now += WATCH_STALE_SECONDS + 1
    health.seen("curationjobs")
    beat(health)
    health.request(Asked(verb, resource), code, 0.01)
    assert [problem.split()[3] for problem in health.problems()] == ["curationmodules"]


def test_a_first_list_may_be_as_long_as_its_pages_come(health: Health, clock: SetClock) -> None:
    for _ in range(50):
        clock.now += WATCH_STALE_SECONDS - 1
        for resource in ("curationjobs", "curationmodules"):
            health.seen(resource)
        beat(health)
        assert health.problems() == []
    assert not health.synced


def test_a_watch_that_may_not_be_opened_is_stale_though_its_kind_is_listed_again_and_again(
    health: Health, clock: SetClock
) -> None:
    """By the sweep: a Role may have list and not watch."""
    until = clock.now + WATCH_STALE_SECONDS + 61
    while clock.now < until:
        clock.now += 60
        health.request(Asked("watch", "curationjobs"), "200", 0.01)
        health.request(Asked("watch", "curationmodules"), "403", 0.01)
        health.request(Asked("list", "curationmodules"), "200", 0.01)
    beat(health)
    assert [problem.split()[3] for problem in health.problems()] == ["curationmodules"]
    assert not health.synced


def test_one_namespaces_watch_does_not_hide_that_anothers_hangs(clock: SetClock) -> None:
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


def test_what_the_watch_of_all_namespaces_delivers_keeps_it_alive(health: Health, clock: SetClock) -> None:
    clock.now += 7
    health.seen("curationjobs", "a")
    assert health.ages() == {"curationjobs": 0, "curationmodules": 7}


def test_requests_for_kinds_that_are_not_watched_are_of_no_interest(health: Health) -> None:
    health.request(Asked("watch", "secrets"), "200", 0.01)
    assert sorted(health.ages()) == ["curationjobs", "curationmodules"]


def test_a_blocked_event_loop_is_unhealthy_until_it_turns_again(health: Health, clock: SetClock) -> None:
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
