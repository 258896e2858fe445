"""kopf, used in its level-triggered style: a handler records what was seen and nothing else.

Each setting answers something that was measured (docs/adr/0001). No change handlers, no return values, no patches,
no indices, no daemons: kopf then writes nothing, and all that matters happens in the caches' listeners and the queue.
"""

import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

import kopf

from curation.api.names import GROUP, VERSION
from curation.cluster.cache import Cache
from curation.cluster.connection import Connection
from curation.cluster.kopf_login import kopf_login
from curation.cluster.resources import ResourceKind
from curation.cluster.watching import Watching
from curation.pauses import Pauses
from curation.reconciler.runtime.health import Health

log = logging.getLogger(__name__)

WATCH_SECONDS = 45
"""The server ends a watch after this; that it can be opened again is what /healthz goes by."""


class _Backoffs(Iterable[float]):
    """Never gives up: kopf takes the end of this iterable for the end of its retries."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.2, 0.5, 1, 2, 3, 5), itertools.repeat(10))


class _NoProgress(kopf.ProgressStorage):
    """Change handlers keep their progress in annotations; we have none."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


class _NoDiffBase(kopf.DiffBaseStorage):
    """Change handlers keep the last seen state in an annotation; we have none."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        # kopf's own makes a deep copy of each object that it sees: 5% of the operator's time in a burst.
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


def kopf_settings() -> kopf.OperatorSettings:
    """kopf as a watcher that writes nothing."""
    settings = kopf.OperatorSettings()
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = 1.0  # 0 busy-loops
    settings.queueing.exit_timeout = 0.5
    settings.scanning.disabled = True
    settings.watching.chunk_size = 500
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + 10
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = WATCH_SECONDS + 10
    settings.networking.error_backoffs = _Backoffs()
    settings.networking.request_timeout = 60
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.persistence.progress_storage = _NoProgress()
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.process.ultimate_exiting_timeout = None
    return settings


def kopf_registry(
    connection: Connection,
    watching: Watching,
    caches: dict[ResourceKind, Cache],
    health: Health,
    namespaces: Sequence[str],
) -> kopf.OperatorRegistry:
    """One handler for each kind: what was seen goes into the kind's cache, whose listeners do the rest.

    No namespaces mean all, with one watch for each kind.
    """
    registry = kopf.OperatorRegistry()

    async def login(**_: Any) -> kopf.AiohttpSession:
        return await kopf_login(connection, watching)

    kopf.on.login(registry=registry)(login)
    for kind, cache in caches.items():
        for namespace in (namespaces if kind.namespaced else ()) or ("",):
            health.expect(kind.plural, namespace)
        _watch(registry, kind, cache, health)
    return registry


def _watch(registry: kopf.OperatorRegistry, kind: ResourceKind, cache: Cache, health: Health) -> None:
    async def seen(event: Any, **_: Any) -> None:
        obj = dict(event["object"])
        if event["type"] is not None:  # what a list shows, it may show again and again
            health.seen(kind.plural, obj["metadata"].get("namespace", ""))
        if event["type"] == "DELETED":
            cache.delete(obj)
        else:
            cache.put(obj)

    kopf.on.event(GROUP, VERSION, kind.plural, registry=registry)(seen)


def taking(caches: dict[ResourceKind, Cache]) -> Callable[[str, list[dict[str, Any]]], Awaitable[None]]:
    """What a list shows goes into the caches page by page, past kopf (see `Watching`)."""
    by_resource = {kind.plural: cache for kind, cache in caches.items()}

    async def take(resource: str, objects: list[dict[str, Any]]) -> None:
        pauses = Pauses()
        for obj in objects:
            try:
                by_resource[resource].put(obj)
            except Exception:
                # What is raised here ends kopf, and one that cannot be taken in keeps no other from it.
                log.exception("an object of the list of %s could not be taken in", resource)
            await pauses.pause()

    return take
