"""The objects of one kind as they change: a list, and then a watch, again and again.

For a program that shows objects, which may be late, and for the Jobs and pods of guests, which are few and our own.
The watches of our own kinds are kopf's: what is decided by those must never be older than what was seen.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import aiohttp

from curation.cluster.answers import APIError, Document, Unreachable
from curation.cluster.connection import Connection
from curation.cluster.paging import pages
from curation.cluster.resources import ResourceKind

WATCH_SECONDS: Final = 240
"""After which the server ends a watch, and another one goes on from there."""
SILENCE_SECONDS: Final = 90.0
"""A bookmark comes each minute: a connection that says nothing for longer is dead."""
PAUSES: Final = (1.0, 30.0)
"""The first and the longest pause after a failure."""
BETWEEN_SECONDS: Final = 0.5
"""Between two watches: a server may end each at once."""
MAX_LINE: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Listed:
    """All objects there are; what was known before is forgotten."""

    objects: list[Document]


@dataclass(frozen=True, slots=True)
class Changed:
    """One object is there in this version, or is gone."""

    object: Document
    gone: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """The objects cannot be seen at present. It is tried again."""

    forbidden: bool
    message: str


async def follow(
    connection: Connection, kind: ResourceKind, namespace: str | None, *, label_selector: str = ""
) -> AsyncIterator[Listed | Changed | Failed]:
    """Without end. `namespace` None: all of them, or a kind of the cluster. No selector: whatever their labels."""
    pause, chosen = PAUSES[0], {"labelSelector": label_selector} if label_selector else {}
    while True:
        try:
            objects, at = await _listed(connection, kind, namespace, chosen)
            yield Listed(objects)
            pause = PAUSES[0]
            async with connection.new_session() as session:
                while True:
                    async for change in _watched(session, connection, kind, namespace, at, chosen):
                        yield change
                    await asyncio.sleep(BETWEEN_SECONDS)
        except _Expired:
            continue
        except APIError as error:
            yield Failed(error.code == 403, error.message or error.reason)
        except (Unreachable, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            yield Failed(False, str(error) or type(error).__name__)
        await asyncio.sleep(pause)
        pause = min(2 * pause, PAUSES[1])


class _Expired(Exception):
    """The server's history does not go back so far: list again."""


@dataclass(slots=True)
class _Position:
    """The resourceVersion to go on from."""

    version: str


async def _listed(
    connection: Connection, kind: ResourceKind, namespace: str | None, chosen: dict[str, str]
) -> tuple[list[Document], _Position]:
    found, version = list[Document](), ""
    try:
        async for page in pages(connection, kind, namespace, query=chosen, snapshot=True):
            found += page.items
            version = page.version
    except APIError as error:
        if error.code == 410:
            raise _Expired from None
        raise
    return found, _Position(version)


async def _watched(
    session: aiohttp.ClientSession,
    connection: Connection,
    kind: ResourceKind,
    namespace: str | None,
    at: _Position,
    chosen: dict[str, str],
) -> AsyncIterator[Changed]:
    """Each change until the server ends the watch; `at` moves on with it."""
    query = {
        **chosen,
        "watch": "1",
        "resourceVersion": at.version,
        "allowWatchBookmarks": "true",
        "timeoutSeconds": str(WATCH_SECONDS),
    }
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE_SECONDS)
    async with session.get(connection.server + kind.path(namespace), params=query, timeout=timeout) as answer:
        if answer.status == 410:
            raise _Expired
        if answer.status != 200:
            raise APIError(answer.status, answer.reason or "", (await answer.text())[:1000])
        async for line in _lines(answer.content):
            event = json.loads(line)
            found = event["object"]
            if event["type"] == "ERROR":
                if found.get("code") == 410:
                    raise _Expired
                raise ValueError(f"the watch ended: {found.get('message', '')}")
            at.version = str(found["metadata"]["resourceVersion"])
            if event["type"] != "BOOKMARK":
                yield Changed(found, event["type"] == "DELETED")


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    rest = bytearray()
    async for chunk in content.iter_any():
        rest += chunk
        if len(rest) > MAX_LINE:
            raise ValueError("an event of the watch is too large")
        *whole, last = bytes(rest).split(b"\n")
        rest = bytearray(last)
        for line in whole:
            if line:
                yield line
