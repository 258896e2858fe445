"""Guests, hostile ones too, side by side in the executor: each ends as it should, and the others do not notice."""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wasmtime.component._linker import FUNCTIONS

from curation.execution import guest_execution
from curation.execution.guest_calls import LONG_BYTES
from curation.execution.guest_result import guest_result
from curation.execution.in_process import InProcessExecutor
from curation.execution.origin_credentials import OriginCredential
from curation.execution.seam import ExecutionRequest, Unsupplied
from curation.guests import run
from curation.guests.priority import GUEST_NICE
from curation.lifecycle.outcome import (
    Completed,
    Failed,
    FailureClass,
    Report,
    Result,
    RunKey,
    SessionFailed,
    SessionRef,
    SessionSpawned,
    StillRunning,
    Trigger,
)
from curation.wasm.guest import run_seated
from curation.wasm.guest_end import GuestEnd
from curation.wasm.limits import Limits
from curation.wasm.module_bytes import digest_of
from curation.wasm.module_errors import ModuleLoadError, ModuleReason, ModuleUnreadable
from curation.wasm.seats import KEPT
from tests.guests import hostile
from tests.guests.wat import Script
from tests.unit.execution.conftest import GENEROUS, NAMESPACE, Rig, ended

DONE = {"action": "Completed", "output": {"n": 1}}
TIGHT = Limits(cpu_seconds=0.3, wall_seconds=60, memory=8 << 20)


def failed(report: Report) -> Failed:
    assert isinstance(report.result, Failed), report.result
    return report.result


@pytest.mark.parametrize(
    ("trigger", "document", "expected"),
    [
        (Trigger.SUBMIT, {"action": "SessionSpawned", "session": {"id": "s-1"}}, SessionSpawned(SessionRef("s-1"))),
        (Trigger.SUBMIT, DONE, Completed({"n": 1})),
        (Trigger.OBSERVE, {"action": "Running", "progress": {"step": 2}}, StillRunning({"step": 2})),
        (Trigger.OBSERVE, DONE, Completed({"n": 1})),
        (Trigger.OBSERVE, {"action": "Failed", "reason": "out of budget"}, SessionFailed("out of budget")),
    ],
)
async def test_a_result_is_reported_for_its_run(
    rig: Rig, trigger: Trigger, document: dict[str, object], expected: object
) -> None:
    execution = rig.start(Script().ok(document), trigger)
    report = await ended(execution)
    assert report.result == expected
    assert (report.trigger, report.run) == (trigger, execution.request.run)
    assert not report.dead


