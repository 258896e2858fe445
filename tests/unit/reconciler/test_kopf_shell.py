"""kopf watches and nothing else: no handler that it keeps state for, and settings under which it writes nothing."""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import kopf

from curation.api.names import GROUP, VERSION
from curation.cluster.cache import Cache
from curation.cluster.request_labels import describe
from curation.cluster.resources import JOBS, KINDS
from curation.cluster.watching import Watching
from curation.reconciler.process.handlers import WATCH_SECONDS, kopf_registry, kopf_settings, taking
from curation.reconciler.runtime.health import Health
from tests.unit.reconciler.disconnected import disconnected, document
from tests.unit.reconciler.virtual_time import in_virtual_time, loop


def handlers(registry: kopf.OperatorRegistry, family: str) -> list[Any]:
    return list(getattr(registry, family).get_all_handlers())


@in_virtual_time
async def test_each_kind_has_one_handler_that_watches_and_none_that_kopf_keeps_state_for(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        registry = kopf_registry(rig.context.api._connection, Watching(), rig.context.caches, Health(), ())
        watching = handlers(registry, "_watching")
        assert sorted(handler.selector.any_name for handler in watching) == sorted(k.plural for k in KINDS.values())
        assert {(handler.selector.group, handler.selector.version) for handler in watching} == {(GROUP, VERSION)}
        for family in ("_changing", "_spawning", "_indexing", "_webhooks"):
            assert handlers(registry, family) == [], f"{family} handlers write, block or do not scale"


@in_virtual_time
async def test_each_watch_is_expected_by_the_place_that_its_requests_name(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        for namespaces in ((), ("a", "b")):
            health = Health(loop().time)
            kopf_registry(rig.context.api._connection, Watching(), rig.context.caches, health, namespaces)
            await asyncio.sleep(7)
            for kind in KINDS.values():
                for namespace in namespaces or (None,):
                    assert health.ages()[kind.plural] == 7
                    path = kind.path(namespace if kind.namespaced else None)
                    health.request(describe("GET", path, {"watch": "true"}), "200", 0.0)
                    if not kind.namespaced:
                        break
                assert health.ages()[kind.plural] == 0


@in_virtual_time
async def test_a_handler_records_what_was_seen_and_answers_nothing(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        cache, health = Cache(JOBS), Health()
        registry = kopf_registry(rig.context.api._connection, Watching(), {JOBS: cache}, health, ())
        (handler,) = handlers(registry, "_watching")
        patch: dict[str, Any] = {}
        for kind in (None, "ADDED", "MODIFIED"):
            event = {"type": kind, "object": document(version=5)}
            assert await handler.fn(event=event, patch=patch, body={}, logger=None) is None
        stored = cache.get("ns", "job")
        assert stored is not None
        assert stored.resource_version == 5
        assert await handler.fn(event={"type": "DELETED", "object": document(version=6)}, patch=patch) is None
        assert cache.get("ns", "job") is None
        assert patch == {}
        assert list(health.ages()) == ["curationjobs"]


async def test_the_objects_of_a_list_go_into_the_cache_and_a_bad_one_keeps_no_other_from_it() -> None:
    cache = Cache(JOBS)
    bad = document("bad")
    bad["metadata"]["resourceVersion"] = "v1"
    await taking({JOBS: cache})("curationjobs", [document("a"), bad, document("b")])
    assert sorted(stored.name for stored in cache) == ["a", "b"]


def test_under_its_settings_kopf_writes_nothing() -> None:
    settings = kopf_settings()
    assert not settings.posting.enabled
    assert settings.peering.standalone
    assert settings.scanning.disabled
    body: Any = kopf.Body(document())
    patch = kopf.Patch()
    progress, diffbase = settings.persistence.progress_storage, settings.persistence.diffbase_storage
    record: Any = {"started": "now"}
    name: Any = "handler"
    progress.store(key=name, record=record, body=body, patch=patch)
    progress.touch(body=body, patch=patch, value="now")
    progress.purge(key=name, body=body, patch=patch)
    essence = diffbase.build(body=body)
    diffbase.store(body=body, patch=patch, essence=essence)
    assert dict(patch) == {}
    assert progress.fetch(key=name, body=body) is None
    assert diffbase.fetch(body=body) is None


def test_it_never_gives_up_a_watch_and_never_waits_long() -> None:
    settings = kopf_settings()
    assert not isinstance(settings.networking.error_backoffs, float | int)
    first = list(itertools.islice(settings.networking.error_backoffs, 1000))
    again = list(itertools.islice(settings.networking.error_backoffs, 1000))
    assert len(first) == 1000
    assert first == again, "each retry loop begins anew"
    assert max(first) <= 10
    assert min(first) > 0


def test_a_watch_that_hangs_is_given_up_soon_after_the_server_should_have_ended_it() -> None:
    settings = kopf_settings()
    assert settings.watching.server_timeout == WATCH_SECONDS
    for limit in (settings.watching.client_timeout, settings.watching.inactivity_timeout):
        assert limit is not None
        assert WATCH_SECONDS < limit <= WATCH_SECONDS + 15
    assert settings.queueing.worker_limit is None, "a limit makes one slow object hold up all others"
    assert settings.queueing.idle_timeout > 0, "0 busy-loops"
