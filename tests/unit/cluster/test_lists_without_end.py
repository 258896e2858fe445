"""Lists whose pages bring nothing new, each with a token of its own: no progress, whatever they say."""

from typing import Any

import aiohttp
import pytest

from curation.cluster import watching as module
from curation.cluster.request_labels import describe
from curation.cluster.watching import Watching, _Place

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
