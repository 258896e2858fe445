"""A dead fence stops side effects (docs/fence.md, rule 6 and I5), with the session service's log as the witness.

A run that makes one call after another; a run whose call is on the wire; a run that spins; an edit and its reversal.
"""

import asyncio
import time
from collections.abc import Callable

import pytest

from testing.operator_process import OperatorProcess
from testing.sessions.journal import Entry
from tests.guests import hostile
from tests.guests.wat import Script
from tests.harness import manifests
from tests.harness.slow_runs import Point, assert_completions, hold, sessions_of, until_counted, until_dropped
from tests.harness.world import JOBS, SECONDS, World

# As many as a module may make.
CALLS = 1000
_POLL_SECONDS = 0.05


def many_calls(url: str, trigger: str) -> bytes:
    """A guest that makes one call after another when it is run for this trigger."""
    script = Script()
    if trigger == "Observe":
        script.on("Submit", script.returning({"action": "SessionSpawned", "session": {"id": "s"}}))
    script.on("Cancel", script.returning({"action": "Cancelled"}))
    script.call({"method": "GET", "url": url}, times=CALLS)
    return script.ok({"action": "Running"} if trigger == "Observe" else {"action": "Completed", "output": {}})


@pytest.mark.parametrize("trigger", ["Submit", "Observe"])
@pytest.mark.parametrize("end", ["rerun", "suspend", "delete", "timeout"])
async def test_no_request_leaves_a_run_of_many_calls_after_the_operator_has_seen_its_end(
    world: World, end: str, trigger: str, record_property: Callable[[str, object], None]
) -> None:
    guest = many_calls(f"{world.service.url}/sessions?live=true", trigger)
    for document in (*manifests.wasm_module("many", guest, httpCalls=1024), manifests.module(), manifests.policy()):
        await world.cluster.create(document)
    operator = await world.start_operator()
    # Each call is slowed, so that the run is in the midst of them for as long as the test takes.
    world.service.add_rule("delay", seconds=0.02, generation=1)
    await world.create_job(moduleRef={"name": "many"}, observeIntervalSeconds=1)
    await world.until(lambda: len(calls_of_the_first_run(world, trigger)) >= 5, "the run is in the midst of its calls")
    run, changed_at = world.run_id(generation=1), time.time()
    match end:
        case "rerun":
            # The new template is another module's.
            await world.edit("job-0", moduleRef={"name": manifests.MODULE})
        case "suspend":
            await world.edit("job-0", suspend=True)
        case "timeout":
            await world.edit("job-0", timeouts={"submittedSeconds": 1, "runningSeconds": 1})
        case _:
            await world.cluster.delete(JOBS, "job-0")
    await world.until(
        lambda: bool(operator.logged("has stopped being current", run_id=run, trigger=trigger)), "its fence is dead"
    )
    await until_ended(operator, trigger)

    (died,) = operator.logged("has stopped being current", run_id=run, trigger=trigger)
    calls = calls_of_the_first_run(world, trigger)
    # What the operator had heard of when it wrote that the run is dead. The worker may have one more on the wire, or
    # have held one back in its last look, of which it had said already that it leaves.
    heard = died["requests_left"]
    assert isinstance(heard, int)
    assert heard - 1 <= len(calls) <= heard + 1 < CALLS
    record_property("seconds from the change to the last request", calls[-1].time - changed_at)


async def until_ended(operator: OperatorProcess, trigger: str) -> None:
    """Wait until an execution for a trigger has ended: no request of it is on the wire."""
    deadline = time.monotonic() + SECONDS
    while True:
        metrics = await operator.metrics()
        if metrics.value("curation_run_duration_seconds_count", trigger=trigger):
            return
        assert time.monotonic() < deadline, f"the {trigger} execution does not end"
        await asyncio.sleep(_POLL_SECONDS)


def calls_of_the_first_run(world: World, trigger: str) -> list[Entry]:
    """Its calls for a trigger, in the order of their arrival."""
    return [entry for entry in world.service.log() if (entry.caller.trigger, entry.caller.generation) == (trigger, 1)]


async def test_the_answer_of_a_call_on_the_wire_is_awaited_and_no_further_call_is_made(world: World) -> None:
    await world.prepare()
    operator = await world.start_operator()
    rule = hold(world, Point.CREATE)
    await world.create_jobs(1)
    await world.service.wait_held(rule)
    await world.edit("job-0", rerun="1")
    await world.until_phase("Running")
    # The call still waits: it was not cut short.
    assert rule.held == 1
    rule.release()
    await until_dropped(world, operator, 1)
    await world.settled()

    old = [entry for entry in world.service.log(run=world.run_id(generation=1)) if entry.caller.trigger == "Submit"]
    assert [(entry.path, entry.status) for entry in old] == [("/workspaces", 201), ("/sessions", 201)]
    assert [session.state for session in sessions_of(world, ["job-0"], generation=1)] == ["cancelled"]


async def test_a_spinning_run_is_interrupted_when_its_fence_dies(world: World) -> None:
    for document in manifests.wasm_module("spins", hostile.spins(), cpuSeconds=300):
        await world.cluster.create(document)
    await world.prepare()
    operator = await world.start_operator()
    await world.create_job(moduleRef={"name": "spins"})
    await world.until_phase("Submitted")
    await world.edit("job-0", moduleRef={"name": manifests.MODULE})

    await until_dropped(world, operator, 1)
    await world.until_phase("Running")
    await world.settled()

    await assert_completions(operator, applied=1, stale=1)
    assert world.service.log(run=world.run_id(generation=1)) == []


@pytest.mark.parametrize("point", list(Point))
async def test_an_edit_and_its_reversal_during_a_run_end_the_run_for_good(world: World, point: Point) -> None:
    await world.prepare()
    operator = await world.start_operator()
    rule = hold(world, point)
    await world.create_jobs(1, rerun="a")
    await world.service.wait_held(rule)
    await world.edit("job-0", rerun="b")
    await world.edit("job-0", rerun="a")
    await world.until(lambda: world.status()["observedGeneration"] == 3, "the operator has seen both edits")
    rule.release()
    await until_dropped(world, operator, 1)
    await world.until_phase("Running")
    await world.settled()

    # Attempt 1 of the third generation, or attempt 2 of the first where both edits came before the next decision.
    assert world.status()["run"]["id"] != world.run_id(generation=1)
    assert not any(session.live for session in sessions_of(world, ["job-0"], generation=1))
    counts = await until_counted(operator, "applied", 1)
    assert counts["applied"] == 1
    assert counts["stale"] in (1, 2)


@pytest.mark.parametrize("point", list(Point))
async def test_an_edit_and_its_reversal_while_the_operator_is_frozen_leave_one_live_session(
    world: World, point: Point
) -> None:
    await world.prepare()
    operator = await world.start_operator()
    rule = hold(world, point)
    await world.create_jobs(1, rerun="a")
    await world.service.wait_held(rule)
    await operator.pause()
    await world.edit("job-0", rerun="b")
    await world.edit("job-0", rerun="a")
    # The answer and both edits reach the operator at the same time: which it reads first is open.
    rule.release()
    operator.resume()
    await world.until(lambda: world.status()["observedGeneration"] == 3, "the operator has seen both edits")
    await world.until_phase("Running")
    await world.settled()

    assert (await until_counted(operator, "applied", 1))["applied"] == 1
    assert len(world.service.live_sessions()) == 1
