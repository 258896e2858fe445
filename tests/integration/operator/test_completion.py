"""Completion by compare-and-set on the real API server (docs/fence.md, rule 4): what each answer leads to.

The operator's write of SessionSpawned is held at a proxy, so that what happens between its read and its write is
exactly what the test does: a label edit, a template edit, a recreation; or its answer is lost, or it is refused.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from testing.operator_process import OperatorProcess
from tests.faults.proxy import UPDATE, FaultProxy, ProxyFault, answered, held_request, lost_answer, repeated, reset
from tests.harness import manifests
from tests.harness.slow_runs import Point, assert_completions, hold, sessions_of, until_dropped
from tests.harness.world import JOBS, World

STATUS = r"/curationjobs/[^/]+/status"
BROKEN = {"answer": lost_answer, "request": reset, "answer to a proxy": repeated}


@pytest.fixture
async def proxy(world: World) -> AsyncIterator[FaultProxy]:
    """What is between the operator and the API server."""
    async with FaultProxy(world.cluster.connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)) as proxy:
        yield proxy
        # The operator goes first: it would take the end of the proxy for the end of the API server.
        await world.stop_operators()


async def operator_at_its_second_write(
    world: World, proxy: FaultProxy, folder: Path, fault: ProxyFault
) -> OperatorProcess:
    """job-0 is claimed, and its run has ended with SessionSpawned; the write of that meets the fault."""
    await world.prepare()
    operator = await world.start_operator(kubeconfig=proxy.kubeconfig(folder))
    last_answer = hold(world, Point.LAST_ANSWER)
    await world.create_jobs(1)
    await world.service.wait_held(last_answer)
    await world.until_phase("Submitted")
    proxy.inject(fault)
    last_answer.release()
    await fault.reached.wait()
    return operator


def phases(world: World) -> list[str]:
    """The phases that job-0 went through."""
    versions = world.jobs.versions[world.job()["metadata"]["uid"]]
    seen = [job["status"]["phase"] for job in versions if job.get("status", {}).get("phase")]
    return [phase for number, phase in enumerate(seen) if number == 0 or seen[number - 1] != phase]


async def test_a_label_edited_between_read_and_write_does_not_stop_the_good_completion(
    world: World, proxy: FaultProxy, tmp_path: Path
) -> None:
    write = held_request(UPDATE, STATUS)
    operator = await operator_at_its_second_write(world, proxy, tmp_path, write)
    await world.cluster.patch(JOBS, "job-0", {"metadata": {"labels": {"team": "green"}}})
    write.release()

    await world.until_phase("Running")
    await world.settled()

    assert write.upstream_status == 409
    assert world.status()["run"]["id"] == world.run_id(generation=1)
    assert world.job()["metadata"]["labels"] == {"team": "green"}
    await assert_completions(operator, applied=1)
    await operator.until_metric(1, "curation_write_conflicts_total")


async def test_a_template_edited_between_read_and_write_drops_the_completion(
    world: World, proxy: FaultProxy, tmp_path: Path
) -> None:
    write = held_request(UPDATE, STATUS)
    operator = await operator_at_its_second_write(world, proxy, tmp_path, write)
    await world.edit("job-0", rerun="1")
    write.release()

    await until_dropped(world, operator, 1)
    await world.until_phase("Running")
    await world.settled()

    assert write.upstream_status == 409
    assert world.status()["run"]["id"] == world.run_id(generation=2)
    assert [session.state for session in sessions_of(world, ["job-0"], generation=1)] == ["cancelled"]
    await assert_completions(operator, applied=1, stale=1)
    assert phases(world) == ["Submitted", "Running"]


async def test_a_job_recreated_between_read_and_write_does_not_get_the_completion_of_the_old_one(
    world: World, proxy: FaultProxy, tmp_path: Path
) -> None:
    write = held_request(UPDATE, STATUS)
    operator = await operator_at_its_second_write(world, proxy, tmp_path, write)
    uid = world.job()["metadata"]["uid"]
    await world.cluster.delete(JOBS, "job-0")
    await world.cluster.patch(JOBS, "job-0", {"metadata": {"finalizers": None}})
    await world.cluster.create(manifests.job("job-0", world.service.url, suspend=True))
    write.release()

    await until_dropped(world, operator, 1)
    await world.until(lambda: not world.service.live_sessions(job=uid), "the old session is cancelled")
    await world.until_phase("Queued", reason="Suspended")
    await world.settled()

    assert write.upstream_status in (404, 409)
    assert "run" not in world.status()
    await assert_completions(operator, gone=1)


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_completion_whose_write_broke_off_is_applied_once(
    world: World, proxy: FaultProxy, tmp_path: Path, broken: str
) -> None:
    fault = BROKEN[broken](UPDATE, STATUS)
    operator = await operator_at_its_second_write(world, proxy, tmp_path, fault)

    await world.until_phase("Running")
    await world.until(lambda: world.event_count("SessionSpawned") == 1, "the spawn has an Event")
    await world.settled()

    await assert_completions(operator, applied=1)
    assert phases(world) == ["Submitted", "Running"]
    assert len(world.service.sessions()) == 1
    writes = [exchange for exchange in proxy.exchanges if exchange.method in UPDATE and "/status" in exchange.path]
    landed = [exchange for exchange in writes if exchange.status == 200 and "/curationjobs/" in exchange.path]
    assert len(landed) == 2


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_claim_whose_write_broke_off_launches_one_run(
    world: World, proxy: FaultProxy, tmp_path: Path, broken: str
) -> None:
    await world.prepare()
    operator = await world.start_operator(kubeconfig=proxy.kubeconfig(tmp_path))
    proxy.inject(BROKEN[broken](UPDATE, STATUS))
    await world.create_jobs(1)

    await world.until_phase("Running")
    await world.settled()

    assert world.status()["run"]["attempt"] == 1
    assert len(world.service.sessions()) == 1
    await assert_completions(operator, applied=1)
    assert [entry.path for entry in world.service.log()][:2] == ["/workspaces", "/sessions"]


async def test_a_throttled_completion_lands_when_the_server_takes_it(
    world: World, proxy: FaultProxy, tmp_path: Path
) -> None:
    busy = answered(429, UPDATE, STATUS, times=2, headers={"Retry-After": "1"})
    operator = await operator_at_its_second_write(world, proxy, tmp_path, busy)

    await world.until_phase("Running")
    await world.settled()

    assert busy.hits == 2
    await assert_completions(operator, applied=1)
    assert phases(world) == ["Submitted", "Running"]


async def test_a_server_in_trouble_is_no_bug_of_ours(world: World, proxy: FaultProxy, tmp_path: Path) -> None:
    """It answers neither the write nor the read after it: the outcome is kept, and the log has no traceback."""
    await world.prepare()
    operator = await world.start_operator(kubeconfig=proxy.kubeconfig(tmp_path))
    last_answer = hold(world, Point.LAST_ANSWER)
    await world.create_jobs(1)
    await world.service.wait_held(last_answer)
    await world.until_phase("Submitted")
    unwritten = proxy.inject(answered(503, UPDATE, STATUS, times=3))
    unread = proxy.inject(answered(500, "GET", r"/curationjobs/job-0$", times=3))
    last_answer.release()

    await world.until_phase("Running")
    await world.settled()

    assert (unwritten.hits, unread.hits) == (3, 3)
    await assert_completions(operator, applied=1)
    assert (await operator.metrics()).value("curation_reconcile_errors_total") == 0
    assert len(world.service.sessions()) == 1


async def test_a_claim_that_is_refused_is_reported_once_and_made_when_the_server_takes_it(
    world: World, proxy: FaultProxy, tmp_path: Path
) -> None:
    await world.prepare()
    operator = await world.start_operator(kubeconfig=proxy.kubeconfig(tmp_path))
    body = '{"kind": "Status", "reason": "Forbidden", "message": "no job runs today"}'
    refusal = proxy.inject(answered(403, UPDATE, STATUS, times=4, body=body))
    await world.create_jobs(1)

    await world.until_phase("Running")
    await world.settled()

    assert refusal.hits == 4
    assert world.event_count("WriteRefused", note="no job runs today") == 1
    assert len(operator.logged("refuses to write")) == 1
    assert world.status()["run"]["attempt"] == 1
