"""SIGKILL of the operator between each pair of its writes and around each of its outbound calls.

A run makes three calls (workspace, session, configure) and the job three writes (claim, Running, and the one that
takes a cleaned run out of abandonedRuns); the Cancel of a run is one more call. Each point: the request has not
arrived, or it was carried out and its answer has not. Whatever was under way arrives after all, while the next
operator works. In the end there is one live session, the one in the status; nothing is doubled, the history is clean.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest

from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from tests.faults.proxy import UPDATE, FaultProxy, ProxyFault, held_answer, held_request
from tests.harness.slow_runs import until_answered
from tests.harness.world import JOBS, World

WALL_SECONDS = 8
STATUS = r"/curationjobs/[^/]+/status"


@pytest.fixture
async def proxy(world: World) -> AsyncIterator[FaultProxy]:
    """Between the operator that dies and the API server."""
    async with FaultProxy(world.cluster.connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)) as proxy:
        yield proxy


async def assert_one_live_session(world: World, *names: str) -> None:
    """Each job runs one session, made by the run in its status; whatever else was made is ended."""
    await world.until_phase("Running", *names)
    await world.settled()
    for name in names:
        uid, status = world.job(name)["metadata"]["uid"], world.status(name)
        (live,) = world.service.live_sessions(job=uid)
        assert (live.id, live.caller.run_id) == (status["session"]["id"], status["run"]["id"])
        assert_no_run_was_executed_twice(world, uid)


async def until_second_run(world: World) -> None:
    """Wait until job-0 runs the template of its second generation."""
    await world.until(
        lambda: world.status()["phase"] == "Running" and world.status()["run"]["generation"] == 2, "the new run runs"
    )


def assert_no_run_was_executed_twice(world: World, uid: str) -> None:
    """Each run made each of its Submit calls at most once."""
    calls = [
        (entry.caller.run_id, entry.idempotency_key)
        for entry in world.service.log(job=uid)
        if entry.caller.trigger == "Submit"
    ]
    assert len(calls) == len(set(calls))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["/workspaces", "/sessions", "/sessions/*/configure"])
async def test_killed_in_a_call_of_a_run(world: World, call: str, when: Literal["before", "after"]) -> None:
    await world.prepare(wall_seconds=WALL_SECONDS)
    operator = await world.start_operator()
    held = world.service.add_rule("hold", when, method="POST", path=call, attempt=1)
    await world.create_jobs(1)
    await world.service.wait_held(held)
    await operator.kill()

    await world.start_operator()
    await world.until_phase("Running")
    held.release()

    await assert_one_live_session(world, "job-0")
    assert world.status()["run"]["attempt"] == 2


@pytest.mark.parametrize("write", ["claim", "running"])
@pytest.mark.parametrize("where", ["request", "answer"])
async def test_killed_in_a_status_write(
    world: World, proxy: FaultProxy, tmp_path: Path, write: str, where: str
) -> None:
    await world.prepare(wall_seconds=WALL_SECONDS)
    operator = await world.start_operator(kubeconfig=proxy.kubeconfig(tmp_path))
    fault = _held(where)
    if write == "claim":
        proxy.inject(fault)
        await world.create_jobs(1)
    else:
        gate = world.service.add_rule("hold", "after", path="/sessions/*/configure", attempt=1)
        await world.create_jobs(1)
        await world.service.wait_held(gate)
        await world.until_phase("Submitted")
        proxy.inject(fault)
        gate.release()
    await fault.reached.wait()
    await operator.kill()

    await world.start_operator()
    await world.until_phase("Running")
    fault.release()
    assert await until_answered(fault) == (200 if where == "answer" else 409)

    await assert_one_live_session(world, "job-0")
    # A claim that did not land, and a spawn that was recorded, cost no attempt.
    attempts = {("claim", "request"): 1, ("claim", "answer"): 2, ("running", "request"): 2, ("running", "answer"): 1}
    assert world.status()["run"]["attempt"] == attempts[write, where]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_in_the_cancel_of_an_abandoned_run(world: World, when: Literal["before", "after"]) -> None:
    await world.prepare(wall_seconds=WALL_SECONDS)
    operator = await world.start_operator()
    await world.create_jobs(1)
    await world.until_phase("Running")
    held = world.service.add_rule("hold", when, trigger="Cancel", times=1)
    await world.edit("job-0", rerun="1")
    await world.service.wait_held(held)
    await until_second_run(world)
    await operator.kill()

    await world.start_operator()
    held.release()

    await assert_one_live_session(world, "job-0")
    assert world.status()["run"]["id"] == world.run_id(generation=2)


@pytest.mark.parametrize("where", ["request", "answer"])
async def test_killed_in_the_write_that_takes_a_cleaned_run_away(
    world: World, proxy: FaultProxy, tmp_path: Path, where: str
) -> None:
    await world.prepare(wall_seconds=WALL_SECONDS)
    operator = await world.start_operator(kubeconfig=proxy.kubeconfig(tmp_path))
    await world.create_jobs(1)
    await world.until_phase("Running")
    cancel = world.service.add_rule("hold", "after", trigger="Cancel", times=1)
    await world.edit("job-0", rerun="1")
    await world.service.wait_held(cancel)
    await until_second_run(world)
    fault = proxy.inject(_held(where))
    cancel.release()
    await fault.reached.wait()
    await operator.kill()

    await world.start_operator()
    await world.settled()
    fault.release()
    assert await until_answered(fault) == (200 if where == "answer" else 409)

    await assert_one_live_session(world, "job-0")
    assert world.status()["run"]["attempt"] == 1


@pytest.mark.parametrize("phase", ["Submitted", "Running", "AwaitingApproval"])
async def test_killed_while_a_job_is_deleted(world: World, phase: str) -> None:
    await world.prepare(wall_seconds=WALL_SECONDS)
    if phase == "AwaitingApproval":
        await world.cluster.delete("curationpolicies", "allow")
    operator = await world.start_operator()
    slow = world.service.add_rule("hold", "after", path="/sessions/*/configure") if phase == "Submitted" else None
    await world.create_jobs(1)
    if slow is not None:
        await world.service.wait_held(slow)
    await world.until_phase(phase)
    await operator.kill()
    await world.cluster.delete(JOBS, "job-0")
    if slow is not None:
        slow.release()

    await world.start_operator()
    await world.until_gone("job-0")
    await world.settled()

    assert world.service.live_sessions() == []


async def test_killed_again_and_again(world: World) -> None:
    await world.prepare(wall_seconds=WALL_SECONDS)
    await world.create_jobs(5)
    names = [f"job-{number}" for number in range(5)]
    rules = []
    for attempt in (1, 2, 3):
        held = world.service.add_rule("hold", "after", path="/sessions", attempt=attempt)
        operator = await world.start_operator()
        await world.service.wait_held(held, len(names))
        await operator.kill()
        rules.append(held)
    await world.start_operator()
    await world.until_phase("Running", *names)
    for held in rules:
        held.release()

    await assert_one_live_session(world, *names)
    assert {world.status(name)["run"]["attempt"] for name in names} == {4}


def _held(where: str) -> ProxyFault:
    return held_request(UPDATE, STATUS) if where == "request" else held_answer(UPDATE, STATUS)
