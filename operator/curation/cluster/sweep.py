"""The missed-delete sweep: finds objects that were deleted while nobody watched.

A watch that was broken for too long starts anew with a list, and a list does not show what is gone. So then, and now
and then, the metadata of all objects is listed and compared with the cache. It also shows that the server knows an
older version of an object than this process: after a restore of etcd that raises the revision, nothing else does.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from curation.cluster.answers import APIError, Unreachable
from curation.cluster.api import ClusterAPI
from curation.cluster.cache import Cache, Stored, revision
from curation.cluster.resources import JOBS, ResourceKind
from curation.cluster.watching import went_back
from curation.pauses import Pauses

logger = logging.getLogger(__name__)

# It is a net below the watch, not the way that deletions are learnt: at 10,000 jobs it costs 20 pages of metadata.
SWEEP_INTERVAL: Final = 600.0
# Of the other kinds there are few, and one that is gone counts until it is found: a policy, a grant.
FEW_INTERVAL: Final = 60.0
# A server whose watches fail is not to be listed at each failure.
WOKEN_PAUSE: Final = 5.0

Lost = Callable[[str], None]
"""Called with a sentence when this process has to end."""


def sweeps(
    api: ClusterAPI, caches: Mapping[ResourceKind, Cache], namespaces: Sequence[str], lost: Lost = logger.critical
) -> tuple["MissedDeleteSweep", ...]:
    """One for each kind; no namespaces mean all."""
    return tuple(
        MissedDeleteSweep(
            api,
            cache,
            namespaces=namespaces if namespaces and kind.namespaced else None,
            interval=SWEEP_INTERVAL if kind == JOBS else FEW_INTERVAL,
            lost=lost,
        )
        for kind, cache in caches.items()
    )


class MissedDeleteSweep:
    """Sweeps one kind, in the given namespaces, or in all when that is None."""

    def __init__(
        self,
        api: ClusterAPI,
        cache: Cache,
        *,
        namespaces: Sequence[str] | None,
        interval: float = SWEEP_INTERVAL,
        lost: Lost = logger.critical,
    ) -> None:
        self._api = api
        self._cache = cache
        self._namespaces: Sequence[str | None] = (None,) if namespaces is None else namespaces
        self._interval = interval
        self._lost = lost
        self._woken = asyncio.Event()

    @property
    def kind(self) -> ResourceKind:
        """The kind that it sweeps."""
        return self._cache.kind

    async def once(self) -> list[Stored]:
        """Sweep now; returns what turned out to be deleted. Raises `APIError` or `Unreachable`."""
        # Taken before the list: what is seen first during it may be newer than the list.
        known = list(self._cache)
        present: dict[str, int] = {}
        for namespace in self._namespaces:
            async for item in self._api.list_metadata(self._cache.kind, namespace):
                present[item["metadata"]["uid"]] = revision(item["metadata"]["resourceVersion"])
        # Of an object a list shows the version that it has then, or a newer one; never an older one.
        missing, pauses = [], Pauses()
        for stored in known:
            await pauses.pause()
            if stored.uid not in present:
                missing.append(stored)
            if (at := present.get(stored.uid, stored.resource_version)) < stored.resource_version:
                what = f"{self._cache.kind.plural} {stored.namespace}/{stored.name}"
                self._lost(went_back(what, stored.resource_version, at))
                return []
        return [stored for stored in missing if await self._is_deleted(stored)]

    async def _is_deleted(self, missing: Stored) -> bool:
        """A list may be older than the object (another replica of the server, a page of a moment ago): ask for it."""
        held = self._cache.get(missing.namespace, missing.name)
        if held is None or held.uid != missing.uid:
            return False
        found = await self._api.get(self._cache.kind, missing.namespace or None, missing.name)
        if found is not None and found["metadata"]["uid"] == missing.uid:
            return False
        if found is not None:
            return self._cache.put(found)
        return self._cache.forget(missing.namespace, missing.name, missing.uid)

    def wake(self) -> None:
        """Sweep soon: a watch has begun anew with a list."""
        self._woken.set()

    async def run(self) -> None:
        """Sweep for ever. A sweep that fails is logged, and the next one follows in its time."""
        while True:
            with suppress(TimeoutError):
                # Jitter: replicas and kinds that started together need not list together.
                async with asyncio.timeout(self._interval * random.uniform(0.8, 1.2)):  # noqa: S311 (spreads, no secret)
                    await self._woken.wait()
                    await asyncio.sleep(WOKEN_PAUSE)
            self._woken.clear()
            try:
                deleted = await self.once()
            except (APIError, Unreachable) as error:
                logger.warning("The sweep of %s failed: %s", self._cache.kind.plural, error)
                continue
            except Exception:
                # An answer that is no list must not end the only thing that finds what the watch has missed.
                logger.exception("The sweep of %s failed", self._cache.kind.plural)
                continue
            if deleted:
                names = ", ".join(f"{stored.namespace}/{stored.name}" for stored in deleted[:10])
                logger.warning(
                    "The watch missed the deletion of %d %s: %s", len(deleted), self._cache.kind.plural, names
                )
