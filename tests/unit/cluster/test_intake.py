"""A watch as it comes in: in whatever pieces, every event is cut, and what is no event is never passed over."""

import json
from collections.abc import AsyncIterator
from typing import Any, cast

import aiohttp
import pytest

from curation.cluster import intake
from curation.cluster.intake import Intake
from curation.cluster.resources import JOBS


class Content:
    """What the server sends, piece by piece."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    async def iter_any(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def change(name: str, **more: Any) -> bytes:
    meta = {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "1"}
    return json.dumps({"type": "ADDED", "object": {"metadata": meta, **more}}, separators=(",", ":")).encode() + b"\n"


async def taken_in(*pieces: bytes) -> list[str]:
    """The names of the objects that are taken in, and the codes of the errors."""
    content = Intake(cast(aiohttp.StreamReader, Content(*pieces)), JOBS, "watch")
    found = []
    async for line in content.iter_chunked(1):
        assert line.endswith(b"\n")
        event = json.loads(line)
        found.append(str(event["object"]["code"]) if event["type"] == "ERROR" else event["object"]["metadata"]["name"])
    return found


async def test_events_come_whole_in_whatever_pieces_they_are_sent() -> None:
    stream = change("a") + change("b") + change("c")
    for size in (1, 7, 100, len(stream)):
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert await taken_in(*pieces) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "line",
    [
        b"<html>\n",
        b"[1]\n",
        b'{"type":"ADDED"}\n',
        b'{"type":"ADDED","object":null}\n',
        b'{"type":"ADDED","object":{}}\n',
        b'{"type":"MODIFIED","object":{"metadata":{"name":"a\n',
        b'{"type":"DELETED","object":{"metadata":{"name":7,"uid":"u"}}}\n',
    ],
)
async def test_what_is_no_event_makes_the_watch_begin_anew(line: bytes) -> None:
    assert await taken_in(change("a"), line, change("b")) == ["a", "410", "b"]


async def test_an_event_longer_than_any_object_makes_the_watch_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_ANSWER", 1000)
    long = change("long", spec={"x": "y" * 2000})
    for size in (100, 999, len(long)):
        pieces = [long[at : at + size] for at in range(0, len(long), size)]
        assert await taken_in(change("a"), *pieces, change("b")) == ["a", "410", "b"]


async def test_what_was_cut_off_is_left_to_the_next_watch() -> None:
    assert await taken_in(change("a"), change("b")[:-10]) == ["a"]
