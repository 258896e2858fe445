"""How long a stop may wait, in all: 5 s, and 2 s until another replica leads. Times that were measured are in docs/."""

import asyncio
import contextlib
import gc
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import kopf
import pytest
import uvloop
import yaml

from curation.cluster import lease, sockets
from curation.cluster.resources import JOBS
from curation.reconciler.jobs.takeover import Takeover
from curation.reconciler.process import lifetime as process
from curation.reconciler.process import stopping
from curation.reconciler.process.assembly import Work
from curation.reconciler.process.lifetime import Exit, Process
from curation.reconciler.runtime import health_server
from curation.reconciler.runtime.job_index import JobIndex
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.settings import Settings
from curation.workers import worker
from testing.clock import SetClock
from tests.harness.certificates import self_signed
from tests.unit.reconciler.disconnected import disconnected, document
from tests.unit.reconciler.virtual_time import in_virtual_time, loop, now

ROOT = Path(__file__).parents[3]


def test_all_that_a_stop_waits_for_is_less_than_5_seconds() -> None:
    first = Settings().drain_seconds + stopping.GRACE_SECONDS + lease.RELEASE_SECONDS
    assert first <= stopping.STOP_SECONDS, "what must not be cut short has room"
    assert stopping.STOP_SECONDS + health_server.SHUTDOWN_SECONDS + sockets.CLOSE_SECONDS < 5


def test_all_that_a_failover_after_a_stop_waits_for_is_less_than_2_seconds() -> None:
    assert Settings().drain_seconds + stopping.GRACE_SECONDS + lease.POLL_PERIOD * (1 + lease.POLL_SPREAD) < 2


def test_a_candidate_adds_less_than_2_seconds_to_a_lease_that_runs_out() -> None:
    # It may see the last renewal a poll late, and again the end.
    assert 2 * lease.POLL_PERIOD * (1 + lease.POLL_SPREAD) < 2


@pytest.mark.parametrize(
    ("seconds", "left"),
    [
        pytest.param(0.0, 2.0, id="nothing was waited for"),
        pytest.param(stopping.STOP_SECONDS - 0.5, 0.5, id="half a second is left"),
        pytest.param(stopping.STOP_SECONDS + 9.0, 0.0, id="nothing is left"),
    ],
)
def test_what_is_only_tidy_is_waited_for_as_long_as_the_stop_may_still_take(seconds: float, left: float) -> None:
    clock = SetClock()
    ending = Process(Settings(), monotonic=clock)
    ending.stop()
    clock.now += seconds
    assert ending.patience(2.0) == pytest.approx(left)


def test_what_is_only_tidy_is_not_waited_for_when_another_process_is_about_to_lead() -> None:
    losing = Process(Settings())
    losing.stop(Exit.LEASE_LOST)
    assert losing.patience(2.0) == 0.0


def test_a_second_signal_gives_a_stop_no_more_time() -> None:
    clock = SetClock()
    ending = Process(Settings(), monotonic=clock)
    ending.stop()
    clock.now += stopping.STOP_SECONDS
    ending.stop()
    assert ending.patience(2.0) == 0.0


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
        ending = Process(context.settings, monotonic=loop().time)

        async def slow_revision(*_: object) -> int:
            ending.stop()
            await asyncio.sleep(0.1)
            return 1

        async def reconcile(key: Key) -> None:
            reconciled.append(key)

        async def stop_work() -> None:
            await asyncio.sleep(0.25)

        ending._plan.add("executions", stop_work)

        monkeypatch.setattr(context.api, "revision", slow_revision)
        takeover = Takeover(context, rig.memories, rig.executor, rig.modules)
        reconcilers: Any = dict.fromkeys(context.caches, reconcile)
        connection: Any = None
        none: Any = None
        index = JobIndex(context.metrics)
        work = Work(reconcilers, none, rig.modules, rig.runs, takeover, none, none, index, rig.memories)
        await ending._serve(connection, context, work)
        await ending._plan.run()
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


