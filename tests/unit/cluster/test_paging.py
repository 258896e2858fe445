"""The one loop over the pages of a list: how it ends, and what a snapshot does that another list does not."""

from typing import Any

import pytest

from curation.cluster import paging
from curation.cluster.answers import APIError, Document, Failure, Unreachable
from curation.cluster.api import ClusterAPI
from curation.cluster.follow import Failed, Listed, follow
from curation.cluster.paging import pages
from curation.cluster.resources import JOBS

EXPIRED = Failure(410, "Expired", "too old", None, {}, {"continue": "anew"})


def page(*uids: str, token: str = "", version: str = "7") -> Document:
    items = [{"metadata": {"name": uid, "uid": uid}} for uid in uids]
    return {"metadata": {"resourceVersion": version, **({"continue": token} if token else {})}, "items": items}


class Server:
    """Answers each request for a page with the next of these."""

    def __init__(self, *answers: Document | Failure) -> None:
        self.answers = list(answers)
        self.tokens: list[str] = []

    async def send(self, _method: str, _path: str, *, query: dict[str, str], **_: Any) -> Document | Failure:
        self.tokens.append(query.get("continue", ""))
        return self.answers.pop(0)


async def uids(server: Any, **options: Any) -> list[str]:
    found = pages(server, JOBS, None, **options)
    return [item["metadata"]["uid"] async for each in found for item in each.items]


async def test_the_pages_follow_each_other_by_their_tokens() -> None:
    server = Server(page("a", token="t1"), page("b", token="t2"), page("c"))
    assert await uids(server) == ["a", "b", "c"]
    assert server.tokens == ["", "t1", "t2"]


async def test_a_list_that_outlives_the_history_goes_on_from_the_present_unless_it_is_a_snapshot() -> None:
    server = Server(page("a", token="t1"), EXPIRED, page("b"))
    assert await uids(server) == ["a", "b"]
    assert server.tokens == ["", "t1", "anew"]
    with pytest.raises(APIError) as error:
        await uids(Server(page("a", token="t1"), EXPIRED), snapshot=True)
    assert error.value.code == 410
    with pytest.raises(APIError):
        await uids(Server(page("a", token="t1"), EXPIRED, EXPIRED))


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([page("a", token="t"), page("b", token="t"), page("c")], id="the same token again"),
        pytest.param(
            [page("a", token="1"), page("b", token="2"), page("a", token="3"), page("c")], id="an earlier page"
        ),
        pytest.param([page(token=str(number)) for number in range(paging.EMPTY_PAGES + 2)], id="pages of nothing"),
    ],
)
async def test_a_list_without_end_is_given_up(answers: list[Document]) -> None:
    with pytest.raises(Unreachable, match="does not end"):
        await uids(Server(*answers))


async def test_whoever_follows_objects_begins_the_list_again_rather_than_to_miss_a_change() -> None:
    server: Any = Server(page("a", token="t1"), EXPIRED, page("a", token="t1"), page("b", version="9"))
    changes = follow(server, JOBS, None)
    first = await anext(changes)
    await changes.aclose()  # type: ignore[attr-defined]
    assert isinstance(first, Listed)
    assert [each["metadata"]["uid"] for each in first.objects] == ["a", "b"]
    assert server.tokens == ["", "t1", "", "t1"]


async def test_whoever_follows_objects_is_told_of_a_list_without_end() -> None:
    server: Any = Server(page("a", token="t"), page("b", token="t"))
    changes = follow(server, JOBS, None)
    first = await anext(changes)
    await changes.aclose()  # type: ignore[attr-defined]
    assert isinstance(first, Failed)
    assert "does not end" in first.message


async def test_a_list_is_begun_again_when_it_has_expired_for_good() -> None:
    gone = Failure(410, "Expired", "too old", None, {}, {})
    server: Any = Server(page("a", token="t1"), gone, page("a"))
    assert [item["metadata"]["uid"] for item in await ClusterAPI(server).list(JOBS)] == ["a"]
