"""The compiler's processes: what a module may take of one, whose turn it is, and that none is left behind."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from curation.wasm import artifacts, compiler
from curation.wasm.module_bytes import digest_of
from curation.wasm.module_errors import ModuleLoadError, ModuleReason
from curation.wasm.store import LoadedModule, ModuleStore
from tests.guests import hostile
from tests.guests.wat import Script

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found by /proc")

GENEROUS = 60
"""Seconds after which a test that waits has failed."""

GOOD = Script().ok("{}")
OTHER = Script().ok("[]")
HARD = hostile.hard_to_compile(104)
"""Takes a second and some MiB."""
HARDER = hostile.hard_to_compile(116)
TIME_BOMB = hostile.hard_to_compile(400)
MEMORY_BOMB = hostile.hard_to_compile(1500)
UNBOUNDED = 1_000_000


def stat(pid: int) -> list[str] | None:
    """State, parent and what follows in /proc/PID/stat; None for a process that does not exist."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def children(parent: int | None = None) -> set[int]:
    """Processes of one, by default of this one; those too that have ended and were not reaped."""
    found = {int(path.name): stat(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit()}
    return {pid for pid, fields in found.items() if fields is not None and int(fields[1]) == (parent or os.getpid())}


def runs(pid: int) -> bool:
    fields = stat(pid)
    return fields is not None and fields[0] not in "ZX"


def cpu_seconds(pid: int) -> float:
    fields = stat(pid)
    return 0 if fields is None else (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def has_module(pid: int) -> bool:
    """Whether a process that compiles has begun with its module: by then its processor time is limited."""
    try:
        return "Max cpu time              unlimited" not in Path(f"/proc/{pid}/limits").read_text()
    except OSError:
        return False


def open_files(pid: int | str) -> dict[int, str]:
    return {int(path.name): str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}


def environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def until(condition: Callable[[], bool]) -> None:
    """Waits until something that nobody announces is so."""
    async with asyncio.timeout(GENEROUS):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)


class Compiling:
    """A module store, and the process that it compiles with."""

    def __init__(self, modules: ModuleStore) -> None:
        self.modules = modules
        self._others = children()

    def processes(self) -> set[int]:
        return children() - self._others

    @property
    def process(self) -> int:
        (pid,) = self.processes()
        return pid

    async def load(self, wasm: bytes, namespace: str = "ns") -> LoadedModule:
        async with asyncio.timeout(GENEROUS):
            return await self.modules.load_bytes(wasm, namespace)

    async def refused(self, wasm: bytes, namespace: str = "ns") -> ModuleLoadError:
        with pytest.raises(ModuleLoadError) as caught:
            await self.load(wasm, namespace)
        return caught.value

    async def at_work(self, seconds: float = 1, other_than: int = 0, *, started: bool = False) -> int:
        """Waits until a process has used so much processor time; with `started` until it has its module as well."""
        found = 0

        def works() -> bool:
            nonlocal found
            for pid in self.processes() - {other_than}:
                if cpu_seconds(pid) > seconds and (has_module(pid) or not started):
                    found = pid
            return bool(found)

        await until(works)
        return found


@pytest.fixture
async def compiling(tmp_path: Path) -> AsyncIterator[Compiling]:
    made = Compiling(ModuleStore(tmp_path / "cache"))
    yield made
    async with asyncio.timeout(GENEROUS):
        await made.modules.close()
    assert made.processes() == set()


async def test_a_module_that_takes_too_much_processor_time_is_refused_and_the_next_one_loads(
    compiling: Compiling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "CPU_SECONDS", 1)
    bomb = asyncio.create_task(compiling.refused(TIME_BOMB))
    await asyncio.sleep(0)
    good = await compiling.load(GOOD)
    error = await bomb
    assert error.reason is ModuleReason.TOO_LARGE
    assert "more than 1 s of processor time" in error.message
    assert "fewer nested loops" in error.message
    assert compiling.modules.get(good.digest) is good


async def test_a_module_that_takes_too_much_memory_is_refused_and_the_next_one_loads(
    compiling: Compiling, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compiler, "MEMORY_BYTES", 160 << 20)
    error = await compiling.refused(MEMORY_BOMB)
    assert error.reason is ModuleReason.TOO_LARGE
    assert "more than 160Mi of memory" in error.message
    assert "fewer nested loops" in error.message
    assert caplog.records == []
    await compiling.load(GOOD)


async def test_a_module_that_takes_too_long_without_using_the_processor_is_refused_and_tried_anew_when_asked_for(
    compiling: Compiling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "CPU_SECONDS", UNBOUNDED)
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "WALL_SECONDS", 5.0)
        stopped = asyncio.create_task(compiling.refused(HARD))
        os.kill(await compiling.at_work(0.1), signal.SIGSTOP)
        error = await stopped
    assert error.reason is ModuleReason.TOO_LARGE
    assert "more than 5 s" in error.message
    await compiling.load(OTHER)
    await compiling.load(HARD)  # it was not the module's fault


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for a module, and for no artifact."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12k,mode=700", "none", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_a_full_disk_is_not_held_against_the_module(full_disk: Path) -> None:
    modules = ModuleStore(full_disk)
    try:
        with pytest.raises(OSError, match="no room for a compiled module"):
            await modules.load_bytes(GOOD)
        room = await asyncio.create_subprocess_exec("mount", "-o", "remount,size=64m", full_disk)
        assert await room.wait() == 0
        async with asyncio.timeout(GENEROUS):
            assert (await modules.load_bytes(GOOD)).digest == digest_of(GOOD)
    finally:
        await modules.close()


