"""How long a stop may wait, in all: 5 s, and 2 s until another replica leads. Times that were measured are in docs/."""

import asyncio
import gc
from pathlib import Path
from typing import Any

import kopf
import pytest

from curation.cluster import lease, sockets
from curation.cluster.resources import JOBS
from curation.reconciler.jobs.takeover import Takeover
from curation.reconciler.process import lifetime as process
from curation.reconciler.process.assembly import Work
from curation.reconciler.process.lifetime import Exit, Process
from curation.reconciler.runtime import health_server
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.settings import Settings
from testing.clock import SetClock
from tests.unit.reconciler.disconnected import disconnected, document
from tests.unit.reconciler.virtual_time import in_virtual_time, loop


def test_all_that_a_stop_waits_for_is_less_than_5_seconds() -> None:
    first = Settings().drain_seconds + process.GRACE_SECONDS + lease.RELEASE_SECONDS
    assert first <= process.STOP_SECONDS, "what must not be cut short has room"
    assert process.STOP_SECONDS + health_server.SHUTDOWN_SECONDS + sockets.CLOSE_SECONDS < 5


def test_all_that_a_failover_after_a_stop_waits_for_is_less_than_2_seconds() -> None:
    assert Settings().drain_seconds + process.GRACE_SECONDS + lease.POLL_PERIOD * (1 + lease.POLL_SPREAD) < 2


def test_a_candidate_adds_less_than_2_seconds_to_a_lease_that_runs_out() -> None:
    # It may see the last renewal a poll late, and again the end.
    assert 2 * lease.POLL_PERIOD * (1 + lease.POLL_SPREAD) < 2


@pytest.mark.parametrize(
    ("seconds", "left"),
    [
        pytest.param(0.0, 2.0, id="nothing was waited for"),
        pytest.param(process.STOP_SECONDS - 0.5, 0.5, id="half a second is left"),
        pytest.param(process.STOP_SECONDS + 9.0, 0.0, id="nothing is left"),
    ],
)
def test_what_is_only_tidy_is_waited_for_as_long_as_the_stop_may_still_take(seconds: float, left: float) -> None:
    clock = SetClock()
    stopping = Process(Settings(), monotonic=clock)
    stopping.stop()
    clock.now += seconds
    assert stopping.patience(2.0) == pytest.approx(left)


def test_what_is_only_tidy_is_not_waited_for_when_another_process_is_about_to_lead() -> None:
    losing = Process(Settings())
    losing.stop(Exit.LEASE_LOST)
    assert losing.patience(2.0) == 0.0


def test_a_second_signal_gives_a_stop_no_more_time() -> None:
    clock = SetClock()
    stopping = Process(Settings(), monotonic=clock)
    stopping.stop()
    clock.now += process.STOP_SECONDS
    stopping.stop()
    assert stopping.patience(2.0) == 0.0


@in_virtual_time
async def test_a_stop_before_the_work_has_begun_lets_none_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would go on beside the next leader's, until kopf has ended."""

    async def spawn_tasks(**_: object) -> list[asyncio.Task[None]]:
        return []

    async def run_tasks(*_: object, **__: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr("kopf.spawn_tasks", spawn_tasks)
    monkeypatch.setattr("kopf.run_tasks", run_tasks)
    monkeypatch.setattr(process, "sweeps", lambda *_: ())
    async with disconnected(tmp_path) as rig:
        context, reconciled = rig.context, list[Key]()
        context.caches[JOBS].put(document())
        stopping = Process(context.settings, monotonic=loop().time)

        async def slow_revision(*_: object) -> int:
            stopping.stop()
            await asyncio.sleep(0.1)
            return 1

        async def reconcile(key: Key) -> None:
            reconciled.append(key)

        async def stop_work() -> None:
            await asyncio.sleep(0.25)

        monkeypatch.setattr(context.api, "revision", slow_revision)
        takeover = Takeover(context, rig.memories, rig.modules)
        reconcilers: Any = dict.fromkeys(context.caches, reconcile)
        connection: Any = None
        none: Any = None
        work = Work(reconcilers, none, rig.modules, rig.runs, takeover, none, none)
        await stopping._serve(connection, context, work, stop_work)
        assert reconciled == []


def define(file: Path) -> dict[str, Any]:
    """An async function and an async generator that fail, as if they were written in this file."""
    text = """
async def fails():
    raise AttributeError("the session is closed")

async def fails_at_its_end():
    try:
        yield
    finally:
        raise AttributeError("the session is closed")
"""
    found: dict[str, Any] = {}
    exec(compile(text, str(file), "exec"), found)
    return found


@pytest.mark.parametrize("what", ["task", "generator"])
@pytest.mark.parametrize(
    ("of_kopf", "ends", "logged"),
    [
        pytest.param(True, True, False, id="kopf's, when it ends"),
        pytest.param(True, False, True, id="kopf's, while it works"),
        pytest.param(False, True, True, id="our own"),
    ],
)
def test_what_fails_in_the_background_is_logged_unless_kopf_leaves_it_behind(
    what: str, of_kopf: bool, ends: bool, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    made = define(Path(kopf.__file__ if of_kopf else process.__file__).parent / "made.py")
    kept: list[Any] = []

    async def leave_behind() -> None:
        ending = Process(Settings())
        ending._kopf_ends = ends
        asyncio.get_running_loop().set_exception_handler(ending.failed_in_background)
        if what == "task":
            await asyncio.wait({asyncio.create_task(made["fails"]())})
        else:
            kept.append(made["fails_at_its_end"]())
            await anext(kept[0])

    with asyncio.Runner() as runner:
        runner.run(leave_behind())
        gc.collect()
    assert ("the session is closed" in caplog.text) is logged
