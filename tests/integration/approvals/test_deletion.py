"""Everything is deleted together: the session is cancelled first, and nothing is left."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from tests.faults.proxy import FaultProxy, held_answer
from tests.harness import manifests
from tests.harness.world import SECONDS, World
from tests.integration.approvals.decisions import APPROVALS, MODULES, POLICIES, Approvals, permit


@pytest.mark.parametrize("by", ["policy", "approval"])
async def test_deleting_module_policy_and_job_together_cancels_the_session(
    world: World, approvals: Approvals, by: str
) -> None:
    await world.cluster.create(manifests.module())
    await world.start_operator()
    if by == "policy":
        await world.cluster.create(manifests.policy(permit("true")))
        await world.until_policy_counts("allow")
        permission = (POLICIES, "allow")
    else:
        permission = (APPROVALS, await approvals.grant(await approvals.request()))
        await approvals.until_ready(permission[1], "Approved")
    await world.create_job()
    await world.until_phase("Running")
    run = world.run_id(generation=1)

    gone = [("curationjobs", "job-0"), permission, (MODULES, manifests.MODULE)]
    await asyncio.gather(*(world.cluster.delete(plural, name) for plural, name in gone))
    await world.until_gone("job-0")
    await world.until(
        lambda: approvals.seen(*gone[1]) is None and approvals.seen(*gone[2]) is None, "all is gone", seconds=45
    )

    assert [session.state for session in world.service.sessions(run=run)] == ["cancelled"]
    assert world.event_count("SessionCancelled") == 1
    assert world.event_count("CleanupFailed") == 0


async def test_an_operator_that_starts_in_the_middle_of_it_takes_nothing_away_before_it_knows_the_jobs(
    world: World, approvals: Approvals, tmp_path: Path
) -> None:
    await world.prepare()
    first = await world.start_operator()
    await world.create_job()
    await world.until_phase("Running")
    await first.stop()
    gone = [("curationjobs", "job-0"), (POLICIES, "allow"), (MODULES, manifests.MODULE)]
    await asyncio.gather(*(world.cluster.delete(plural, name) for plural, name in gone))

    async with FaultProxy(world.cluster.connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)) as proxy:
        # The list that its watch begins with, and the one that asks whether a job is left.
        lists = proxy.inject(held_answer("GET", r"/curationjobs\?(.*&)?limit=(?!1(&|$))", times=None))
        second = world.operator(kubeconfig=proxy.kubeconfig(tmp_path))
        await second.launch()
        await eventually(lambda: lists.hits >= 2)
        lists.release()
        await world.until_gone("job-0")
        await world.until(lambda: not any(approvals.seen(*each) for each in gone[1:]), "all is gone")
        await world.stop_operators()

    assert [session.state for session in world.service.sessions()] == ["cancelled"]
    assert world.event_count("CleanupFailed") == 0


async def eventually(condition: Callable[[], bool]) -> None:
    """For what nothing notifies of."""
    async with asyncio.timeout(3 * SECONDS):  # it begins with the start of a process
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.02)


async def test_deleting_the_namespace_cancels_the_sessions(world: World, approvals: Approvals) -> None:
    await world.prepare()
    operator = await world.start_operator()
    names = await world.create_jobs(3)
    await world.until_phase("Running", *names)

    code, answer = await world.cluster.request("DELETE", f"/api/v1/namespaces/{world.namespace}")
    assert code in (200, 202), answer
    await world.until_gone(*names)
    await world.until(lambda: approvals.seen(MODULES, manifests.MODULE) is None, "the module is gone")
    await world.until(lambda: approvals.seen(POLICIES, "allow") is None, "the policy is gone")

    assert [session.state for session in world.service.sessions()] == ["cancelled"] * 3
    assert not operator.logged("could not be cleaned")
    await world.settled()
