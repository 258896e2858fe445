"""A dead fence stops side effects (docs/fence.md, rule 6).

| killed while                        | further requests | the guest                    |
|-------------------------------------|------------------|------------------------------|
| it waits for a thread or its module | -                | never runs                   |
| a call is not yet on the wire       | none             | gets `cancelled`             |
| a call is on the wire               | none             | gets the answer, may return  |
| it spins                            | none             | is interrupted               |
| it calls on and on                  | none             | is interrupted               |
| its trigger is Cancel               | go on            | goes on                      |
| it has ended                        | -                | its report stays             |
"""

import asyncio
import json
from typing import Any

import pytest

from curation.lifecycle.outcome import (
    Calls,
    Cancelled,
    Completed,
    Failed,
    FailureClass,
    SessionRef,
    SessionSpawned,
    Trigger,
)
from curation.wasm.limits import Limits
from tests.guests import hostile
from tests.guests.wat import Script
from tests.unit.execution.conftest import GENEROUS, ROOMY, Rig, ended, until

SPAWNED = {"action": "SessionSpawned", "session": {"id": "s-1", "url": "http://x/s-1"}}
DONE = {"action": "Completed", "output": {}}


def post(url: str) -> dict[str, Any]:
    return {"method": "POST", "url": url, "body": "{}"}


@pytest.mark.parametrize("trigger", [Trigger.SUBMIT, Trigger.OBSERVE])
async def test_a_call_that_has_not_left_is_stopped_and_answered_cancelled(rig: Rig, trigger: Trigger) -> None:
    script = Script().call(post(rig.peer.url("/", host="slow.test"))).log_answer().ok(DONE)
    execution = rig.start(script, trigger)
    await rig.names.asked.wait()
    execution.stop("the template changed")
    report = await ended(execution)  # the name is still not resolved
    assert json.loads(report.log.removeprefix("info: "))["code"] == "cancelled"
    assert "the template changed" in report.log
    assert report.calls == Calls(left=0, answered=0, allowed=1)
    assert report.dead
    assert rig.peer.seen == []
    assert rig.notes.calls == [("allowed", "cancelled")]


async def test_a_call_on_the_wire_is_awaited_and_its_session_becomes_known(rig: Rig) -> None:
    script = Script().call(post(rig.peer.url("/hold"))).log_answer().call(post(rig.peer.url("/more"))).log_answer()
    execution = rig.start(script.ok(SPAWNED))
    await rig.peer.reached("/hold")
    execution.stop("the template changed")
    done, _ = await asyncio.wait([execution.ended], timeout=0.3)
    assert not done, "the answer must be awaited"
    rig.peer.go_on.set()
    report = await ended(execution)
    first, second = report.log.split("\n")
    assert '"status":200' in first
    assert '"code":"cancelled"' in second
    assert report.result == SessionSpawned(SessionRef("s-1", "http://x/s-1"))
    assert report.calls == Calls(left=1, answered=1, allowed=1)
    assert report.dead
    assert rig.peer.count("/more") == 0


async def test_a_guest_that_spins_when_it_is_killed_is_interrupted(rig: Rig) -> None:
    script = Script().call(post(rig.peer.url("/"))).ends_with(hostile.SPIN)
    execution = rig.start(script)
    await rig.peer.reached("/")
    execution.stop("suspended")
    report = await ended(execution)
    assert isinstance(report.result, Failed)
    assert "interrupted" in report.result.message
    assert report.dead


async def test_a_killed_guest_that_calls_on_and_on_is_interrupted_and_nothing_leaves(rig: Rig) -> None:
    calls = Script().call(post(rig.peer.url("/hold"))).call(post(rig.peer.url("/more")), times=2_000_000_000)
    execution = rig.start(calls.ok(DONE), limits=Limits(cpu_seconds=300, wall_seconds=300, http_calls=1 << 40))
    await rig.peer.reached("/hold")
    execution.stop("deleted")
    rig.peer.go_on.set()
    report = await ended(execution)
    assert isinstance(report.result, Failed)
    assert report.calls == Calls(left=1, answered=1, allowed=1)
    assert rig.peer.count("/more") == 0


async def test_a_cancel_execution_is_not_stopped(rig: Rig) -> None:
    script = Script().call(post(rig.peer.url("/hold"))).call(post(rig.peer.url("/more"))).ok({"action": "Cancelled"})
    execution = rig.start(script, Trigger.CANCEL)
    await rig.peer.reached("/hold")
    execution.stop("deleted")
    rig.peer.go_on.set()
    report = await ended(execution)
    assert report.result == Cancelled()
    assert not report.dead
    assert rig.peer.count("/more") == 1


