"""Events (events.k8s.io/v1): what ``kubectl describe`` shows. No caller waits for one, or fails because of one.

A few background tasks write them. The same event again within six minutes becomes a series: one object with a count.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

from cachetools import LRUCache

from curation.cluster.answers import Creation, Document, Exists, Refused, WriteAnswer
from curation.cluster.api import ClusterAPI
from curation.cluster.clock import ServerClock
from curation.cluster.event_limits import SpamFilter, fit
from curation.cluster.meaning import meaning
from curation.cluster.resources import EVENTS
from curation.cluster.writer import Writer
from curation.turns import Rotation

logger = logging.getLogger(__name__)

CONTROLLER: Final = "curation.dev/operator"
# client-go (tools/events) ends a series after this time without another one.
SERIES_SECONDS: Final = 360.0
# One namespace alone may have half of them.
CAPACITY: Final = 2048
REMEMBERED_EVENTS: Final = 4096
EVENT_ATTEMPTS: Final = 4
# One at a time is some 60 a second on a busy server: a burst of jobs would overrun the queue, and an event that has to
# be tried again would hold up all others.
WRITERS: Final = 4
# The Kubernetes validation of an Event: note in bytes, the others in characters; the name with its suffix in 253.
NOTE_BYTES: Final = 1024
WORD: Final = 128
NAME: Final = 230


@dataclass(slots=True, eq=False)
class _Series:
    """One event and its repetitions."""

    namespace: str
    document: Document
    last_seen: str
    last_written: float
    count: int = 1
    resource_version: str | None = None
    """Of the Event object, once it is there."""
    queued: bool = field(default=False)
    """It waits to be written, or is being written."""
    log_fields: Mapping[str, object] | None = None
    """Of a log line about it."""


class _SeriesQueue(asyncio.Queue[_Series]):
    """What is to be written: the namespaces take turns, and what one has waiting leaves room for others.

    A namespace alone may fill half of it, another one half of the rest, and so on. (asyncio.PriorityQueue is made by
    the same three methods.)
    """

    def _init(self, _maxsize: int) -> None:
        self._queue: Rotation[_Series] = Rotation()

    def _put(self, series: _Series) -> None:
        self._queue.add(series.namespace, series)

    def _get(self) -> _Series:
        found = self._queue.pop()
        assert found is not None
        return found[1]

    def has_room(self, namespace: str) -> bool:
        """Whether another one of this namespace may wait."""
        return self._queue.count(namespace) < CAPACITY - len(self._queue)


class _Remembered(LRUCache[tuple[str, ...], _Series]):
    """The series that may still be repeated. A key begins with the uid of the object, with which its series go."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._of: dict[str, set[tuple[str, ...]]] = {}

    def __setitem__(self, key: tuple[str, ...], series: _Series) -> None:
        super().__setitem__(key, series)
        self._of.setdefault(key[0], set()).add(key)

    def __delitem__(self, key: tuple[str, ...]) -> None:
        super().__delitem__(key)
        keys = self._of[key[0]]
        keys.discard(key)
        if not keys:
            del self._of[key[0]]

    def forget(self, uid: str) -> None:
        for key in tuple(self._of.get(uid, ())):
            del self[key]


