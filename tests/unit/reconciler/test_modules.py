"""What is known of modules before, between and after their reads."""

import asyncio
from pathlib import Path

import pytest

from curation.api.module import CurationModule
from curation.cluster.answers import APIError, Unreachable
from curation.cluster.resources import MODULES
from curation.oci.puller import Artifact, PulledModule, Puller
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.result import carry_out
from curation.reconciler.runtime.settings import Settings
from curation.reconciler.sources.modules import LOADS_AT_ONCE, RETRY_SECONDS
from curation.wasm.module_bytes import builtin_bytes, builtin_names, digest_of
from curation.wasm.module_errors import ModuleLoadError, ModuleReason, ModuleUnreadable
from tests.unit.reconciler.disconnected import NAMESPACE, Rig, disconnected, key, module_key
from tests.unit.reconciler.virtual_time import in_virtual_time, now

BUILTIN = "build-session-message-v1"


def put(rig: Rig, spec: dict[str, object], *, version: int = 1, name: str = "m", deleted_at: str | None = None) -> None:
    rig.context.caches[MODULES].put(
        {
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "uid": "u",
                "resourceVersion": str(version),
                "generation": version,
                "finalizers": ["curation.dev/in-use"],
                **({"deletionTimestamp": deleted_at} if deleted_at is not None else {}),
            },
            "spec": spec,
        }
    )


