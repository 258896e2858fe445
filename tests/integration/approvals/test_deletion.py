"""Everything is deleted together: the session is cancelled first, and nothing is left."""

import asyncio

import pytest

from tests.harness import manifests
from tests.harness.world import World
from tests.integration.approvals.decisions import APPROVALS, MODULES, POLICIES, Approvals, permit


@pytest.mark.parametrize("by", ["policy", "approval"])
async def test_deleting_module_policy_and_job_together_cancels_the_session(
    world: World, approvals: Approvals, by: str
) -> None:
    await world.cluster.create(manifests.module())
    await world.start_operator()
    if by == "policy":
        await world.cluster.create(manifests.policy(permit("true")))
        await approvals.until_policy_counts("allow")
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
