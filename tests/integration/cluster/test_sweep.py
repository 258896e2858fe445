"""The missed-delete sweep: what nobody watched is found, and nothing is taken for deleted that is not."""

import asyncio
from pathlib import Path

import pytest

from curation.cluster import sweep as module
from curation.cluster.answers import Created, Unreachable
from curation.cluster.cache import Cache, Stored
from curation.cluster.resources import JOBS, KINDS, MODULES, POLICIES
from curation.cluster.sweep import MissedDeleteSweep, sweeps
from testing.controlplane.connection import Connection as Server
from tests.faults.proxy import FaultProxy, answered, held_answer, reset

from .conftest import PATIENCE, Client, client

EMPTY_LIST = '{"kind": "PartialObjectMetadataList", "metadata": {}, "items": []}'


async def known(cluster: Client, *names: str) -> Cache:
    cache = Cache(JOBS)
    for name in names:
        cache.put(await cluster.create_job(name))
    return cache


async def test_a_missed_deletion_is_found_and_listeners_are_notified(cluster: Client) -> None:
    cache = await known(cluster, "a", "b")
    notified: list[tuple[Stored | None, Stored | None]] = []
    cache.listen(lambda old, new: notified.append((old, new)))
    await cluster.destroy_job("a")
    for namespaces in ([cluster.namespace], None):
        sweep = MissedDeleteSweep(cluster.api, cache, namespaces=namespaces)
        deleted = await sweep.once()
        assert [stored.name for stored in deleted] == (["a"] if namespaces else [])
    assert [(old.name if old else None, new) for old, new in notified] == [("a", None)]
    assert [stored.name for stored in cache] == ["b"]


async def test_a_missed_replacement_is_found_and_the_new_object_is_known(cluster: Client) -> None:
    cache = await known(cluster, "a")
    await cluster.destroy_job("a")
    second = await cluster.create_job("a")
    deleted = await MissedDeleteSweep(cluster.api, cache, namespaces=[cluster.namespace]).once()
    assert [stored.uid != second["metadata"]["uid"] for stored in deleted] == [True]
    stored = cache.get(cluster.namespace, "a")
    assert stored is not None
    assert stored.uid == second["metadata"]["uid"]


async def test_an_absence_in_a_list_alone_deletes_nothing(installed: Server, cluster: Client, tmp_path: Path) -> None:
    cache = await known(cluster, "a")
    async with FaultProxy(installed.kubeconfig()) as proxy:
        proxy.inject(answered(200, "GET", "limit=", body=EMPTY_LIST))
        async with client(proxy.kubeconfig(tmp_path), cluster.namespace) as beyond:
            assert await MissedDeleteSweep(beyond.api, cache, namespaces=None).once() == []
    assert len(cache) == 1


async def test_a_sweep_that_cannot_list_or_confirm_deletes_nothing(
    installed: Server, cluster: Client, tmp_path: Path
) -> None:
    cache = await known(cluster, "a")
    unlisted, unconfirmed = reset("GET", times=None), reset("GET", "/curationjobs/a", times=None)
    async with FaultProxy(installed.kubeconfig()) as proxy:
        for faults in ([unlisted], [answered(200, "GET", "limit=", body=EMPTY_LIST), unconfirmed]):
            proxy.heal()
            for fault in faults:
                proxy.inject(fault)
            async with client(proxy.kubeconfig(tmp_path), cluster.namespace) as beyond:
                with pytest.raises(Unreachable):
                    await MissedDeleteSweep(beyond.api, cache, namespaces=None).once()
            assert all(fault.hits for fault in faults)
    assert len(cache) == 1


async def test_an_object_that_is_seen_first_while_the_list_is_made_stays(
    installed: Server, cluster: Client, tmp_path: Path
) -> None:
    """The list may be older than it; it is not even asked for."""
    cache = await known(cluster)
    async with FaultProxy(installed.kubeconfig()) as proxy:
        fault = proxy.inject(held_answer("GET", "limit="))
        async with client(proxy.kubeconfig(tmp_path), cluster.namespace) as beyond:
            sweeping = asyncio.create_task(MissedDeleteSweep(beyond.api, cache, namespaces=None).once())
            await asyncio.wait_for(fault.reached.wait(), PATIENCE)
            cache.put(await cluster.create_job("a"))
            fault.release()
            assert await sweeping == []
        assert len(proxy.exchanges) == 1
    assert [stored.name for stored in cache] == ["a"]


async def test_each_kind_is_swept_for_a_policy_that_is_gone_must_not_count_for_ever(cluster: Client) -> None:
    caches = {kind: Cache(kind) for kind in KINDS.values()}
    specs = {
        MODULES: {"source": {"builtin": "b"}},
        POLICIES: {"cedar": "permit(principal, action, resource);"},
    }
    for kind, spec in specs.items():
        body = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"name": cluster.namespace},
            "spec": spec,
        }
        made = await cluster.api.create(kind, cluster.namespace, body)
        assert isinstance(made, Created), made
        caches[kind].put(made.obj)
        uid = made.obj["metadata"]["uid"]
        assert await cluster.api.delete(kind, cluster.namespace, cluster.namespace, uid=uid, resource_version=None)
    all_sweeps = sweeps(cluster.api, caches, [cluster.namespace])
    assert {sweep.kind for sweep in all_sweeps} == set(caches)
    for sweep in all_sweeps:
        assert len(await sweep.once()) == (sweep.kind in specs)
    assert not any(map(len, caches.values()))


async def test_an_object_that_the_server_knows_in_an_older_version_only_ends_the_process(cluster: Client) -> None:
    """As after a restore of etcd that raises the revision: no list is behind then, and no watch ahead."""
    cache = await known(cluster, "a", "b")
    newer = await cluster.get_job("b")
    newer["metadata"]["resourceVersion"] = str(10**15)
    assert cache.put(newer)
    lost: list[str] = []
    sweep = MissedDeleteSweep(cluster.api, cache, namespaces=[cluster.namespace], lost=lost.append)
    assert await sweep.once() == []
    (said,) = lost
    assert f"curationjobs {cluster.namespace}/b had resourceVersion {10**15}" in said


async def test_a_sweep_comes_soon_after_a_list_that_shows_no_deletions(
    cluster: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WOKEN_PAUSE", 0.0)
    cache = await known(cluster, "a", "b")
    await cluster.destroy_job("a")
    sweep = MissedDeleteSweep(cluster.api, cache, namespaces=[cluster.namespace])
    changed = asyncio.Event()
    cache.listen(lambda *_: changed.set())
    running = asyncio.create_task(sweep.run())
    try:
        sweep.wake()
        await asyncio.wait_for(changed.wait(), PATIENCE)
    finally:
        running.cancel()
    assert [stored.name for stored in cache] == ["b"]