async def test_each_module_has_a_process_of_its_own_which_ends_with_it(compiling: Compiling) -> None:
    seen = set()
    for wasm in (HARD, hostile.hard_to_compile(105)):
        loading = asyncio.create_task(compiling.load(wasm))
        seen.add(await compiling.at_work(0.1))
        await loading
        assert compiling.processes() == set()
    assert len(seen) == 2


async def test_a_large_module_may_take_more_processor_time(
    compiling: Compiling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "CPU_SECONDS", 0)
    monkeypatch.setattr(compiler, "CPU_SECONDS_PER_MIB", 1)
    padding = b"\x00" + bytes.fromhex("8180c000") + b"\x00" + bytes(1 << 20)  # a custom section without a name
    error = await compiling.refused(TIME_BOMB + padding)
    assert "more than 1 s of processor time" in error.message


async def test_a_module_that_was_refused_for_what_it_takes_is_not_compiled_again(
    compiling: Compiling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "MEMORY_BYTES", 160 << 20)
    first = await compiling.refused(MEMORY_BOMB)
    monkeypatch.setattr(compiler, "MEMORY_BYTES", 161 << 20)
    second = await compiling.refused(MEMORY_BOMB)
    assert (second.reason, second.message) == (first.reason, first.message)
    assert compiling.processes() == set()


async def test_of_modules_that_take_too_much_only_so_many_are_remembered(
    compiling: Compiling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "MEMORY_BYTES", 160 << 20)
    monkeypatch.setattr(artifacts, "MAX_REFUSED", 1)
    await compiling.refused(MEMORY_BOMB)
    await compiling.refused(hostile.hard_to_compile(1501))
    monkeypatch.setattr(compiler, "MEMORY_BYTES", 161 << 20)
    assert "more than 161Mi" in (await compiling.refused(MEMORY_BOMB)).message


async def test_a_refusal_outlasts_the_store_and_nothing_is_compiled_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "MEMORY_BYTES", 160 << 20)
    messages = []
    for wasm in (MEMORY_BOMB, hostile.exports_nothing()):
        for restarted in (False, True):
            compiling = Compiling(ModuleStore(tmp_path / "cache"))
            if restarted:
                monkeypatch.setattr(compiler, "_TARGET", "nothing.of.this.name:main")
            messages.append((await compiling.refused(wasm)).message)
            await compiling.modules.close()
        monkeypatch.undo()
        monkeypatch.setattr(compiler, "MEMORY_BYTES", 160 << 20)
        assert messages[-2] == messages[-1]


