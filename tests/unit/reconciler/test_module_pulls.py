"""Turns of pulls, with real pulls from a registry that is as slow as it likes."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

import pytest

from curation.api.module import ModuleSpec
from curation.cluster.resources import MODULES
from curation.oci.puller import Puller
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.metrics import Metrics
from curation.reconciler.sources.module_pulls import PULLS_AT_ONCE, Pulls
from tests.harness.scripted_registry import ScriptedRegistry, digest_of, scripted_registry

WASM = b"\0asm a module"


class Slow:
    """A manifest that does not come until `end`."""

    def __init__(self) -> None:
        self.asked = 0
        self._asked = threading.Semaphore(0)
        self._ends = threading.Event()

    def __call__(self, _: BaseHTTPRequestHandler) -> None:
        self.asked += 1
        self._asked.release()
        self._ends.wait(600)

    async def until_asked(self, times: int) -> None:
        for _ in range(times):
            assert await asyncio.to_thread(self._asked.acquire, timeout=300)

    def end(self) -> None:
        self._ends.set()


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def registry(tmp_path: Path, slow: Slow) -> Iterator[ScriptedRegistry]:
    with scripted_registry(tmp_path) as served:
        yield served
        slow.end()


@pytest.fixture
async def pulls(registry: ScriptedRegistry) -> AsyncIterator[Pulls]:
    puller = Puller(allow=[ip_network("127.0.0.0/8")], ca_bundle=registry.ca)
    # None of these pulls names a Secret, or gets as far as the compiler.
    nobody = cast(Any, None)
    made = Pulls(nobody, nobody, puller, (), Metrics(), nobody, lambda _: None)
    yield made
    made.close()
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)
    await puller.close()


def spec(registry: ScriptedRegistry, digest: str) -> ModuleSpec:
    source = {"oci": {"ref": registry.ref, "digest": digest}}
    return ModuleSpec.model_validate({"source": source, "digest": digest_of(WASM)})


async def test_a_namespace_with_many_slow_registries_delays_no_pull_of_another(
    pulls: Pulls, registry: ScriptedRegistry, slow: Slow
) -> None:
    digest = digest_of(b"never")
    registry.routes[f"{registry.prefix}/manifests/{digest}"] = slow
    for number in range(4 * PULLS_AT_ONCE):
        pulls.start(Key(MODULES, "loud", f"module-{number}"), spec(registry, digest))
    async with asyncio.timeout(300):
        await slow.until_asked(PULLS_AT_ONCE // 2)
        for namespace in ("quiet", "another"):
            pulled, let_go = await pulls.pull(namespace, spec(registry, registry.module(WASM)))
            assert pulled.read() == WASM
            let_go()
    assert len(pulls.tasks) == 4 * PULLS_AT_ONCE


async def test_a_module_that_is_dropped_gives_its_turn_to_the_next_one(
    pulls: Pulls, registry: ScriptedRegistry, slow: Slow
) -> None:
    digest = digest_of(b"never")
    registry.routes[f"{registry.prefix}/manifests/{digest}"] = slow
    keys = [Key(MODULES, "loud", f"module-{number}") for number in range(PULLS_AT_ONCE)]
    for key in keys:
        pulls.start(key, spec(registry, digest))
    own = asyncio.create_task(pulls.pull("loud", spec(registry, registry.module(WASM))))
    try:
        async with asyncio.timeout(300):
            await slow.until_asked(PULLS_AT_ONCE // 2)
            assert not own.done()
            for key in keys:
                pulls.drop(key)
            pulled, let_go = await own
            assert pulled.read() == WASM
            let_go()
    finally:
        own.cancel()
        with suppress(asyncio.CancelledError):
            await own