class EventRecorder:
    """Records events in the background. `start` it within the loop, and `close` it at the end."""

    def __init__(
        self,
        api: ClusterAPI,
        writer: Writer,
        *,
        identity: str,
        clock: ServerClock,
        monotonic: Callable[[], float] = time.monotonic,
        retry_delay: float = 1.0,
    ) -> None:
        self._api = api
        self._writer = writer
        self._identity = identity[:WORD]
        self._clock = clock
        self._monotonic = monotonic
        self._retry_delay = retry_delay
        self._filter = SpamFilter(monotonic)
        self._series = _Remembered(REMEMBERED_EVENTS)
        self._queue = _SeriesQueue()
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self._refusing: LRUCache[str, None] = LRUCache(REMEMBERED_EVENTS)
        """Namespaces whose Events the API server refuses at present."""
        self.dropped = 0
        """Events lost to the rate limit or to a full queue."""

    def start(self) -> None:
        """Begin to write. What was recorded before waits in the queue."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._run(), name=f"event-recorder {n}") for n in range(WRITERS)]

    def record(
        self,
        regarding: Document,
        reason: str,
        message: str,
        *,
        action: str,
        type: Literal["Normal", "Warning"] = "Normal",  # noqa: A002 (the API's own name)
        log_fields: Mapping[str, object] | None = None,
        vital: bool = False,
        gone: bool = False,
    ) -> None:
        """Record an event about an object, which is given with its apiVersion, kind and metadata.

        Returns at once and never raises. Call it from the event loop's thread. One that cannot be written is logged,
        with the `log_fields`. A `vital` one, which the caller records only once, is written however many there were.
        Of one about an object that is `gone` nothing is remembered.
        """
        try:
            self._record(regarding, reason, message, action, type, log_fields, vital=vital, gone=gone)
        except Exception:
            logger.exception("Cannot record the event %s: %s", reason, message, extra=log_fields)

    def forget(self, uid: str) -> None:
        """The object is gone. What waits to be written about it is."""
        self._series.forget(uid)
        self._filter.forget(uid)

    def _record(
        self,
        regarding: Document,
        reason: str,
        message: str,
        action: str,
        event_type: str,
        log_fields: Mapping[str, object] | None,
        *,
        vital: bool,
        gone: bool,
    ) -> None:
        if self._closed:
            return
        if gone:
            only = self._begin(regarding, reason, message, action, event_type, self._monotonic())
            only.log_fields = log_fields
            self.dropped += not self._enqueue(only)
            return
        uid = str(regarding["metadata"]["uid"])
        key = (uid, event_type, reason, action, message)
        now, allowed = self._monotonic(), vital or self._filter.allows(uid)
        series = self._series.get(key)
        if series is not None and now - series.last_written <= SERIES_SECONDS:
            series.count += 1
            series.last_seen, series.last_written = _micro_time(self._clock.now()), now
        elif allowed:
            series = self._series[key] = self._begin(regarding, reason, message, action, event_type, now)
        if series is None:
            what = f"{reason} of {regarding['kind']} {regarding['metadata']['name']}: {message}"
            logger.warning("Too many events about one object: lost %s", what, extra=log_fields)
        else:
            series.log_fields = log_fields
        if series is None or not allowed or not self._enqueue(series):
            self.dropped += 1

    def _begin(
        self, regarding: Document, reason: str, message: str, action: str, event_type: str, now: float
    ) -> _Series:
        metadata, seen = regarding["metadata"], _micro_time(self._clock.now())
        # An Event lies in the namespace of its object, and in "default" for one that has none.
        namespace = metadata.get("namespace") or "default"
        reference = {
            "apiVersion": regarding["apiVersion"],
            "kind": regarding["kind"],
            "name": metadata["name"],
            "namespace": metadata.get("namespace"),
            "uid": metadata["uid"],
            "resourceVersion": metadata.get("resourceVersion"),
        }
        document: Document = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": _fresh_name(metadata["name"]), "namespace": namespace},
            "eventTime": seen,
            "reportingController": CONTROLLER,
            "reportingInstance": self._identity,
            "action": action[:WORD],
            "reason": reason[:WORD],
            "regarding": {key: value for key, value in reference.items() if value},
            "note": fit(message, NOTE_BYTES),
            "type": event_type,
        }
        return _Series(namespace, document, seen, now)

    def _enqueue(self, series: _Series) -> bool:
        if series.queued:
            return True
        if not self._queue.has_room(series.namespace):
            logger.warning("Too many events are waiting: lost %s", _line(series), extra=series.log_fields)
            return False
        self._queue.put_nowait(series)
        series.queued = True
        return True

    async def _run(self) -> None:
        while True:
            await self._write_next()

    async def _write_next(self) -> None:
        """Trap: not in the loop, which would hold the last one while it waits for the next."""
        series = await self._queue.get()
        written = series.count
        try:
            await self._write(series)
        except Exception:
            logger.exception("Cannot write the event %s", _line(series), extra=series.log_fields)
        finally:
            series.queued = False
            if series.count != written:
                self._enqueue(series)  # repeated meanwhile: no other task may write it before this one has
            self._queue.task_done()

    async def _write(self, series: _Series) -> None:
        problem = ""
        for attempt in range(EVENT_ATTEMPTS):
            if attempt:
                await asyncio.sleep(self._retry_delay * 2 ** (attempt - 1))
            first = series.resource_version is None
            answer = await self._create(series) if first else await self._repeat(series)
            meant = meaning(answer)
            if meant.obj is not None:
                self._refusing.pop(series.namespace, None)
                series.resource_version = meant.obj["metadata"]["resourceVersion"]
                return
            if isinstance(answer, Exists):
                # The name is ours alone: an earlier attempt was applied, and its answer was lost.
                _rename(series)
                return
            if meant.objection is not None:
                self._refused(series, meant.objection)
                return
            if meant.overtaken and not meant.lost:
                # It expired (after an hour), or the answer to a repetition was lost: go on with another object.
                # (The role of the operator lets it write Events, not read them.)
                _rename(series)
            else:
                problem = str(answer)
        line = _line(series)
        logger.warning(
            "Gave up an event after %d attempts (%s): %s", EVENT_ATTEMPTS, problem, line, extra=series.log_fields
        )

    def _refused(self, series: _Series, refused: Refused) -> None:
        """Say once for each namespace that it takes no Events (a quota, an admission policy); the log has them then."""
        if refused.code == 403 and "being terminated" in refused.message:
            line = _line(series)
            logger.info("The namespace is terminating and takes no event: %s", line, extra=series.log_fields)
            return
        reported = series.namespace in self._refusing
        self._refusing[series.namespace] = None
        if not reported:
            logger.warning(
                "The API server refuses events in namespace %s, which are only logged until it takes them: %s",
                series.namespace,
                refused.message,
                extra=series.log_fields,
            )
        logger.info("The event was refused: %s", _line(series), extra=series.log_fields)

    async def _create(self, series: _Series) -> Creation:
        repeated = {} if series.count == 1 else {"series": _series_block(series)}
        return await self._api.create(EVENTS, series.namespace, {**series.document, **repeated})

    async def _repeat(self, series: _Series) -> WriteAnswer:
        return await self._writer.patch(
            EVENTS,
            series.namespace,
            series.document["metadata"]["name"],
            resource_version=series.resource_version or "",
            body={"series": _series_block(series)},
            subresource=None,
        )

    async def close(self, timeout: float = 2.0) -> None:  # noqa: ASYNC109 (a bound of the flush, not of the caller)
        """Take no more, write what is waiting for at most ``timeout`` seconds, and end the tasks."""
        self._closed = True
        if not self._tasks:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._queue.join()
        if not self._queue.empty():
            logger.warning("Lost %d events at the end", self._queue.qsize())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()


def _series_block(series: _Series) -> Document:
    return {"count": series.count, "lastObservedTime": series.last_seen}


def _fresh_name(about: str) -> str:
    return f"{about[:NAME]}.{random.getrandbits(64):016x}"


def _rename(series: _Series) -> None:
    """Let the next write of it make another object."""
    name = _fresh_name(series.document["regarding"]["name"])
    series.document = {**series.document, "metadata": {**series.document["metadata"], "name": name}}
    series.resource_version = None


def _line(series: _Series) -> str:
    event = series.document
    about = event["regarding"]
    return f"{event['type']} {event['reason']} {about['kind']} {series.namespace}/{about['name']}: {event['note']}"


def _micro_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
