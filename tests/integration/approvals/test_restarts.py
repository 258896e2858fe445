"""The operator dies at each point of the path from a denial to a session: the end is the same."""

from pathlib import Path

from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from testing.operator_process import OperatorProcess
from tests.faults.proxy import UPDATE, FaultProxy, held_answer, held_request
from tests.harness import manifests
from tests.harness.slow_runs import Point, hold, until_answered
from tests.harness.world import World
from tests.integration.approvals.decisions import NO_SESSIONS, Approvals, transitions

JOBS = 3
# The clean-up of a run whose process died ends when this has passed.
WALL_SECONDS = 20
STATUS = r"/curationjobs/[^/]+/status"
CREATION = r"/curationapprovals(\?|$)"


async def prepare(world: World) -> None:
    """A module whose first call is allowed and whose second is denied."""
    await world.cluster.create(manifests.module(wall_seconds=WALL_SECONDS))
    await world.cluster.create(manifests.policy(NO_SESSIONS))


async def denied(world: World, approvals: Approvals) -> tuple[OperatorProcess, list[str], str]:
    """An operator, its jobs that wait, and the name of their approval."""
    await prepare(world)
    operator = await world.start_operator()
    names = await world.create_jobs(JOBS)
    name = (await approvals.one(waiting=JOBS))["metadata"]["name"]
    await world.until_phase("AwaitingApproval", *names)
    return operator, names, name


async def assert_same_end(world: World, approvals: Approvals, names: list[str], attempts: tuple[int, ...]) -> None:
    """Each job runs, once; one live session each; there was one approval for all of them, ever."""
    await world.until_phase("Running", *names)
    await world.settled()
    assert len(world.service.live_sessions()) == len(names)
    for name in names:
        assert transitions(world, name).count("Running") == 1
        assert world.status(name)["run"]["attempt"] in attempts
    assert len(approvals.made) == 1
    assert approvals.made[0]["spec"]["request"]["path"] == "/sessions"
    (approval,) = approvals.present.values()
    assert approval["spec"]["decision"] == "Approved"


def proxied(world: World) -> FaultProxy:
    """A proxy between the operator and the API server."""
    return FaultProxy(world.cluster.connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS))


async def test_a_restart_before_the_approval_is_created(world: World, approvals: Approvals, tmp_path: Path) -> None:
    await prepare(world)
    async with proxied(world) as proxy:
        operator = await world.start_operator(kubeconfig=proxy.kubeconfig(tmp_path))
        late = proxy.inject(held_request("POST", CREATION, times=None))
        names = await world.create_jobs(JOBS)
        await late.reached.wait()
        await world.until_phase("AwaitingApproval", *names)
        await operator.kill()
        assert approvals.made == []
        await world.start_operator()
        name = (await approvals.one(waiting=JOBS))["metadata"]["name"]
        late.release()  # the dead operator's request arrives after all
        assert await until_answered(late) == 409
        await approvals.curation("approve", name)
        await assert_same_end(world, approvals, names, (2,))


async def test_a_restart_with_the_creation_of_the_approval_unanswered(
    world: World, approvals: Approvals, tmp_path: Path
) -> None:
    await prepare(world)
    async with proxied(world) as proxy:
        operator = await world.start_operator(kubeconfig=proxy.kubeconfig(tmp_path))
        late = proxy.inject(held_answer("POST", CREATION))
        names = await world.create_jobs(JOBS)
        await late.reached.wait()
        await world.until_phase("AwaitingApproval", *names)
        await operator.kill()
        await world.start_operator()
        name = (await approvals.one(waiting=JOBS))["metadata"]["name"]
        late.release()
        await approvals.curation("approve", name)
        await assert_same_end(world, approvals, names, (2,))


async def test_a_restart_while_nobody_has_decided(world: World, approvals: Approvals) -> None:
    operator, names, name = await denied(world, approvals)
    await operator.kill()
    await world.start_operator()
    await approvals.curation("approve", name)
    await assert_same_end(world, approvals, names, (2,))


async def test_a_restart_after_a_decision_that_the_operator_has_not_seen(world: World, approvals: Approvals) -> None:
    operator, names, name = await denied(world, approvals)
    await world.settled()
    await operator.pause()
    await approvals.curation("approve", name)
    await operator.kill()
    assert {world.status(job)["phase"] for job in names} == {"AwaitingApproval"}
    await world.start_operator()
    await assert_same_end(world, approvals, names, (2,))


async def test_a_restart_with_the_writes_that_free_the_jobs_under_way(
    world: World, approvals: Approvals, tmp_path: Path
) -> None:
    await prepare(world)
    async with proxied(world) as proxy:
        operator = await world.start_operator(kubeconfig=proxy.kubeconfig(tmp_path))
        names = await world.create_jobs(JOBS)
        name = (await approvals.one(waiting=JOBS))["metadata"]["name"]
        await world.settled()
        late = proxy.inject(held_request(UPDATE, STATUS, times=None))
        await approvals.curation("approve", name)
        await late.reached.wait()
        await operator.kill()
        assert {world.status(job)["phase"] for job in names} == {"AwaitingApproval"}
        await world.start_operator()
        await world.until_phase("Running", *names)
        late.release()
        assert await until_answered(late) == 409
        await assert_same_end(world, approvals, names, (2,))


async def test_a_restart_after_the_freeing(world: World, approvals: Approvals) -> None:
    operator, names, name = await denied(world, approvals)
    await world.settled()
    slow = hold(world, Point.CREATE, attempt=2)
    await approvals.curation("approve", name)
    await world.service.wait_held(slow, JOBS)
    await operator.kill()
    await world.start_operator()
    await world.until_phase("Running", *names)
    slow.release()
    await assert_same_end(world, approvals, names, (3,))


async def test_a_restart_after_a_denial_fails_the_jobs_all_the_same(world: World, approvals: Approvals) -> None:
    operator, names, name = await denied(world, approvals)
    await world.settled()
    await operator.pause()
    await approvals.curation("deny", name)
    await operator.kill()
    await world.start_operator()
    await world.until_phase("Failed", *names, reason="ApprovalDenied")
    await world.settled()
    assert len(approvals.made) == 1


async def test_a_grant_revoked_while_nobody_was_there_still_lets_the_run_be_cancelled(
    world: World, approvals: Approvals
) -> None:
    await world.cluster.create(manifests.module())
    operator = await world.start_operator()
    await world.create_job()
    name = (await approvals.one())["metadata"]["name"]
    await approvals.decide(name, "Approved", scope="Host")
    await world.until_phase("Running")
    await world.settled()
    await operator.kill()

    await approvals.curation("revoke", name)
    await world.cluster.delete("curationjobs", "job-0")
    await world.start_operator()

    await world.until_gone("job-0")
    assert [session.state for session in world.service.sessions()] == ["cancelled"]
