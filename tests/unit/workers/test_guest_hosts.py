"""A worker and its guest host end together, whichever is killed and whatever it does; the reason is the first one's."""

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from curation.execution.seam import Lost
from curation.isolation.nursery import Nursery
from curation.lifecycle.outcome import Calls, Completed, Failed, FailureClass
from curation.wasm.limits import Limits
from curation.workers.targets import TEMPLATE
from tests.guests import hostile
from tests.guests.wat import Script
from tests.unit.execution.conftest import Heard, Rig, until
from tests.unit.execution.conftest import rig as in_process
from tests.unit.workers.rigs import end_of, guest_host, with_workers, worker

__all__ = ["in_process"]
DONE = {"action": "Completed", "output": {}}


def post(rig: Rig, path: str) -> dict[str, object]:
    return {"method": "POST", "url": rig.peer.url(path), "body": "{}"}


async def lost(heard: Heard) -> Lost:
    end = await end_of(heard)
    assert isinstance(end, Lost), getattr(end, "report", end)
    return end


def runs(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def processor_ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


def mapped(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


async def computing(rig: Rig) -> Heard:
    """Its one call was answered; then it computes for ever."""
    heard = rig.start(
        Script().call(post(rig, "/")).ends_with(hostile.SPIN), limits=Limits(cpu_seconds=60, wall_seconds=60)
    )
    await rig.peer.reached("/")
    return heard


async def in_a_call(rig: Rig) -> Heard:
    heard = rig.start(Script().call(post(rig, "/")).call(post(rig, "/hold")).ok(DONE))
    await rig.peer.reached("/hold")
    return heard


async def between(rig: Rig) -> Heard:
    """One run has ended; another is computing and has called nothing."""
    assert (await rig.run(Script().ok(DONE))).result == Completed({})
    heard = rig.start(hostile.spins(), limits=Limits(cpu_seconds=60, wall_seconds=60))
    pid = await guest_host(rig)
    before = processor_ticks(pid)
    await until(lambda: processor_ticks(pid) > before + 5)
    return heard


@pytest.mark.parametrize(
    ("reached", "calls"),
    [
        (computing, Calls(left=1, answered=1, allowed=1)),
        (in_a_call, Calls(left=2, answered=1, allowed=2)),
        (between, Calls()),
    ],
)
async def test_a_guest_host_is_killed_and_its_worker_ends_with_it_and_what_has_left_is_known(
    rig: Rig, reached: Callable[[Rig], Awaitable[Heard]], calls: Calls
) -> None:
    heard = await reached(rig)
    first, second = await worker(rig), await guest_host(rig)
    os.kill(second, signal.SIGKILL)
    end = await lost(heard)
    assert end.calls is not None
    assert (end.calls.left, end.calls.allowed) == (calls.left, calls.allowed)
    assert end.calls.answered <= calls.answered, "an answer that was not told counts as not seen"
    assert "the guest host of its namespace has ended (signal 9)" in end.cause
    assert not end.over_limit
    assert (await rig.run(Script().ok(DONE))).result == Completed({})
    await until(lambda: not runs(first) and not runs(second))
    assert await guest_host(rig) != second


async def test_a_worker_is_killed_and_its_guest_host_ends_with_it(rig: Rig) -> None:
    heard = await in_a_call(rig)
    pid = await guest_host(rig)
    os.kill(await worker(rig), signal.SIGKILL)
    assert "the worker of its namespace has ended (signal 9)" in (await lost(heard)).cause
    await until(lambda: not runs(pid))


@pytest.mark.parametrize("reached", [computing, in_a_call])
async def test_a_guest_host_that_is_stopped_outlasts_no_limit_of_its_guests(
    in_process: Rig, monkeypatch: pytest.MonkeyPatch, reached: Callable[[Rig], Awaitable[Heard]]
) -> None:
    """Its worker gives it a while more than the wall limit, and ends both."""
    async with with_workers(in_process) as rig:
        first = Script().call(post(rig, "/"))
        script = first.ends_with(hostile.SPIN) if reached is computing else first.call(post(rig, "/hold")).ok(DONE)
        heard = rig.start(script, limits=Limits(cpu_seconds=60, wall_seconds=1))
        await rig.peer.reached("/" if reached is computing else "/hold")
        pid = await guest_host(rig)
        os.kill(pid, signal.SIGSTOP)
        end = await lost(heard)
        assert "has not said in time that a run has ended" in end.cause
        assert end.calls is not None
        assert end.calls.left == (1 if reached is computing else 2)
        await until(lambda: not runs(pid))
        assert (await rig.run(Script().ok(DONE))).result == Completed({})


async def test_a_guest_that_trapped_is_told_from_one_whose_process_was_killed(rig: Rig) -> None:
    report = await rig.run(hostile.traps())
    assert isinstance(report.result, Failed)
    assert report.result.failure_class is FailureClass.TRAP
    assert (await rig.run(Script().ok(DONE))).result == Completed({}), "by the same guest host"


async def test_without_templates_both_are_executed_and_end_together(in_process: Rig) -> None:
    """As where a fork is not safe."""
    nursery = Nursery(TEMPLATE, forks=False)
    async with with_workers(in_process, nursery=nursery) as rig:
        heard = await in_a_call(rig)
        first, second = await worker(rig), await guest_host(rig)
        os.kill(second, signal.SIGKILL)
        assert "the guest host of its namespace has ended (signal 9)" in (await lost(heard)).cause
        await until(lambda: not runs(first))
        assert (await rig.run(Script().ok(DONE))).result == Completed({})


async def test_the_template_of_guest_hosts_ends_and_another_is_started(rig: Rig) -> None:
    heard = await in_a_call(rig)
    template = rig.executor._guest_nursery.template_pid
    os.kill(template, signal.SIGKILL)
    await lost(heard)
    assert (await rig.run(Script().ok(DONE))).result == Completed({})
    assert rig.executor._guest_nursery.template_pid != template


async def test_a_guest_host_has_loaded_neither_the_models_nor_cedar_nor_a_client(rig: Rig) -> None:
    await rig.run(Script().ok(DONE))
    maps = mapped(await guest_host(rig))
    assert "wasmtime" in maps
    for each in ("pydantic", "cedarpy", "aiohttp", "uvloop", "_ssl", "libssl", "_asyncio"):
        assert each not in maps, each
