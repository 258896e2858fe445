"""Guards of the fence on the real API server, where no face needs them: each test fails without its guard.

`hack/guards.py` takes the guards off one by one, and says which test fails; the table is in docs/design.md.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from testing.controlplane import namespaces
from testing.controlplane.connection import Connection
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from testing.controlplane.server import ControlPlane
from tests.faults.proxy import UPDATE, FaultProxy, held_request
from tests.harness import manifests
from tests.harness.slow_runs import (
    Point,
    assert_completions,
    hold,
    sessions_of,
    until_answered,
    until_dropped,
    until_held,
    until_stalled,
    until_worked_on,
)
from tests.harness.world import JOBS, SECONDS, World, open_world

STATUS = r"/curationjobs/[^/]+/status"
ADMISSION = ("mutatingadmissionpolicies", "validatingadmissionpolicies")
_POLL_SECONDS = 0.05


@pytest.fixture
async def proxy(world: World) -> AsyncIterator[FaultProxy]:
    """What is between the operator and the API server."""
    async with FaultProxy(world.cluster.connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)) as proxy:
        yield proxy
        # The operator goes first: it would take the end of the proxy for the end of the API server.
        await world.stop_operators()


async def test_a_completion_does_not_reach_a_job_that_was_restored_from_a_backup(
    world: World, proxy: FaultProxy, tmp_path: Path
) -> None:
    """The uid check: backup programs restore a job's status too, which names a run of the object that is gone."""
    await world.prepare()
    operator = await world.start_operator(kubeconfig=proxy.kubeconfig(tmp_path))
    rule = hold(world, Point.LAST_ANSWER)
    await world.create_jobs(1)
    await until_held(world, rule, 1)
    await world.until_phase("Submitted")
    old, status = world.job()["metadata"]["uid"], world.status()
    write = proxy.inject(held_request(UPDATE, STATUS))
    rule.release()
    await write.reached.wait()
    await world.cluster.delete(JOBS, "job-0")
    await world.cluster.patch(JOBS, "job-0", {"metadata": {"finalizers": None}})
    await world.cluster.create(manifests.job("job-0", world.service.url, moduleRef={"name": "later"}))
    # The run is another process's, which this one leaves alone for the run's wall limit.
    restored = {**status, "run": {**status["run"], "holder": "another/process"}}
    await world.cluster.patch(JOBS, "job-0", {"status": restored}, "status")
    write.release()

    await until_dropped(world, operator, 1)
    await world.until(lambda: not world.service.live_sessions(job=old), "the session of the old job is cancelled")
    assert await until_answered(write) == 409
    await world.until_phase("Submitted")
    await assert_completions(operator, gone=1)
    # The status that was restored is not the operator's doing: no history of its own leads to it.
    await operator.stop()
    del world.jobs.versions[world.job()["metadata"]["uid"]]


async def test_a_late_completion_does_not_reach_a_run_that_another_process_claimed_meanwhile(world: World) -> None:
    """The run id check: job, template and phase are the same, and only the token is another's."""
    await world.prepare()
    operator = await world.start_operator()
    rule = hold(world, Point.LAST_ANSWER)
    await world.create_jobs(1)
    await until_held(world, rule, 1)
    await world.until_phase("Submitted")
    run = world.status()["run"]
    # What a process does that takes the run over.
    other = {"id": world.run_id(generation=1, attempt=2), "attempt": 2, "holder": "another/process"}
    await world.cluster.patch(JOBS, "job-0", {"status": {"run": {**run, **other}}}, "status")
    rule.release()

    await until_dropped(world, operator, 1)
    await world.until(lambda: not world.service.live_sessions(), "the session of the late run is cancelled")
    assert (world.status()["phase"], world.status()["run"]["id"]) == ("Submitted", other["id"])
    assert world.status().get("session") is None
    await assert_completions(operator, stale=1)


async def test_no_call_leaves_before_the_claim_is_written(world: World, proxy: FaultProxy, tmp_path: Path) -> None:
    await world.prepare()
    operator = await world.start_operator(kubeconfig=proxy.kubeconfig(tmp_path))
    await world.create_job("first")
    await world.until_phase("Running", "first")  # so the module is ready, and the next write of a status is a claim
    claim = proxy.inject(held_request(UPDATE, STATUS))
    await world.create_job("job-0")
    await claim.reached.wait()
    await world.create_job("job-1")
    await world.until_phase("Running", "job-1")

    assert world.service.log(job=world.job("job-0")["metadata"]["uid"]) == []
    claim.release()
    await world.until_phase("Running", "job-0")
    await world.settled()
    await assert_completions(operator, applied=3)


