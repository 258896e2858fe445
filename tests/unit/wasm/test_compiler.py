"""The compiler's process: what a module may take of it, and that it is replaced, and never left behind."""

import asyncio
import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from curation.wasm import compiler, store
from curation.wasm.store import LoadedModule, ModuleLoadError, ModuleReason, ModuleStore
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


def children() -> set[int]:
    """Processes of this one, those too that have ended and were not reaped."""
    found = {int(path.name): stat(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit()}
    return {pid for pid, fields in found.items() if fields is not None and int(fields[1]) == os.getpid()}


def runs(pid: int) -> bool:
    fields = stat(pid)
    return fields is not None and fields[0] not in "ZX"


def cpu_seconds(pid: int) -> float:
    fields = stat(pid)
    return 0 if fields is None else (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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

    async def load(self, wasm: bytes) -> LoadedModule:
        async with asyncio.timeout(GENEROUS):
            return await self.modules.load_bytes(wasm)

    async def refused(self, wasm: bytes) -> ModuleLoadError:
        with pytest.raises(ModuleLoadError) as caught:
            await self.load(wasm)
        return caught.value

    async def at_work(self, seconds: float = 1, other_than: int = 0) -> int:
        """Waits until a process has used so much processor time: starting takes a fraction of it."""

        def works() -> bool:
            return any(pid != other_than and cpu_seconds(pid) > seconds for pid in self.processes())

        await until(works)
        return self.process


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


async def test_a_module_that_takes_too_long_without_using_the_processor_is_refused(
    compiling: Compiling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await compiling.load(GOOD)
    stopped = compiling.process
    os.kill(stopped, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "WALL_SECONDS", 0.5)
        error = await compiling.refused(HARD)
    assert error.reason is ModuleReason.TOO_LARGE
    assert "more than 0.5 s" in error.message
    await compiling.load(OTHER)
    assert compiling.process != stopped


async def test_processor_time_is_counted_for_each_module_anew(compiling: Compiling) -> None:
    await compiling.load(HARD)
    process = compiling.process
    used = cpu_seconds(process)
    await compiling.load(GOOD)
    assert compiling.process == process
    limit, _ = resource.prlimit(process, resource.RLIMIT_CPU)
    assert used + compiler.CPU_SECONDS <= limit <= used + compiler.CPU_SECONDS + 2


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
    monkeypatch.setattr(store, "MAX_REFUSED", 1)
    await compiling.refused(MEMORY_BOMB)
    await compiling.refused(hostile.hard_to_compile(1501))
    monkeypatch.setattr(compiler, "MEMORY_BYTES", 161 << 20)
    assert "more than 161Mi" in (await compiling.refused(MEMORY_BOMB)).message


async def test_what_earlier_modules_have_left_in_memory_is_not_a_modules_fault(compiling: Compiling) -> None:
    await compiling.load(GOOD)
    full = compiling.process
    resource.prlimit(full, resource.RLIMIT_AS, (1, resource.RLIM_INFINITY))
    await compiling.load(HARD)
    assert compiling.process != full


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


async def test_a_process_that_was_killed_while_idle_is_replaced(compiling: Compiling) -> None:
    await compiling.load(GOOD)
    killed = compiling.process
    os.kill(killed, signal.SIGKILL)
    await until(lambda: not runs(killed))
    await compiling.load(OTHER)
    assert compiling.process != killed


async def test_a_process_that_was_killed_under_a_module_is_replaced_and_the_module_loads(
    compiling: Compiling, caplog: pytest.LogCaptureFixture
) -> None:
    loading = asyncio.create_task(compiling.load(HARDER))
    killed = await compiling.at_work(0.4)
    os.kill(killed, signal.SIGKILL)
    await loading
    assert compiling.process != killed
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().endswith("(signal 9); another one tries the module")


async def test_a_module_that_two_processes_die_of_is_invalid(
    compiling: Compiling, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compiler, "CPU_SECONDS", UNBOUNDED)
    loading = asyncio.create_task(compiling.refused(TIME_BOMB))
    first = await compiling.at_work()
    os.kill(first, signal.SIGABRT)
    os.kill(await compiling.at_work(other_than=first), signal.SIGABRT)
    error = await loading
    assert error.reason is ModuleReason.INVALID
    assert "the compiler died of it, twice (signal 6)" in error.message
    assert len(caplog.records) == 1
    await compiling.load(GOOD)


async def test_a_compiler_that_does_not_start_is_no_modules_fault(
    compiling: Compiling, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "_START", "raise SystemExit('something is missing')")
        with pytest.raises(OSError, match=r"does not start \(exit code 1: something is missing\)"):
            await compiling.load(GOOD)
    await compiling.load(GOOD)


async def test_an_idle_process_is_ended_and_the_next_module_has_another_one(
    compiling: Compiling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "IDLE_SECONDS", 0.01)
    for wasm in (GOOD, OTHER):
        await compiling.load(wasm)
        await until(lambda: compiling.processes() == set())


async def test_modules_share_a_process_that_has_nothing_of_its_parent(
    compiling: Compiling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURATION_SECRET", "hunter2")
    read, write = os.pipe()
    try:
        os.set_inheritable(write, True)
        await compiling.load(GOOD)
        process = compiling.process
        assert open_files("self")[write] not in open_files(process).values()
        assert b"CURATION" not in environment(process)
        await compiling.load(OTHER)
        assert compiling.process == process
    finally:
        os.close(read)
        os.close(write)


PARENT = """
import sys
sys.path[:] = sys.argv[1:]
from curation.wasm import compiler
from curation.wasm.store import builtin_bytes, builtin_names
compiler.CPU_SECONDS = 1_000_000
one = compiler.Compiler()
one.compile(builtin_bytes(builtin_names()[0]))
print(one._child._process.pid, flush=True)
one.compile(sys.stdin.buffer.read())
"""


@pytest.mark.parametrize("wasm", [None, TIME_BOMB], ids=["idle", "compiling"])
async def test_a_parent_that_is_killed_leaves_no_process_behind(wasm: bytes | None) -> None:
    command = [sys.executable, "-c", PARENT, *sys.path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:  # noqa: ASYNC220
        try:
            assert parent.stdin is not None
            assert parent.stdout is not None
            child = int(await asyncio.to_thread(parent.stdout.readline))
            assert runs(child)
            if wasm is not None:
                before = cpu_seconds(child)
                parent.stdin.write(wasm)
                parent.stdin.close()
                await until(lambda: cpu_seconds(child) > before + 0.5)
        finally:
            parent.kill()
    await until(lambda: not runs(child))