@in_virtual_time
async def test_a_module_that_is_not_there_says_what_to_apply(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        state = rig.modules.state(NAMESPACE, "m")
        assert state.digest is None
        assert state.message == "CurationModule m does not exist in namespace ns; apply it."
        with pytest.raises(ModuleLoadError):
            rig.modules.build(NAMESPACE, "m", "sha256:x")


@in_virtual_time
async def test_a_builtin_is_ready_without_the_api_server_and_wakes_those_that_wait_for_it_once(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        rig.modules.wake_when_changed(NAMESPACE, "m", key("waits"))
        rig.modules.wake_when_changed(NAMESPACE, "other", key("waits-for-another"))
        put(rig, {"source": {"builtin": BUILTIN}, "limits": {"wallSeconds": 7}})
        verdict = await rig.modules.load(module_key())
        assert verdict is not None
        assert verdict.digest == digest_of(builtin_bytes(BUILTIN)) == rig.modules.state(NAMESPACE, "m").digest
        assert rig.taken() == [key("waits")]
        await rig.modules.load(module_key())
        assert rig.taken() == []
        build, spec = rig.modules.build(NAMESPACE, "m", "sha256:a-build-that-is-gone")
        assert build.digest == verdict.digest, "the present build replaces one that is gone"
        assert spec.source.builtin == BUILTIN


@pytest.mark.parametrize("restarted", [False, True])
@in_virtual_time
async def test_the_present_build_of_a_deleted_module_replaces_one_that_is_gone(
    restarted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kubectl delete -k takes the module too; what its earlier build has started is cancelled all the same."""

    async def still_needed(_namespace: str) -> bool:
        return True

    spec: dict[str, object] = {"source": {"builtin": BUILTIN}}
    async with disconnected(tmp_path) as rig:
        monkeypatch.setattr(rig.in_use, "_needed", still_needed)
        if not restarted:
            put(rig, spec)
            await rig.modules.load(module_key())
        put(rig, spec, version=2, deleted_at="2026-01-01T00:00:00Z")
        if restarted:
            await rig.modules.load(module_key())
        carry_out(rig.context, module_key(), await rig.modules.reconcile(module_key()))
        assert rig.modules.state(NAMESPACE, "m").digest is None, "no run is claimed with it"
        build, _ = rig.modules.build(NAMESPACE, "m", "sha256:a-build-that-is-gone")
        assert build.digest == digest_of(builtin_bytes(BUILTIN))
        # Of another source nothing was loaded: it may be what has the recorded build.
        source = {"configMap": {"name": "c", "key": "k"}}
        another: dict[str, object] = {"source": source, "digest": f"sha256:{'1' * 64}"}
        for version, edited, digest in (
            (3, {**spec, "limits": {"wallSeconds": 7}}, build.digest),
            (4, another, "sha256:a-build-that-is-gone"),
        ):
            put(rig, edited, version=version, deleted_at="2026-01-01T00:00:00Z")
            carry_out(rig.context, module_key(), await rig.modules.reconcile(module_key()))
            assert rig.modules.build(NAMESPACE, "m", "sha256:a-build-that-is-gone")[0].digest == digest


@in_virtual_time
async def test_a_builtin_that_this_release_has_not_names_the_ones_it_has(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        put(rig, {"source": {"builtin": "build-session-message-v99"}})
        verdict = await rig.modules.load(module_key())
        assert verdict is not None
        assert (verdict.digest, verdict.reason, verdict.stalled) == (None, "UnknownBuiltin", True)
        for name in builtin_names():
            assert name in verdict.message


@in_virtual_time
async def test_a_module_of_a_registry_is_not_ready_because_another_module_has_brought_the_same_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulls: list[Artifact] = []

    async def refuses(_self: Puller, artifact: Artifact) -> PulledModule:
        pulls.append(artifact)
        raise ModuleLoadError(ModuleReason.PULL_FAILED, "the registry is away")

    monkeypatch.setattr(Puller, "pull", refuses)
    async with disconnected(tmp_path) as rig:
        put(rig, {"source": {"builtin": BUILTIN}})
        assert await rig.modules.load(module_key())
        digest = digest_of(builtin_bytes(BUILTIN))
        put(rig, {"source": {"oci": {"ref": "registry.example/m", "digest": digest}}, "digest": digest}, version=2)
        for tries in (1, 2):
            assert await rig.modules.load(module_key()) is None, "it is being pulled"
            await rig.modules.compiled([module_key()])
            verdict = await rig.modules.load(module_key())
            assert verdict is not None
            assert (verdict.digest, verdict.reason, verdict.stalled) == (None, "PullFailed", False)
            assert verdict.message == "the registry is away"
            assert len(pulls) == tries


@in_virtual_time
async def test_a_source_that_the_server_did_not_give_is_asked_for_again_ever_less_often(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        put(rig, {"source": {"configMap": {"name": "c", "key": "k"}}, "digest": f"sha256:{'1' * 64}"})
        for seconds in (*RETRY_SECONDS, RETRY_SECONDS[-1]):
            assert await rig.modules.load(module_key()) is None, "an unreachable server says nothing about the module"
            before = now()
            assert await rig.queue.get() == module_key()
            rig.queue.done(module_key())
            assert now() - before == pytest.approx(seconds)


@in_virtual_time
async def test_a_module_that_is_still_being_loaded_is_not_taken_for_one_that_is_missing(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        put(rig, {"source": {"builtin": BUILTIN}})
        with pytest.raises(ModuleUnreadable, match="is being loaded"):
            rig.modules.build(NAMESPACE, "m", "sha256:x")


@in_virtual_time
async def test_a_run_takes_a_source_for_missing_only_if_it_is_not_there_or_may_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        put(rig, {"source": {"configMap": {"name": "c", "key": "k"}}, "digest": f"sha256:{'1' * 64}"})
        await rig.modules.load(module_key())
        answers: list[Exception | None] = []

        async def read(_namespace: str, _name: str) -> None:
            if (answer := answers.pop()) is not None:
                raise answer

        monkeypatch.setattr(rig.context.api, "read_config_map", read)
        for missing in (None, APIError(403, "Forbidden", "no")):
            answers.append(missing)
            with pytest.raises(ModuleLoadError) as caught:
                await rig.modules.read_for_a_run(NAMESPACE, "m")
            assert caught.value.reason is ModuleReason.NOT_FOUND
        for passing in (Unreachable("reset"), APIError(500, "InternalError", "etcd")):
            answers.append(passing)
            with pytest.raises(ModuleUnreadable, match=str(passing)):
                await rig.modules.read_for_a_run(NAMESPACE, "m")


@in_virtual_time
async def test_the_wall_limit_is_the_modules_or_the_default_while_it_is_not_known(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        default = CurationModule.model_validate({"metadata": {"name": "m"}, "spec": {"source": {"builtin": "b"}}})
        assert rig.modules.wall_seconds(NAMESPACE, "m") == default.spec.limits.wall_seconds
        put(rig, {"source": {"builtin": BUILTIN}, "limits": {"wallSeconds": 7}})
        await rig.modules.load(module_key())
        assert rig.modules.wall_seconds(NAMESPACE, "m") == 7


@in_virtual_time
async def test_a_module_that_is_there_is_never_said_to_be_missing(tmp_path: Path) -> None:
    """Not while it is loaded, nor while its source cannot be read: applying it again would help nobody."""
    async with disconnected(tmp_path) as rig:
        put(rig, {"source": {"configMap": {"name": "c", "key": "k"}}, "digest": f"sha256:{'1' * 64}"})
        assert rig.modules.state(NAMESPACE, "m").message == "CurationModule m is being loaded."
        rig.modules.wake_when_changed(NAMESPACE, "m", key("waits"))
        await rig.modules.load(module_key())
        state = rig.modules.state(NAMESPACE, "m")
        assert state.digest is None
        assert state.message.startswith("CurationModule m is not ready: its source cannot be read: ")
        assert rig.taken() == [key("waits")], "what it waits for is shown"


@in_virtual_time
async def test_a_job_that_is_gone_waits_for_no_module(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        rig.modules.wake_when_changed(NAMESPACE, "m", key("gone"))
        rig.modules.wake_when_changed(NAMESPACE, "m", key("waits"))
        rig.modules.forget(key("gone"))
        put(rig, {"source": {"builtin": BUILTIN}})
        await rig.modules.load(module_key())
        assert rig.taken() == [key("waits")]


@in_virtual_time
async def test_sources_that_are_slow_to_be_read_leave_workers_for_the_jobs_and_all_have_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        begun: list[str] = []
        answered, job_was_seen = asyncio.Event(), asyncio.Event()
        all_that_may, all_that_are_left = asyncio.Event(), asyncio.Event()

        async def read(_namespace: str, name: str) -> None:
            begun.append(name)
            for count, event in ((LOADS_AT_ONCE - 1, all_that_may), (20, all_that_are_left)):
                if len(begun) == count:
                    event.set()
            await answered.wait()
            raise ModuleLoadError(ModuleReason.INVALID, "which is not tried again")

        async def write(*_: object, **__: object) -> None:
            """What a module's status says is not what this is about."""

        async def reconcile(worked: Key) -> None:
            if worked.kind is MODULES:
                carry_out(rig.context, worked, await rig.modules.reconcile(worked))
            else:
                job_was_seen.set()

        monkeypatch.setattr(rig.context.api, "read_config_map", read)
        monkeypatch.setattr(rig.context, "write", write)
        names = [f"m-{number}" for number in range(60)]
        for number, name in enumerate(names):
            put(rig, {"source": {"configMap": {"name": name, "key": "k"}}, "digest": f"sha256:{number:064}"}, name=name)
            rig.queue.add(module_key(name))
        rig.queue.add(key())

        def failed(_: Key, error: Exception) -> None:
            raise AssertionError from error

        workers = [asyncio.create_task(rig.queue.work(reconcile, failed)) for _ in range(Settings().workers)]
        async with asyncio.timeout(60):
            await job_was_seen.wait()
        await all_that_may.wait()
        assert begun == names[: LOADS_AT_ONCE - 1]
        # Some that wait are deleted: their turn is the next one's.
        for name in names[10:50]:
            rig.context.caches[MODULES].forget(NAMESPACE, name, "u")
        answered.set()
        await all_that_are_left.wait()
        assert sorted(begun) == sorted(names[:10] + names[50:])
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