async def test_a_refusal_does_not_outlast_the_bounds_that_it_was_made_under(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mebibytes in (160, 161):
        monkeypatch.setattr(compiler, "MEMORY_BYTES", mebibytes << 20)
        compiling = Compiling(ModuleStore(tmp_path / "cache"))
        assert f"more than {mebibytes}Mi of memory" in (await compiling.refused(MEMORY_BOMB)).message
        await compiling.modules.close()


async def test_hard_modules_hold_up_none_that_is_compiled_already_also_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "CPU_SECONDS", UNBOUNDED)
    before = Compiling(ModuleStore(tmp_path / "cache"))
    good = await before.load(GOOD)
    await before.modules.close()
    compiling = Compiling(ModuleStore(tmp_path / "cache"))
    hard = [asyncio.create_task(compiling.modules.load_bytes(hostile.hard_to_compile(n), "a")) for n in (400, 401, 402)]
    await compiling.at_work()
    assert (await compiling.load(GOOD)).digest == good.digest
    await compiling.modules.close()
    await asyncio.gather(*hard, return_exceptions=True)


async def test_namespaces_compile_in_turn_and_what_the_operator_ships_comes_first(
    compiling: Compiling, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    async def load(wasm: bytes, namespace: str, name: str) -> None:
        await compiling.load(wasm, namespace)
        ended.append(name)

    many = [asyncio.create_task(load(Script().ok(str(n)), "many", f"many {n}")) for n in range(4)]
    await compiling.at_work(0)
    few = [asyncio.create_task(load(wasm, "few", "few")) for wasm in (OTHER,)]
    ours = [asyncio.create_task(load(GOOD, "", "ours"))]
    await asyncio.gather(*many, *few, *ours)
    assert ended == ["many 0", "ours", "many 1", "few", "many 2", "many 3"]


async def test_bytes_that_wait_in_another_namespaces_line_are_compiled_in_ones_own(compiling: Compiling) -> None:
    ended: list[str] = []

    async def load(wasm: bytes, namespace: str, name: str) -> None:
        await compiling.load(wasm, namespace)
        ended.append(name)

    sources = [Script().ok(str(n)) for n in range(4)]
    line = [asyncio.create_task(load(wasm, "many", str(n))) for n, wasm in enumerate(sources)]
    await compiling.at_work(0)
    await load(sources[-1], "few", "few")
    assert "few" in ended
    assert "2" not in ended
    await asyncio.gather(*line)


async def test_one_that_gives_up_in_the_line_leaves_its_turn_to_the_next(compiling: Compiling) -> None:
    first = asyncio.create_task(compiling.load(HARD))
    await compiling.at_work(0)
    gives_up = asyncio.create_task(compiling.load(OTHER, "other"))
    while not compiling.modules.waiting:  # noqa: ASYNC110 - nobody announces it
        await asyncio.sleep(0)
    gives_up.cancel()
    await compiling.load(GOOD, "third")
    await first
    assert compiling.modules.get(digest_of(OTHER)) is None


@pytest.mark.parametrize("depth", [5, 6, 7])
async def test_a_small_module_that_takes_much_to_be_opened_is_refused(compiling: Compiling, depth: int) -> None:
    wasm = hostile.nests_instances(depth)
    assert len(wasm) < 2_200
    error = await compiling.refused(wasm)
    assert error.reason is ModuleReason.TOO_LARGE
    assert "are accepted" in error.message


@pytest.mark.parametrize(
    ("wasm", "says"),
    [
        (hostile.nests_instances(4, leaf=hostile.CORE_LEAF), "instance count too high"),
        (hostile.has_two_memories(), "memory count too high"),
        (hostile.starts_with((1 << 14) + 1), "spec.limits.memory is at most 1024 MiB"),
        (hostile.wants_a_large_table(), "table minimum size"),
    ],
    ids=["instances", "memories", "memory", "table"],
)
async def test_a_module_that_cannot_be_instantiated_within_the_limits_is_refused(
    compiling: Compiling, wasm: bytes, says: str
) -> None:
    error = await compiling.refused(wasm)
    assert error.reason is ModuleReason.TOO_LARGE
    assert says in error.message


async def test_what_hides_behind_a_start_function_counts_when_it_is_opened(compiling: Compiling) -> None:
    """It calls its host first, which ends it here and not in a run."""
    error = await compiling.refused(hostile.nests_instances(6, first=hostile.LOGS_AT_START))
    assert error.reason is ModuleReason.TOO_LARGE
    assert "before its first instruction" in error.message


async def test_the_memory_that_a_module_begins_with_is_known_also_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        modules = ModuleStore(tmp_path / "cache")
        for pages in (1, 16, 8192):
            assert (await modules.load_bytes(hostile.starts_with(pages))).start_bytes == pages << 16
        await modules.close()


async def test_closing_ends_a_compilation_and_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "CPU_SECONDS", UNBOUNDED)
    compiling = Compiling(ModuleStore(tmp_path / "cache"))
    loading = [asyncio.create_task(compiling.modules.load_bytes(wasm)) for wasm in (TIME_BOMB, GOOD)]
    await compiling.at_work()
    async with asyncio.timeout(GENEROUS):
        await compiling.modules.close()
    assert compiling.processes() == set()
    ends = await asyncio.gather(*loading, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)