async def test_two_operators_without_a_lease_do_not_take_each_others_runs(world: World) -> None:
    """The holder rule. The one that starts takes over what it finds; the other leaves that alone."""
    await world.prepare()
    await world.start_operator()
    rules = [hold(world, Point.CREATE, generation=2, attempt=attempt) for attempt in (1, 2)]
    await world.create_job("job-0", suspend=True)
    await world.until_phase("Queued", "job-0")
    await world.edit("job-0", suspend=False)
    await until_held(world, rules[0], 1)
    await world.start_operator()
    await until_held(world, rules[1], 1)

    # Both see each of these changes, and work on others meanwhile.
    for number in (1, 2, 3):
        await world.cluster.patch(JOBS, "job-0", {"metadata": {"labels": {"number": str(number)}}})
        await world.create_job(f"other-{number}")
        await world.until_phase("Running", f"other-{number}")
    assert world.status("job-0")["run"]["attempt"] == 2
    for rule in rules:
        rule.release()
    await world.until_phase("Running", "job-0")
    await world.settled()
    assert world.status("job-0")["run"]["attempt"] == 2


async def test_an_edit_that_is_taken_back_before_the_next_claim_ends_the_run_all_the_same(
    world: World, proxy: FaultProxy, tmp_path: Path
) -> None:
    """The death of an execution: the run seems current again, but its calls may have been refused meanwhile."""
    await world.prepare()
    operator = await world.start_operator(kubeconfig=proxy.kubeconfig(tmp_path))
    rule = hold(world, Point.LAST_ANSWER)
    await world.create_job(rerun="a")
    await until_held(world, rule, 1)
    await world.until_phase("Submitted")
    next_claim = proxy.inject(held_request(UPDATE, STATUS))
    await world.edit("job-0", rerun="b")
    await next_claim.reached.wait()
    await world.edit("job-0", rerun="a")
    next_claim.release()
    assert await until_answered(next_claim) == 409
    await world.until(lambda: world.status()["observedGeneration"] == 3, "the operator has seen both edits")
    assert world.status()["run"]["id"] == world.run_id(generation=1)
    rule.release()

    await until_dropped(world, operator, 1)
    await world.until_phase("Running")
    await world.settled()
    assert world.status()["run"]["id"] == world.run_id(generation=1, attempt=2)
    assert [session.state for session in sessions_of(world, ["job-0"], generation=1)] == ["cancelled"]
    await assert_completions(operator, applied=1, stale=1)


async def test_a_late_watch_does_not_end_a_run_that_was_claimed_on_a_newer_version(
    world: World, proxy: FaultProxy, tmp_path: Path
) -> None:
    """The forward-only cache: the watch shows a change that is older than the claim, which was made after a GET."""
    await world.prepare()
    operator = await world.start_operator(kubeconfig=proxy.kubeconfig(tmp_path))
    rule = hold(world, Point.CREATE)
    claim = proxy.inject(held_request(UPDATE, STATUS))
    await world.create_job()
    await claim.reached.wait()
    stall = proxy.stall("/curationjobs")
    await world.cluster.patch(JOBS, "job-0", {"metadata": {"labels": {"team": "green"}}})
    await until_stalled(stall)
    claim.release()
    assert await until_answered(claim) == 409
    await until_held(world, rule, 1)

    began = time.monotonic()
    stall.let_pass()
    await until_worked_on(operator, JOBS, began)
    stall.end()
    rule.release()
    await world.until_phase("Running")
    await world.settled()
    assert world.status()["run"]["attempt"] == 1
    await assert_completions(operator, applied=1)


async def until_unmarked(world: World) -> None:
    """Wait until jobs are made without our finalizer: nothing says when an admission policy has ceased to work."""
    deadline = time.monotonic() + SECONDS
    body = manifests.job("dry-run", world.service.url)
    while True:
        code, made = await world.cluster.request("POST", f"{world.cluster.path(JOBS)}?dryRun=All", body)
        if code == 201 and not made["metadata"].get("finalizers"):
            return
        assert time.monotonic() < deadline, f"jobs are still marked: {made}"
        await asyncio.sleep(_POLL_SECONDS)


def take_off_admission(connection: Connection) -> None:
    """Delete the admission policies of this installation."""
    for kind in ADMISSION:
        connection.kubectl("delete", f"{kind},{kind.removesuffix('ies')}ybindings", "--all")


async def test_without_admission_a_job_deleted_in_its_run_leaves_no_session(
    private_control_plane: ControlPlane, module_cache: Path
) -> None:
    """The finalizer before the claim, where the operator has to put it on: nothing outlives a crash and a deletion."""
    connection = private_control_plane.connection
    await asyncio.to_thread(take_off_admission, connection)
    async with open_world(connection, namespaces.create(connection, "no admission"), module_cache) as world:
        await until_unmarked(world)
        await world.prepare(wall_seconds=20)
        operator = await world.start_operator()
        rule = hold(world, Point.CREATED)
        await world.create_job()
        await until_held(world, rule, 1)
        uid = world.job()["metadata"]["uid"]
        await operator.kill()
        await world.cluster.delete(JOBS, "job-0")
        rule.release()
        assert [session.live for session in world.service.sessions(job=uid)] == [True]

        await world.start_operator()
        await world.until_gone("job-0")
        await world.settled()
        versions = world.jobs.versions[uid]
        assert [job["metadata"].get("finalizers") for job in versions[:2]] == [None, ["curation.dev/session"]]
        assert not versions[1].get("status", {}).get("run")
