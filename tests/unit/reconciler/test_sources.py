"""A module is what its source holds in its own namespace, here and now."""

import base64
from pathlib import Path
from typing import Any

import pytest

from curation.api.excess import EXCESS_FIELD
from curation.cluster.answers import Unreachable
from curation.cluster.resources import MODULES
from curation.reconciler.runtime.key import Key
from curation.reconciler.sources import module_sources as sources
from curation.wasm.module_bytes import digest_of
from curation.wasm.module_errors import ModuleReason
from tests.guests import hostile
from tests.guests.wat import Script
from tests.unit.reconciler.disconnected import Rig, disconnected
from tests.unit.reconciler.virtual_time import in_virtual_time

GOOD = Script().ok("{}")
OTHER = Script().ok("[]")
SECRET_KEY = "somebody-elses-key"


class ConfigMaps:
    """ConfigMaps as the API server gives them, and how often their metadata and their bytes were read."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held: dict[tuple[str, str], dict[str, Any]] = {}
        self.checks = 0
        self.reads = 0
        self.trouble: Exception | None = None
        self._version = 0

        async def metadata(namespace: str, name: str) -> dict[str, Any] | None:
            self.checks += 1
            if self.trouble is not None:
                raise self.trouble
            found = self.held.get((namespace, name))
            return None if found is None else found["metadata"]

        async def read(namespace: str, name: str) -> dict[str, Any] | None:
            self.reads += 1
            if self.trouble is not None:
                raise self.trouble
            return self.held.get((namespace, name))

        monkeypatch.setattr(rig.context.api, "config_map_metadata", metadata)
        monkeypatch.setattr(rig.context.api, "read_config_map", read)

    def put(self, namespace: str, wasm: bytes, key: str = "k") -> None:
        self._version += 1
        self.held[namespace, "c"] = {
            "metadata": {"uid": "u", "resourceVersion": str(self._version)},
            "binaryData": {key: base64.b64encode(wasm).decode()},
        }


def put(rig: Rig, namespace: str, digest: str = digest_of(GOOD), **spec: Any) -> Key:
    source = {"configMap": {"name": "c", "key": "k"}}
    rig.context.caches[MODULES].put(
        {
            "metadata": {
                "name": "m",
                "namespace": namespace,
                "uid": f"u-{namespace}",
                "resourceVersion": "1",
                "generation": 1,
                "finalizers": ["curation.dev/in-use"],
            },
            "spec": {"source": source, "digest": digest, **spec},
        }
    )
    return Key(MODULES, namespace, "m")


async def loaded(rig: Rig, key: Key) -> Any:
    """The verdict once there is nothing left to compile."""
    verdict = await rig.modules.load(key)
    await rig.modules.compiled([key])
    return verdict or await rig.modules.load(key)


@in_virtual_time
async def test_a_digest_that_another_namespace_has_loaded_makes_no_module_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        maps = ConfigMaps(rig, monkeypatch)
        maps.put("has-it", GOOD)
        assert (await loaded(rig, put(rig, "has-it"))).reason == "Compiled"
        missing = await loaded(rig, put(rig, "misses-it"))
        assert (missing.digest, missing.reason) == (None, "NotFound")
        maps.put("empty", b"")
        maps.put("other", OTHER)
        maps.put("another-key", GOOD, SECRET_KEY)
        for namespace, reason in (
            ("empty", "DigestMismatch"),
            ("other", "DigestMismatch"),
            ("another-key", "NotFound"),
        ):
            verdict = await loaded(rig, put(rig, namespace))
            assert (verdict.digest, verdict.reason) == (None, reason)
            assert rig.modules.state(namespace, "m").digest is None
            for shown in (verdict.message, rig.modules.state(namespace, "m").message):
                assert digest_of(OTHER)[7:] not in shown
                assert SECRET_KEY not in shown


@in_virtual_time
async def test_bytes_that_change_in_place_are_seen_and_mended_again_without_being_read_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        maps = ConfigMaps(rig, monkeypatch)
        maps.put("ns", GOOD)
        key = put(rig, "ns")
        assert (await loaded(rig, key)).reason == "Compiled"
        reads = maps.reads
        for _ in range(3):
            assert (await loaded(rig, key)).reason == "Compiled"
        assert maps.reads == reads, "the version shows that the bytes are the same"
        maps.put("ns", OTHER)
        for _ in range(3):
            assert (await loaded(rig, key)).reason == "DigestMismatch"
        assert maps.reads == reads + 1
        build, _ = rig.modules.build("ns", "m", "sha256:a-build-that-is-gone")
        assert build.digest == digest_of(GOOD), "a Cancel goes on with what this source had"
        del maps.held["ns", "c"]
        assert (await loaded(rig, key)).reason == "NotFound"
        maps.put("ns", GOOD)
        assert (await loaded(rig, key)).reason == "Compiled"


@in_virtual_time
async def test_a_server_that_does_not_answer_says_nothing_about_a_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        maps = ConfigMaps(rig, monkeypatch)
        maps.put("ns", GOOD)
        key = put(rig, "ns")
        await loaded(rig, key)
        maps.trouble = Unreachable("reset")
        assert await rig.modules.load(key) is None
        assert rig.modules.state("ns", "m").digest == digest_of(GOOD)


@in_virtual_time
async def test_a_claim_needs_a_recent_check_which_all_jobs_of_the_module_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        maps = ConfigMaps(rig, monkeypatch)
        maps.put("ns", GOOD)
        key = put(rig, "ns")
        await loaded(rig, key)
        assert rig.modules.fresh("ns", "m")
        monkeypatch.setattr(sources, "SOURCE_FRESH_SECONDS", 0.0)
        assert not rig.modules.fresh("ns", "m")
        checks = maps.checks
        maps.put("ns", OTHER)
        await rig.modules.recheck("ns", "m")
        assert rig.modules.state("ns", "m").digest is None
        assert maps.checks == checks + 1
        assert key in rig.taken(), "its status is to say so"


@in_virtual_time
async def test_a_module_that_begins_with_more_memory_than_its_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        maps = ConfigMaps(rig, monkeypatch)
        wasm = hostile.starts_with(32)
        maps.put("ns", wasm)
        small = await loaded(rig, put(rig, "ns", digest_of(wasm), limits={"memory": "1Mi"}))
        assert (small.digest, small.reason, small.stalled) == (None, "TooLarge", True)
        assert "begins with 2Mi of memory, spec.limits.memory is 1Mi" in small.message
        maps.put("enough", wasm)
        enough = await loaded(rig, put(rig, "enough", digest_of(wasm), limits={"memory": "2Mi"}))
        assert enough.reason == "Compiled"


@in_virtual_time
async def test_what_a_source_holds_is_bounded_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        maps = ConfigMaps(rig, monkeypatch)
        monkeypatch.setattr(sources, "_BASE64_CHARACTERS", 100)
        maps.put("ns", bytes(1000))
        assert (await loaded(rig, put(rig, "ns"))).reason == "TooLarge"


@in_virtual_time
async def test_a_module_whose_compilation_fails_inside_the_operator_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        ConfigMaps(rig, monkeypatch).put("ns", GOOD)
        store = rig.modules._store
        compiled, failures = store.load, 2

        async def fails(*args: Any) -> Any:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise RuntimeError("a bug")
            return await compiled(*args)

        monkeypatch.setattr(store, "load", fails)
        key = put(rig, "ns")
        for _ in range(2):
            assert await rig.modules.load(key) is None, "it is being compiled"
            await rig.modules.compiled([key])
            assert await rig.modules.load(key) is None
            assert "the operator failed: RuntimeError: a bug" in rig.modules.state("ns", "m").message
        assert (await loaded(rig, key)).reason == "Compiled"


@in_virtual_time
async def test_a_config_map_of_more_keys_than_are_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        maps = ConfigMaps(rig, monkeypatch)
        maps.put("ns", GOOD)
        del maps.held["ns", "c"]["binaryData"]
        maps.held["ns", "c"][EXCESS_FIELD] = True
        verdict = await loaded(rig, put(rig, "ns"))
        assert (verdict.reason, "more than 4096 keys" in verdict.message) == ("TooLarge", True)


@pytest.mark.parametrize(
    ("of_the_namespace", "others", "seconds"),
    [(1, 0, 5.0), (50, 0, 5.0), (1000, 0, 100.0), (1, 9, 5.0), (1, 99, 10.0), (1000, 1, 200.0)],
)
def test_sources_are_checked_in_equal_shares_between_namespaces(
    of_the_namespace: int, others: int, seconds: float
) -> None:
    known = sources.Sources(None, lambda: 0.0, lambda: 0.5)  # type: ignore[arg-type]
    for namespace, count in (("ns", of_the_namespace), *((f"other-{number}", 1) for number in range(others))):
        for number in range(count):
            key = Key(MODULES, namespace, str(number))
            known._checks[key] = None  # type: ignore[assignment]
            known._namespaces[namespace] += 1
    assert known.next_check(Key(MODULES, "ns", "0")) == pytest.approx(seconds)


def test_only_what_a_source_may_become_is_waited_for() -> None:
    assert {reason for reason in ModuleReason if reason.may_pass} == {
        ModuleReason.NOT_FOUND,
        ModuleReason.DIGEST_MISMATCH,
        ModuleReason.PULL_FAILED,
        ModuleReason.UNAUTHORIZED,
        ModuleReason.NOT_SIGNED,
    }