async def test_a_result_is_parsed_outside_of_the_event_loop(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is as long as it may be takes a second."""
    parsing: list[threading.Thread] = []

    def authorize(*arguments: Any) -> Result:
        parsing.append(threading.current_thread())
        return guest_result(*arguments)

    monkeypatch.setattr(guest_execution, "guest_result", authorize)
    text = "x" * LONG_BYTES
    long = {"action": "Completed", "output": {"text": text}}
    limits = Limits(cpu_seconds=60, output_size=2 * LONG_BYTES)
    report = await ended(rig.start(Script().ok(long), Trigger.OBSERVE, limits=limits))
    assert report.result == Completed({"text": text})
    assert len(parsing) == 1
    assert parsing[0] is not threading.main_thread()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a priority is of the whole process")
async def test_a_guest_gives_way_to_the_event_loop(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else hundreds that compute keep it from hearing what it is told, and a worker that hears nothing is killed."""
    priorities: list[int] = []

    def noted(*arguments: Any) -> GuestEnd:
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return run_seated(*arguments)

    monkeypatch.setattr(run, "run_seated", noted)
    await ended(rig.start(Script().ok(DONE), Trigger.OBSERVE))
    ours = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert priorities == [min(19, ours + GUEST_NICE)]
    assert ours < priorities[0]


async def test_the_module_gets_all_of_its_context(rig: Rig) -> None:
    request = ExecutionRequest(
        trigger=Trigger.OBSERVE,
        run=RunKey("u", "u.g7.a2", 7, 2, "v1:d"),
        namespace=NAMESPACE,
        job="j",
        module=rig.request(Script().log_context().ok({"action": "Running"})).module,
        labels={"l": "1"},
        input={"a": 1, "gone": None},
        config={"u": "v"},
        session=SessionRef("s-1"),
    )
    report = await ended(rig.ask(request))
    context = json.loads(report.log.removeprefix("info: "))
    assert context.pop("deadline").endswith("Z")
    assert context == {
        "trigger": "Observe",
        "run": {"id": "u.g7.a2", "generation": 7, "attempt": 2},
        "annotations": {
            "curation.dev/run-id": "u.g7.a2",
            "curation.dev/generation": "7",
            "curation.dev/attempt": "2",
            "curation.dev/template-digest": "v1:d",
        },
        "job": {"namespace": NAMESPACE, "name": "j", "uid": "u", "labels": {"l": "1"}},
        "input": {"a": 1},
        "config": {"u": "v"},
        "session": {"id": "s-1", "url": None},
    }


@pytest.mark.parametrize(
    ("wasm", "failure_class", "message"),
    [
        (hostile.spins, FailureClass.LIMIT_EXCEEDED, "cpuSeconds"),
        (hostile.allocates_for_ever, FailureClass.LIMIT_EXCEEDED, "memory was hit"),
        (lambda: hostile.starts_with(pages=1000), FailureClass.LIMIT_EXCEEDED, "allowed 8Mi"),
        (hostile.grows_for_ever, FailureClass.LIMIT_EXCEEDED, "cpuSeconds"),
        (lambda: hostile.returns_giant(1 << 20), FailureClass.LIMIT_EXCEEDED, "outputSize was hit: used 1048576 bytes"),
        (lambda: hostile.logs_giant(1 << 20), FailureClass.TRAP, "unreachable"),
        (hostile.traps, FailureClass.TRAP, "main!give_up"),
        (hostile.recurses, FailureClass.TRAP, "call stack exhausted"),
        (hostile.returns_wild_pointer, FailureClass.TRAP, "out of bounds"),
        (hostile.calls_wasi, FailureClass.TRAP, "wasi:cli/exit"),
        (hostile.core_module, FailureClass.MODULE_UNAVAILABLE, "core WebAssembly module"),
        (lambda: b"not wasm at all", FailureClass.MODULE_UNAVAILABLE, "not WebAssembly"),
        (hostile.exports_nothing, FailureClass.MODULE_UNAVAILABLE, "AbiMismatch"),
        (hostile.imports_more, FailureClass.MODULE_UNAVAILABLE, "AbiMismatch"),
    ],
)
async def test_a_hostile_guest_fails_by_its_class_and_a_healthy_one_beside_it_succeeds(
    rig: Rig, wasm: Callable[[], bytes], failure_class: FailureClass, message: str
) -> None:
    healthy = Script().call({"method": "GET", "url": rig.peer.url("/")}).ok(DONE)
    bad, good = await asyncio.gather(rig.run(wasm(), limits=TIGHT), rig.run(healthy))
    assert failed(bad).failure_class is failure_class
    assert message in failed(bad).message
    assert good.result == Completed({"n": 1})


async def test_a_giant_log_is_kept_by_its_end_and_within_bounds(rig: Rig) -> None:
    script = Script().log("first").log("x" * 3000).log("last", level="error", times=30).error({"message": "no"})
    report = await rig.run(script)
    assert len(report.log.encode()) <= 2048
    assert report.log.split("\n") == ["error: last"] * 20


async def test_a_slow_service_costs_no_processor_time(rig: Rig) -> None:
    script = Script().call({"method": "GET", "url": rig.peer.url("/hold")}).ok(DONE)
    execution = rig.start(script, limits=Limits(cpu_seconds=0.3))
    await rig.peer.reached("/hold")
    done, _ = await asyncio.wait([execution.ended], timeout=0.6)  # twice the limit
    assert not done
    rig.peer.go_on.set()
    assert (await ended(execution)).result == Completed({"n": 1})


async def test_fifty_runs_wait_in_their_calls_at_once_and_all_end(rig: Rig) -> None:
    script = Script().call({"method": "GET", "url": rig.peer.url("/hold")}).ok(DONE)
    before = threading.active_count()
    executions = [rig.start(script) for _ in range(50)]
    await rig.peer.reached("/hold", 50)
    assert rig.executor.in_flight == 50
    assert threading.active_count() - before <= 256
    rig.peer.go_on.set()
    async with asyncio.timeout(GENEROUS):
        reports = await asyncio.gather(*(execution.report() for execution in executions))
    assert [report.result for report in reports] == [Completed({"n": 1})] * 50
    assert rig.executor.in_flight == 0


async def test_threads_are_made_as_they_are_needed_and_used_again(rig: Rig) -> None:
    for _ in range(40):
        await rig.run(Script().ok(DONE))
    # A thread is idle again a moment after its run has ended, so that the next run may still make a second one.
    assert 1 <= sum(thread.name.startswith("wasm-guest") for thread in threading.enumerate()) <= 5


async def test_hundreds_of_runs_leave_nothing_behind(rig: Rig) -> None:
    script = Script().call({"method": "GET", "url": rig.peer.url("/")}).ok(DONE)
    await rig.run(script)
    tasks, functions = len(asyncio.all_tasks()), len(FUNCTIONS.handles)
    for _ in range(3):
        async with asyncio.timeout(GENEROUS):
            await asyncio.gather(*(rig.start(script).report() for _ in range(100)))
    assert len(FUNCTIONS.handles) - functions == 2 * (len(rig.executor.guests.seats) - 1), "those of free seats alone"
    assert len(rig.executor.guests.seats) <= KEPT
    rig.executor.guests.seats.drop(digest_of(script))
    assert len(FUNCTIONS.handles) == functions - 2
    # The server keeps a task for each open connection; ours are gone.
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("execution")]
    assert rig.executor.in_flight == 0
    assert len(asyncio.all_tasks()) <= tasks + 100


