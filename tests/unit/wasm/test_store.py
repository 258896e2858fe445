"""The module store: compiled once, checked always, kept only where nobody else can write."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from curation.wasm import artifact_key, artifacts, store
from curation.wasm.artifacts import Artifact, ArtifactDir, CacheDirError
from curation.wasm.compiler import Compiled
from curation.wasm.engine import new_engine
from curation.wasm.module_bytes import builtin_bytes, builtin_names, digest_of
from curation.wasm.module_errors import ModuleLoadError, ModuleReason
from curation.wasm.module_size import MAX_MODULE_BYTES
from curation.wasm.opening import open_artifact
from curation.wasm.store import LoadedModule, ModuleStore
from tests.guests import hostile
from tests.guests.wat import Script

GOOD = Script().ok('{"action": "Completed"}')


class Source:
    """Where bytes are fetched from; counts."""

    def __init__(self, wasm: bytes = GOOD) -> None:
        self.wasm = wasm
        self.fetched = 0
        self.digest = digest_of(wasm)

    async def fetch(self) -> bytes:
        self.fetched += 1
        await asyncio.sleep(0)
        return self.wasm


@pytest.fixture
async def modules(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = ModuleStore(tmp_path / "cache")
    yield made
    await made.close()
    assert not any(thread.name.startswith("wasm-") for thread in threading.enumerate())


def entries(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def opens(module: LoadedModule) -> bool:
    with new_engine() as engine, open_artifact(engine, module.path):
        return True


def keep(folder: ArtifactDir, digest: str, artifact: bytes, namespace: str = "ns") -> Artifact:
    made = folder.path / ".new-one"
    made.touch(mode=0o600)
    made.write_bytes(artifact)
    return folder.put(digest, Compiled(made, 0), 1, namespace)


async def test_a_module_is_fetched_and_compiled_once_for_all_who_ask(modules: ModuleStore) -> None:
    source = Source()
    loaded = await asyncio.gather(*(modules.load(source.digest, source.fetch, "ns") for _ in range(10)))
    again = await modules.load(source.digest, source.fetch, "ns")
    assert source.fetched == 1
    assert all(module is again for module in loaded)
    assert again.size_bytes == len(GOOD)
    assert modules.get(source.digest) is again
    assert opens(again)


async def test_a_restarted_operator_takes_its_own_artifact_and_fetches_nothing(tmp_path: Path) -> None:
    source = Source()
    for _ in range(2):
        modules = ModuleStore(tmp_path / "cache")
        module = await modules.load(source.digest, source.fetch, "ns")
        assert opens(module)
        assert module.size_bytes == len(GOOD)
        await modules.close()
    assert source.fetched == 1


@pytest.mark.parametrize(
    ("wasm", "reason"),
    [
        (b"nothing of the kind", ModuleReason.INVALID),
        (hostile.core_module(), ModuleReason.INVALID),
        (hostile.exports_nothing(), ModuleReason.ABI_MISMATCH),
        (hostile.imports_more(), ModuleReason.ABI_MISMATCH),
        (bytes(MAX_MODULE_BYTES + 1), ModuleReason.TOO_LARGE),
    ],
)
async def test_a_bad_module_is_refused_by_reason_and_leaves_nothing_behind(
    modules: ModuleStore, tmp_path: Path, wasm: bytes, reason: ModuleReason
) -> None:
    source = Source(wasm)
    with pytest.raises(ModuleLoadError) as caught:
        await modules.load(source.digest, source.fetch, "ns")
    assert caught.value.reason is reason
    assert modules.get(source.digest) is None
    assert {path.suffix for path in entries(tmp_path / "cache")} <= {".refused"}


async def test_bytes_of_another_digest_are_refused_and_theirs_is_not_shown(modules: ModuleStore) -> None:
    wanted = digest_of(b"what was reviewed")
    with pytest.raises(ModuleLoadError) as caught:
        await modules.load(wanted, Source().fetch, "ns")
    assert caught.value.reason is ModuleReason.DIGEST_MISMATCH
    assert digest_of(GOOD)[7:] not in caught.value.message


async def test_a_failed_fetch_is_not_remembered(modules: ModuleStore) -> None:
    source = Source()

    async def fails() -> bytes:
        raise ModuleLoadError(ModuleReason.NOT_FOUND, "no such ConfigMap")

    with pytest.raises(ModuleLoadError, match="no such ConfigMap"):
        await modules.load(source.digest, fails, "ns")
    assert opens(await modules.load(source.digest, source.fetch, "ns"))


async def test_a_caller_that_gives_up_does_not_spoil_the_load_for_the_others(modules: ModuleStore) -> None:
    source = Source()
    first = asyncio.create_task(modules.load(source.digest, source.fetch, "ns"))
    second = asyncio.create_task(modules.load(source.digest, source.fetch, "ns"))
    await asyncio.sleep(0)
    first.cancel()
    assert opens(await second)
    assert first.cancelled()


async def test_a_builtin_module_loads_under_its_computed_digest(modules: ModuleStore) -> None:
    name = builtin_names()[0]
    module = await modules.load_builtin(name)
    assert module.digest == digest_of(builtin_bytes(name))
    with pytest.raises(ModuleLoadError) as caught:
        await modules.load_builtin("no-such-module-v1")
    assert caught.value.reason is ModuleReason.UNKNOWN_BUILTIN
    assert name in caught.value.message


@pytest.mark.parametrize("damage", ["truncated", "changed", "unrecorded", "record"])
async def test_an_artifact_that_is_not_what_was_put_there_is_compiled_anew(tmp_path: Path, damage: str) -> None:
    source = Source()
    before = ModuleStore(tmp_path / "cache")
    await before.load(source.digest, source.fetch, "ns")
    await before.close()
    artifact = next((tmp_path / "cache").glob("*.cwasm"))
    record = artifact.with_suffix(".json")
    content = artifact.read_bytes()
    match damage:
        case "truncated":
            artifact.write_bytes(content[: len(content) // 2])
        case "changed":
            artifact.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "unrecorded":
            record.unlink()
        case "record":
            record.write_text("{}")
    after = ModuleStore(tmp_path / "cache")
    module = await after.load(source.digest, source.fetch, "ns")
    assert opens(module)
    assert source.fetched == 2
    await after.close()


@pytest.mark.parametrize("other", ["a processor that can do less", "another version of wasmtime"])
async def test_an_artifact_of_another_machine_is_compiled_anew_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    source = Source()
    before = ModuleStore(tmp_path / "cache")
    await before.load(source.digest, source.fetch, "ns")
    await before.close()
    if other == "another version of wasmtime":
        monkeypatch.setattr(artifact_key, "version", lambda name: "49.0.0")
    else:
        less = tmp_path / "cpuinfo"
        less.write_text("processor\t: 0\nflags\t\t: fpu sse2\n\nprocessor\t: 1\nflags\t\t: fpu sse2\n")
        monkeypatch.setattr(artifact_key, "_CPUINFO", less)
    after = ModuleStore(tmp_path / "cache")
    await after.load(source.digest, source.fetch, "ns")
    assert source.fetched == 2
    await after.close()


async def test_an_artifact_that_others_may_write_is_not_used(tmp_path: Path) -> None:
    source = Source()
    first = ModuleStore(tmp_path / "cache")
    await first.load(source.digest, source.fetch, "ns")
    await first.close()
    next((tmp_path / "cache").glob("*.cwasm")).chmod(0o666)
    second = ModuleStore(tmp_path / "cache")
    await second.load(source.digest, source.fetch, "ns")
    await second.close()
    assert source.fetched == 2


def test_the_folder_and_its_files_are_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "cache"
    keep(ArtifactDir(folder), digest_of(b"x"), b"compiled")
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {(path.suffix, path.stat().st_mode & 0o777) for path in folder.iterdir()}
    assert modes == {(".cwasm", 0o644), (".json", 0o600)}, "workers of another user read what they are handed"
    assert len(list(folder.iterdir())) == 2


def test_a_folder_that_others_can_enter_is_refused_with_the_remedy(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(CacheDirError, match="chmod 0700"):
        ArtifactDir(tmp_path)


def test_a_folder_behind_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(CacheDirError, match="symbolic links"):
        ArtifactDir(tmp_path / "link")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    with pytest.raises(CacheDirError, match="belongs to user 65534"):
        ArtifactDir(folder)


def test_old_artifacts_make_room_for_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "MAX_ARTIFACTS", 3)
    folder = ArtifactDir(tmp_path / "cache")
    digests = [digest_of(bytes([n])) for n in range(5)]
    for age, digest in enumerate(reversed(digests)):
        path = keep(folder, digest, b"compiled").path
        os.utime(path, (1000 - age, 1000 - age))
    keep(folder, digest_of(b"the newest"), b"compiled")
    assert [folder.get(digest) is not None for digest in digests] == [False, False, False, True, True]
    assert folder.get(digest_of(b"the newest")) is not None


def test_artifacts_take_no_more_room_than_the_bound_unless_one_alone_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "MAX_ARTIFACT_BYTES", 100)
    folder = ArtifactDir(tmp_path / "cache")
    digests = [digest_of(bytes([n])) for n in range(4)]
    for age, digest in enumerate(reversed(digests)):
        path = keep(folder, digest, bytes(30)).path
        os.utime(path, (1000 - age, 1000 - age))
    keep(folder, digest_of(b"the newest"), bytes(40))
    assert [folder.get(digest) is not None for digest in digests] == [False, False, True, True]
    keep(folder, digest_of(b"a large one"), bytes(101))
    assert folder.get(digest_of(b"a large one")) is not None
    assert len(list((tmp_path / "cache").glob("*.cwasm"))) == 1


def test_a_namespace_that_compiles_many_modules_takes_the_room_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "MAX_ARTIFACTS", 4)
    folder = ArtifactDir(tmp_path / "cache")
    few = [keep(folder, digest_of(bytes([n])), b"compiled", "few") for n in range(2)]
    for age, artifact in enumerate(few):
        os.utime(artifact.path, (age, age))
    many = [digest_of(bytes([n])) for n in range(10, 20)]
    for age, digest in enumerate(many):
        path = keep(folder, digest, b"compiled", "many").path
        os.utime(path, (100 + age, 100 + age))
    assert all(artifact.path.exists() for artifact in few)
    assert [folder.get(digest) is not None for digest in many] == [False] * 8 + [True] * 2


def test_what_a_process_that_died_has_left_unfinished_is_removed(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o700)
    old, new = tmp_path / "cache" / ".new-old", tmp_path / "cache" / ".new-new"
    for path in (old, new):
        path.touch()
    os.utime(old, (1000, 1000))
    ArtifactDir(tmp_path / "cache")
    assert (old.exists(), new.exists()) == (False, True)


async def test_a_store_without_a_folder_of_its_own_leaves_none_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    modules = ModuleStore()
    assert len(entries(tmp_path)) == 1
    assert opens(await modules.load_bytes(GOOD))
    await modules.close()
    assert entries(tmp_path) == []


async def test_only_so_many_modules_are_held_those_that_were_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_LOADED", 2)
    modules = ModuleStore()
    try:
        first, second = [await modules.load_bytes(Script().ok(str(n))) for n in range(2)]
        assert modules.get(first.digest)
        third = await modules.load_bytes(Script().ok("2"))
        assert [modules.get(each.digest) is not None for each in (first, second, third)] == [True, False, True]
        assert opens(second)
    finally:
        await modules.close()


async def test_a_source_that_fails_does_not_spoil_another_module_of_the_same_digest(modules: ModuleStore) -> None:
    source = Source()
    asked = asyncio.Event()

    async def broken() -> bytes:
        asked.set()
        await asyncio.sleep(0)
        raise ModuleLoadError(ModuleReason.INVALID, "this source is not supported")

    first = asyncio.create_task(modules.load(source.digest, broken, "ns"))
    await asked.wait()
    second = asyncio.create_task(modules.load(source.digest, source.fetch, "ns"))
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert isinstance(results[0], ModuleLoadError)
    assert isinstance(results[1], LoadedModule)
    assert source.fetched == 1
