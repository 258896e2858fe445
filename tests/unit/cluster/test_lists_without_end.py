"""What of a list is progress: each page that brings something, however long all take; not one that brings nothing."""

import asyncio
from typing import Any

import aiohttp
import pytest

from curation.cluster import watching as module
from curation.cluster.request_labels import describe
from curation.cluster.watching import Watching, _Place
from curation.reconciler.runtime.health import WATCH_STALE_SECONDS, Health

LIST = describe("GET", "/apis/curation.dev/v1alpha1/curationjobs", {"limit": "500"})


def page(number: int, *uids: str) -> dict[str, Any]:
    items = [{"metadata": {"name": uid, "uid": uid, "resourceVersion": "1"}} for uid in uids]
    return {"metadata": {"resourceVersion": "1", "continue": f"token-{number}"}, "items": items}


async def test_a_page_that_begins_as_an_earlier_one_ends_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF", (0.0,))
    alive: list[str] = []
    watching, place = Watching(alive=lambda *place: alive.append(place[0])), _Place()
    await watching._examine(LIST, place, page(1, "a", "b"), -1)
    await watching._examine(LIST, place, page(2, "c", "d"), -1)
    with pytest.raises(aiohttp.ClientPayloadError, match="does not end"):
        await watching._examine(LIST, place, page(3, "a", "b"), -1)
    assert alive == ["curationjobs"] * 2


async def test_pages_of_nothing_are_no_progress() -> None:
    alive: list[str] = []
    watching, place = Watching(alive=lambda *place: alive.append(place[0])), _Place()
    for number in range(10):
        await watching._examine(LIST, place, page(number), -1)
    assert alive == []


async def test_a_first_list_that_takes_an_hour_and_expires_in_its_middle_is_healthy_all_the_time() -> None:
    """As of 100,000 jobs from a server that is slow: a start that comes further is not to be restarted for it."""
    now = 0.0
    health = Health(lambda: now)
    health.expect("curationjobs")
    watching, place = Watching(alive=health.seen), _Place()

    async def come(number: int) -> None:
        nonlocal now
        now += WATCH_STALE_SECONDS - 5
        await health_beats(health)
        await watching._examine(LIST, place, page(number, f"a-{number}"), -1)
        assert health.problems() == []

    for beginning in range(2):
        place.beginnings, place.pages = beginning + 1, 0
        place.tokens.clear()
        place.first_ones.clear()
        for number in range(50 if beginning else 20):
            await come(number)
    now += WATCH_STALE_SECONDS + 1
    await health_beats(health)
    assert health.problems() != [], "a list that has stopped is not progress"
    assert not health.synced


async def health_beats(health: Health) -> None:
    beat = asyncio.create_task(health.beat())
    await asyncio.sleep(0)
    beat.cancel()


async def test_what_a_list_shows_is_taken_past_kopf() -> None:
    taken: list[tuple[str, list[str]]] = []

    async def take(resource: str, objects: list[dict[str, Any]]) -> None:
        taken.append((resource, [each["metadata"]["name"] for each in objects]))

    first = page(1, "a", "b")
    await Watching(take=take)._examine(LIST, _Place(), first, -1)
    assert taken == [("curationjobs", ["a", "b"])]
    assert first["items"] == []
    assert first["metadata"]["continue"] == "token-1", "kopf goes on with the list by it"