CLOSED = RuntimeError(
    "unable to perform operation on <TCPTransport closed=True reading=False 0x1>; the handler is closed"
)


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        pytest.param(CLOSED, False, id="a closed connection"),
        pytest.param(RuntimeError("a bug"), True, id="a bug"),
        pytest.param(RecursionError("; the handler is closed"), True, id="another error"),
    ],
)
@pytest.mark.parametrize("where", ["operator", "worker"])
def test_that_a_closed_tls_connection_can_send_no_answer_is_no_error(
    error: RuntimeError, logged: bool, where: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """uvloop calls the handler itself: of what a real protocol raises as it reads."""
    pem, context = self_signed(tmp_path, "127.0.0.1")

    class Greets(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            cast(asyncio.Transport, transport).write(b"hello")  # uvloop's does not derive from it

    class Raises(asyncio.Protocol):
        def data_received(self, _: bytes) -> None:
            raise error

    async def read() -> None:
        loop = asyncio.get_running_loop()
        handler = Process(Settings()).failed_in_background if where == "operator" else worker.failed
        told = asyncio.Event()

        def tell(loop: asyncio.AbstractEventLoop, what: dict[str, Any]) -> None:
            handler(loop, what)
            told.set()

        loop.set_exception_handler(tell)
        server = await loop.create_server(Greets, "127.0.0.1", 0, ssl=context)
        client = ssl.create_default_context(cafile=str(pem))
        await loop.create_connection(Raises, *server.sockets[0].getsockname(), ssl=client)
        await told.wait()
        server.close()
        await server.wait_closed()

    uvloop.run(read())
    assert ("Fatal error on SSL protocol" in caplog.text) is logged


def hangs(heard: list[str], name: str) -> Callable[[], Awaitable[None]]:
    """The end of a part that never comes, and that does not even heed the first cancellation."""

    async def end() -> None:
        heard.append(name)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    return end


@in_virtual_time
async def test_a_stop_whose_every_step_hangs_passes_over_each_says_so_and_ends_before_it_is_killed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    deployment = yaml.safe_load((ROOT / "manifests/base/deployment.yaml").read_text())
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    ending, taken = Process(Settings(), monotonic=loop().time), list[str]()
    steps = stopping.steps(Settings().drain_seconds)
    caplog.set_level(logging.INFO)
    for name in {step.name: None for step in reversed(steps)}:  # in another order than they are taken in
        ending._plan.add(name, hangs(taken, name))
    ending.stop()
    passed_over = await ending._plan.run()
    assert taken == passed_over == [step.name for step in steps]
    assert now() == pytest.approx(sum(step.seconds for step in steps if not step.tidy))
    assert now() < grace
    for step in steps:
        told = "the stop has no time to wait for {}" if step.tidy else "the stop passes over {}, which has not ended"
        assert told.format(step.name) in caplog.text


@in_virtual_time
async def test_what_is_only_tidy_takes_no_longer_than_a_stop_may_and_all_else_is_done_nevertheless() -> None:
    ending, taken = Process(Settings(), monotonic=loop().time), list[str]()
    for step in stopping.steps(Settings().drain_seconds):
        if step.tidy:
            ending._plan.add(step.name, hangs(taken, step.name))
    ending._plan.add("connection", lambda: taken.append("connection"))
    ending.stop()
    await ending._plan.run()
    assert now() == pytest.approx(stopping.STOP_SECONDS)
    assert taken == ["kopf", "events", "notices", "connection"]


@in_virtual_time
async def test_a_step_that_fails_is_logged_and_keeps_no_other_from_being_taken(
    caplog: pytest.LogCaptureFixture,
) -> None:
    taken = list[str]()
    plan = stopping.StopPlan((stopping.Step("one", 1), stopping.Step("two", 1)), lambda seconds: seconds)

    async def fails() -> None:
        raise OSError("it is broken")

    plan.add("two", lambda: taken.append("made first"))
    plan.add("two", fails)
    plan.add("two", lambda: taken.append("made last"))
    plan.add("one", lambda: taken.append("the first step"))
    assert await plan.run() == []
    assert taken == ["the first step", "made last", "made first"]
    assert "the stop of two has failed" in caplog.text
    assert "it is broken" in caplog.text


@in_virtual_time
async def test_a_stop_that_is_cancelled_goes_on_to_its_end() -> None:
    taken = list[str]()
    plan = stopping.StopPlan((stopping.Step("one", 5), stopping.Step("two", 5)), lambda seconds: seconds)
    plan.add("one", hangs(taken, "one"))
    plan.add("two", lambda: taken.append("two"))
    task = asyncio.create_task(plan.run())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert taken == ["one", "two"]
    assert now() == pytest.approx(1)


def test_the_work_ends_before_the_lease_and_again_after_it() -> None:
    order = [step.name for step in stopping.steps(1.0)]
    before, after = order[: order.index("lease")], order[order.index("lease") :]
    for step in stopping.WORK:
        assert step.name in before
        assert step.name in after
    assert before.index("workers") < before.index(stopping.WORK[0].name)
    assert order[-1] == "connection", "all others may need it"