async def test_a_process_that_was_killed_under_a_module_is_replaced_and_the_module_loads(
    compiling: Compiling, caplog: pytest.LogCaptureFixture
) -> None:
    loading = asyncio.create_task(compiling.load(HARDER))
    killed = await compiling.at_work(0.1, started=True)
    os.kill(killed, signal.SIGKILL)
    await loading
    assert killed not in compiling.processes()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().endswith("(signal 9); another one tries the module")


async def test_a_module_that_two_processes_die_of_is_invalid(
    compiling: Compiling, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compiler, "CPU_SECONDS", UNBOUNDED)
    loading = asyncio.create_task(compiling.refused(TIME_BOMB))
    first = await compiling.at_work(started=True)
    os.kill(first, signal.SIGABRT)
    os.kill(await compiling.at_work(other_than=first, started=True), signal.SIGABRT)
    error = await loading
    assert error.reason is ModuleReason.INVALID
    assert "the compiler died of it, twice (signal 6)" in error.message
    assert len(caplog.records) == 1
    await compiling.load(GOOD)


async def test_a_compiler_that_does_not_start_is_no_modules_fault(
    compiling: Compiling, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "_TARGET", "something.missing:main")
        with pytest.raises(OSError, match=r"does not start \(exit code 1: .*something"):
            await compiling.load(GOOD)
    await compiling.load(GOOD)


async def test_the_process_has_nothing_of_its_parent(compiling: Compiling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURATION_SECRET", "hunter2")
    read, write = os.pipe()
    try:
        os.set_inheritable(write, True)
        loading = asyncio.create_task(compiling.load(HARDER))
        process = await compiling.at_work(0.1)
        assert open_files("self")[write] not in open_files(process).values()
        assert b"CURATION" not in environment(process)
        await loading
    finally:
        os.close(read)
        os.close(write)


PARENT = """
import asyncio, sys
from pathlib import Path
sys.path[:] = sys.argv[2:]
from curation.wasm import compiler
compiler.CPU_SECONDS = 1_000_000
asyncio.run(compiler.Compiler(Path(sys.argv[1])).compile(sys.stdin.buffer.read()))
"""


async def test_a_parent_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path), *sys.path]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as parent:  # noqa: ASYNC220
        try:
            assert parent.stdin is not None
            parent.stdin.write(TIME_BOMB)
            parent.stdin.close()
            await until(lambda: any(cpu_seconds(pid) > 0.5 for pid in children(parent.pid)))
            (child,) = children(parent.pid)
        finally:
            parent.kill()
    await until(lambda: not runs(child))