async def test_a_fetch_that_fails_is_unavailable_with_its_reason(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    request = rig.request(Script().ok(DONE))
    rig.stock.bytes[request.module.digest] = OSError("the API server is away")
    report = await ended(rig.ask(request))
    assert failed(report).failure_class is FailureClass.MODULE_UNAVAILABLE
    assert "the API server is away" in failed(report).message
    (record,) = caplog.records
    assert "failed inside the operator" in record.getMessage()
    assert request.log_fields.items() <= vars(record).items()


async def test_what_is_missing_is_distinguished_from_what_cannot_be_had_now(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for error, absent in [
        (ModuleLoadError(ModuleReason.NOT_FOUND, "no such ConfigMap"), True),
        (ModuleLoadError(ModuleReason.INVALID, "no WebAssembly"), False),
        (ModuleUnreadable("the API server is away"), False),
    ]:
        request = rig.request(Script().ok({"action": "Completed", "output": {"n": str(error)}}))
        rig.stock.bytes[request.module.digest] = error
        result = failed(await ended(rig.ask(request)))
        assert (result.failure_class, result.absent) == (FailureClass.MODULE_UNAVAILABLE, absent)
        assert str(error) in result.message
    for absent in (True, False):

        async def credentials(_: object, absent: bool = absent) -> None:
            raise Unsupplied("no such Secret", absent=absent)

        monkeypatch.setattr(rig.stock, "credentials", credentials)
        request = rig.request(Script().ok(DONE), credentials=(OriginCredential("https", "a.test", 443, "X-Key", "v"),))
        result = failed(await ended(rig.ask(request)))
        assert result == Failed(FailureClass.MODULE_UNAVAILABLE, "no such Secret", absent)
    assert not caplog.records, "none of them is a bug of the operator's"


async def test_an_artifact_that_was_removed_is_compiled_anew(rig: Rig, tmp_path: Path) -> None:
    script = Script().ok(DONE)
    await rig.run(script)
    for path in (tmp_path / "cache").iterdir():
        path.unlink()
    assert (await rig.run(script)).result == Completed({"n": 1})


async def test_closing_awaits_the_wire_and_leaves_no_thread(rig: Rig) -> None:
    script = Script().call({"method": "GET", "url": rig.peer.url("/hold")}).ok(DONE)
    execution = rig.start(script)
    await rig.peer.reached("/hold")
    closing = asyncio.create_task(rig.executor.drain(grace=GENEROUS))
    done, _ = await asyncio.wait([closing], timeout=0.2)
    assert not done, "the answer must be awaited"
    rig.peer.go_on.set()
    await asyncio.wait_for(closing, GENEROUS)
    report = await ended(execution)
    assert report.result == Completed({"n": 1})
    assert report.dead
    assert not any(thread.name.startswith(("wasm-guest", "wasm-watchdog")) for thread in threading.enumerate())


@pytest.mark.parametrize("trigger", list(Trigger))
async def test_closing_cuts_what_does_not_end_within_the_grace(rig: Rig, trigger: Trigger) -> None:
    held = rig.start(Script().call({"method": "GET", "url": rig.peer.url("/hold")}).ok(DONE), trigger)
    spinning = rig.start(Script().call({"method": "GET", "url": rig.peer.url("/")}).ends_with(hostile.SPIN), trigger)
    await rig.peer.reached("/hold")
    await rig.peer.reached("/")
    await asyncio.wait_for(rig.executor.drain(grace=0.1), GENEROUS)
    reports = [await ended(execution) for execution in (held, spinning)]
    assert all(isinstance(report.result, Failed) and report.dead for report in reports)
    assert reports[0].calls.left == 1
    assert reports[0].calls.answered == 0
    assert not any(thread.name.startswith(("wasm-guest", "wasm-watchdog")) for thread in threading.enumerate())


async def test_what_is_started_after_the_close_ends_at_once_and_is_dead(rig: Rig) -> None:
    await rig.executor.drain(grace=1)
    report = await rig.run(Script().ok(DONE))
    assert report.dead
    assert isinstance(report.result, Failed)


async def test_the_observer_is_notified_of_every_start_call_and_end(rig: Rig) -> None:
    script = Script().call({"method": "GET", "url": rig.peer.url("/")}, times=2).ok(DONE)
    execution = rig.start(script)
    report = await ended(execution)
    assert rig.notes.started == [execution.request]
    assert rig.notes.calls == [("allowed", "200")] * 2
    assert rig.notes.ended == [report]


async def test_an_observer_that_fails_harms_no_run(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no disk")

    for name in ("on_start", "on_call", "on_end"):
        monkeypatch.setattr(rig.notes, name, fails)
    report = await rig.run(Script().call({"method": "GET", "url": rig.peer.url("/")}).ok(DONE))
    assert report.result == Completed({"n": 1})
    logged = [each for each in caplog.records if each.message == "an observer of executions failed"]
    assert [(vars(each)["job"], vars(each)["run_id"]) for each in logged] == [(f"{NAMESPACE}/job-1", report.run.id)] * 3


@pytest.mark.parametrize("number", [0, 4097])
async def test_a_pool_that_cannot_be_served_is_refused(rig: Rig, number: int) -> None:
    with pytest.raises(ValueError, match="1 to 4096"):
        InProcessExecutor(rig.modules, rig.executor.gate, rig.client, rig.stock, max_concurrent=number)