async def test_an_execution_that_waits_for_a_thread_ends_at_once_and_never_runs(narrow: Rig) -> None:
    first = narrow.start(Script().call(post(narrow.peer.url("/hold"))).ok(DONE))
    await narrow.peer.reached("/hold")
    second = narrow.start(Script().call(post(narrow.peer.url("/second"))).ok(DONE))
    third = narrow.start(Script().call(post(narrow.peer.url("/third"))).ok(DONE))
    await until(lambda: narrow.executor.in_flight == 3 and len(narrow.executor.places._waiters or ()) == 2)
    second.stop("suspended")
    report = await ended(second)
    assert report.dead
    assert isinstance(report.result, Failed)
    assert report.calls == Calls()
    narrow.peer.go_on.set()
    assert (await ended(first)).result == Completed({})
    assert (await ended(third)).result == Completed({})
    assert narrow.peer.count("/second") == 0


async def test_an_execution_whose_module_is_being_fetched_ends_at_once(rig: Rig) -> None:
    asked, never = asyncio.Event(), asyncio.Event()

    async def fetch() -> bytes:
        asked.set()
        await never.wait()
        return b""

    request = rig.request(Script().ok(DONE))
    rig.stock.bytes[request.module.digest] = fetch()
    execution = rig.ask(request)
    await asked.wait()
    execution.stop("deleted")
    report = await ended(execution)
    assert report.dead
    assert isinstance(report.result, Failed)


async def test_a_kill_after_the_end_changes_nothing(rig: Rig) -> None:
    execution = rig.start(Script().ok(DONE))
    before = await ended(execution)
    execution.stop("late")
    assert await ended(execution) is before
    assert not before.dead


async def test_a_second_kill_changes_nothing(rig: Rig) -> None:
    execution = rig.start(Script().call(post(rig.peer.url("/hold"))).ok(SPAWNED))
    await rig.peer.reached("/hold")
    execution.stop("edited")
    execution.stop("edited back")
    rig.peer.go_on.set()
    report = await ended(execution)
    assert report.dead
    assert isinstance(report.result, SessionSpawned)


async def test_killing_one_execution_leaves_the_others_alone(rig: Rig) -> None:
    script = Script().call(post(rig.peer.url("/hold"))).call(post(rig.peer.url("/more"))).ok(DONE)
    executions = [rig.start(script) for _ in range(5)]
    await rig.peer.reached("/hold", 5)
    executions[2].stop("suspended")
    rig.peer.go_on.set()
    reports = [await ended(execution) for execution in executions]
    assert [report.dead for report in reports] == [False, False, True, False, False]
    assert rig.peer.count("/more") == 4


async def test_a_run_past_its_wall_limit_is_cut_even_on_the_wire_and_is_a_timeout(rig: Rig) -> None:
    execution = rig.start(Script().call(post(rig.peer.url("/hold"))).ok(DONE), limits=Limits(wall_seconds=3))
    report = await ended(execution)
    assert isinstance(report.result, Failed)
    assert report.result.failure_class is FailureClass.TIMEOUT
    assert "wallSeconds" in report.result.message
    assert "allowed 3 s" in report.result.message
    assert report.calls == Calls(left=1, answered=0, allowed=1)
    assert rig.notes.calls == [("allowed", "timeout")]


async def test_whoever_stops_waiting_for_a_report_does_not_stop_the_execution(rig: Rig) -> None:
    execution = rig.start(Script().call(post(rig.peer.url("/hold"))).ok(DONE), limits=ROOMY)
    await rig.peer.reached("/hold")
    waiter = asyncio.create_task(execution.report())
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait([waiter], timeout=GENEROUS)
    assert waiter.cancelled()
    rig.peer.go_on.set()
    assert (await ended(execution)).result == Completed({})


async def test_a_guest_that_the_pool_kept_though_it_had_no_thread_never_calls(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ThreadPoolExecutor.submit` queues first and starts a thread after: it may raise, and run the guest later."""
    pool, kept = rig.executor.guests.pool, []
    submit = pool.submit

    def no_thread(*args: Any) -> Any:
        kept.append(args)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pool, "submit", no_thread)
    report = await ended(rig.start(Script().call(post(rig.peer.url("/late"))).ok(DONE)))
    assert isinstance(report.result, Failed)
    await asyncio.gather(*(asyncio.wrap_future(submit(*args)) for args in kept))
    assert rig.peer.seen == []
