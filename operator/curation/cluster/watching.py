"""kopf's lists and watches, so that none of them stays silent for ever, or ends the operator over one bad answer.

A middleware of kopf's session. kopf continues a watch from the resourceVersion that it saw last. After a restore of
etcd that version may lie in the server's future: the watch opens, and delivers nothing. So before a watch continues,
this module reads how far the server is. If the server has gone back, what this process remembers is another history,
and the process has to end.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from curation.cluster.answers import MAX_WAIT, Failure, Unreachable
from curation.cluster.api import METADATA_ONLY
from curation.cluster.cache import revision
from curation.cluster.connection import Connection
from curation.cluster.request_labels import Asked, describe
from curation.cluster.watch_stream import Events, RefusedContent, WatchResponse

logger = logging.getLogger(__name__)

# After the first, the second... failure of a list or watch. kopf's own pause is 0.1 s.
BACKOFF: Final = (0.0, 1.0, 5.0, 15.0, 30.0)
CALM: Final = 120.0
# A watch that delivers nothing and ends as soon as this was refused by somebody who does not say so.
SHORT_SECONDS: Final = 1.0
# How often a list may begin anew and still count as progress before it gets further than ever.
BEGINNINGS: Final = 3
# A server that starts, or a proxy before it, may not know the path for a moment.
ABSENT_TRIES: Final = 3
ABSENT_PAUSE: Final = 1.0


@dataclass(slots=True)
class _Place:
    """What is known of one kind in one namespace (or in all)."""

    beginnings: int = 0
    """Of lists, since one was finished."""
    pages: int = 0
    """Of the list under way."""
    furthest: int = 0
    """Pages of the longest list since one was finished."""
    tokens: set[str] = field(default_factory=set)
    """Continue tokens of the list under way."""
    first_ones: set[str] = field(default_factory=set)
    """The uids with which its pages begin."""
    finished: int = 0
    """Lists that were finished."""
    fresh: int | None = None
    """The resourceVersion of a list that was finished, until its first watch is opened."""
    failures: int = 0
    failed_at: float = 0.0


class Watching:
    """What the lists and watches of one process have in common. Called by aiohttp with each request of kopf's.

    ``alive`` is called with resource and namespace when a list has come further; ``relisted`` with the resource when a
    list other than the first has begun: what was deleted before it, it does not show. ``lost`` is called with a
    sentence when the process has to end. ``take`` gets the resource and the objects of each page of a list, which kopf
    then does not see: it would hold a task for each of them at once. Without it they go to kopf's handlers.
    """

    def __init__(
        self,
        *,
        alive: Callable[[str, str], None] = lambda *_: None,
        relisted: Callable[[str], None] = lambda _: None,
        lost: Callable[[str], None] = logger.critical,
        take: Callable[[str, list[dict[str, Any]]], Awaitable[None]] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.take = take
        self._alive = alive
        self._relisted = relisted
        self._lost = lost
        self._monotonic = monotonic
        self._places: dict[tuple[str, str], _Place] = {}
        self._seen: dict[str, int] = {}
        """The highest resourceVersion of each resource."""

    def of(self, connection: Connection) -> aiohttp.ClientMiddlewareType:
        """The middleware for a session of this connection."""

        async def watch(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            asked = describe(request.method, connection.path_of(request.url), request.url.query)
            place = self._places.setdefault((asked.resource, asked.namespace), _Place())
            if asked.verb == "list":
                return await self._list(asked, place, request, handler, connection)
            if asked.verb == "watch":
                return await self._watch(asked, place, request, handler, connection)
            return await handler(request)

        return watch

    async def _list(
        self,
        asked: Asked,
        place: _Place,
        request: aiohttp.ClientRequest,
        handler: aiohttp.ClientHandlerType,
        connection: Connection,
    ) -> aiohttp.ClientResponse:
        first = "continue" not in request.url.query
        if first:
            place.beginnings += 1
            place.pages = 0
            place.tokens.clear()
            place.first_ones.clear()
        before = self._seen.get(asked.resource, -1)
        response = await self._answered(asked, place, request, handler)
        if response.status == 200:
            assert isinstance(response, WatchResponse)

            async def examine(page: dict[str, Any]) -> None:
                await self._examine(asked, place, page, before if first else -1)

            response.examine = examine
            return response
        if _kopf_repeats(response.status):
            return response
        # Trap: any other error than this one ends kopf, or makes it ask for the same page again and again.
        problem = await self._problem(asked, connection, connection.path_of(request.url), response)
        await self._failed(asked, place, f"the list of {asked.resource} begins again: {problem}")
        raise aiohttp.ClientPayloadError(problem)

    async def _examine(self, asked: Asked, place: _Place, page: dict[str, Any], before: int) -> None:
        metadata = page["metadata"]
        try:
            at = revision(str(metadata.get("resourceVersion")))
        except ValueError as error:
            raise aiohttp.ClientPayloadError(str(error)) from error
        if at < before:
            await self._end(went_back(asked.resource, before, at))
        token = str(metadata.get("continue") or "")
        # Pages are in order: none begins with the object that another one began with, whatever its token.
        begins_with = page["items"][0]["metadata"]["uid"] if page["items"] else ""
        if token and (token in place.tokens or begins_with in place.first_ones):
            problem = "it does not end: one of its pages leads back to an earlier one"
            await self._failed(asked, place, f"the list of {asked.resource} begins again: {problem}")
            raise aiohttp.ClientPayloadError(problem)
        place.tokens.add(token)
        place.first_ones |= {begins_with} - {""}
        place.pages += 1
        # A list that never comes further, though it begins again and again, is no progress; nor are pages of nothing.
        if page["items"] and (place.beginnings <= BEGINNINGS or place.pages > place.furthest):
            self._alive(asked.resource, asked.namespace)
        place.furthest = max(place.furthest, place.pages)
        if self.take is not None:
            items, page["items"] = page["items"], []
            await self.take(asked.resource, items)
        if not token:
            self.saw(asked.resource, at)
            place.fresh, place.beginnings, place.furthest = at, 0, 0
            place.finished += 1
            place.tokens.clear()
            place.first_ones.clear()
            if place.finished > 1:
                self._relisted(asked.resource)

    async def _watch(
        self,
        asked: Asked,
        place: _Place,
        request: aiohttp.ClientRequest,
        handler: aiohttp.ClientHandlerType,
        connection: Connection,
    ) -> aiohttp.ClientResponse:
        since = request.url.query.get("resourceVersion", "")
        # The first watch after a list goes on from what the server has just said.
        if since.isdigit() and int(since) != place.fresh:
            self.saw(asked.resource, int(since))
            await self._check_revision(asked, connection, connection.path_of(request.url))
        place.fresh = None
        response = await self._answered(asked, place, request, handler)
        opened = self._monotonic()

        async def failed(problem: str) -> None:
            await self._failed(asked, place, f"the watch of {asked.resource} begins again with a list: {problem}")

        def ended(received: bool) -> str | None:
            short = not received and self._monotonic() - opened < SHORT_SECONDS
            return "it was ended as soon as it was opened" if short else None

        if response.status == 200:
            response.content = Events(response.content, failed, ended)  # type: ignore[assignment]
            return response
        if _kopf_repeats(response.status):
            return response
        await failed(await self._problem(asked, connection, connection.path_of(request.url), response))
        response.content = RefusedContent(response.content)  # type: ignore[assignment]
        response.status = 200
        return response

    async def _answered(
        self, asked: Asked, place: _Place, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """The first answer that is no 429. Trap: kopf fails at a Retry-After that is a date, and sleeps a whole day."""
        while True:
            response = await handler(request)
            if response.status != 429:
                return response
            named = response.headers.get("Retry-After", "")
            response.close()
            await asyncio.sleep(min(max(float(named), 1.0), MAX_WAIT) if named.isdigit() else 1.0)

    async def _problem(self, asked: Asked, connection: Connection, path: str, response: aiohttp.ClientResponse) -> str:
        """What the server says; does not return when the kind itself is gone."""
        try:
            said = (await response.text())[:300].strip()
        except (aiohttp.ClientError, UnicodeDecodeError):
            said = ""
        if response.status == 404 and await self._absent(asked, connection, path):
            group = path.strip("/").split("/")[1]
            await self._end(
                f"the API server has no {asked.resource}.{group} any more: the CRD was removed; install the CRDs "
                "(curation-operator crds | kubectl apply --server-side -f -) and start the operator again"
            )
        return f"the server answered {response.status} {said}"

    async def _absent(self, asked: Asked, connection: Connection, path: str) -> bool:
        """Whether the server says itself that it does not serve the kind, for longer than a moment."""
        version = "/".join(path.strip("/").split("/")[:3])  # apis/GROUP/VERSION
        for _ in range(ABSENT_TRIES):
            try:
                found = await connection.send("GET", f"/{version}")
            except Unreachable:
                return False
            if isinstance(found, Failure):
                if found.code != 404:
                    return False
            elif any(served.get("name") == asked.resource for served in found.get("resources") or []):
                return False
            await asyncio.sleep(ABSENT_PAUSE)
        return True

    async def _check_revision(self, asked: Asked, connection: Connection, path: str) -> None:
        """Compare where the server is with what was seen of it. Does not return when it is behind."""
        before = self._seen.get(asked.resource, -1)
        try:
            # Without a resourceVersion in the request the answer is no older than the request.
            found = await connection.send("GET", path, query={"limit": "1"}, accept=METADATA_ONLY)
            if isinstance(found, Failure):
                return  # the watch itself will be answered so
            at = revision(found["metadata"]["resourceVersion"])
        except (Unreachable, ValueError, KeyError):
            return
        if at < before:
            await self._end(went_back(asked.resource, before, at))

    def saw(self, resource: str, at: int) -> None:
        """The server has been at this resourceVersion."""
        self._seen[resource] = max(at, self._seen.get(resource, -1))

    async def _end(self, sentence: str) -> None:
        """Report that the process has to end; does not return."""
        self._lost(sentence)
        await _for_ever()

    async def _failed(self, asked: Asked, place: _Place, message: str) -> None:
        """Log it, and wait, the longer the more often it has happened."""
        now = self._monotonic()
        if now - place.failed_at > CALM:
            place.failures = 0
        wait = BACKOFF[min(place.failures, len(BACKOFF) - 1)]
        place.failures, place.failed_at = place.failures + 1, now + wait
        logger.log(logging.WARNING if place.failures > 1 else logging.INFO, "%s", message)
        await asyncio.sleep(wait)


def went_back(resource: str, before: int, at: int) -> str:
    """The sentence that ends the process."""
    return (
        f"the API server has gone back in time: {resource} had resourceVersion {before} and has {at} now, as "
        "after a restore of etcd; what this process knows never happened there, so it ends, and its next start reads "
        "everything anew"
    )


def _kopf_repeats(status: int) -> bool:
    """kopf logs in again after a 401, and asks again after the others, with `_Backoffs`, for ever."""
    return status in (401, 403) or status >= 500


async def _for_ever() -> None:
    """Until it is cancelled, by the end of the process or by the request's timeout."""
    await asyncio.get_running_loop().create_future()
