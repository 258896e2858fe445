"""What the operator removes: finished jobs after their TTL, and policies that no Cancel can need."""

import asyncio

from testing.controlplane.connection import Kubectl
from tests.harness.manifests import policy
from tests.harness.world import World


async def test_a_finished_job_is_deleted_once_after_its_ttl(world: World) -> None:
    await world.prepare()
    operator = await world.start_operator()
    await world.create_jobs(3, ttlSecondsAfterFinished=1, observeIntervalSeconds=1)
    names = ["job-0", "job-1", "job-2"]
    await world.until_phase("Running", *names)
    for session in world.service.live_sessions():
        world.service.complete(session.id, {"done": True})
    await world.until_gone(*names)
    metrics = await operator.metrics()
    assert metrics.value("curation_api_requests_total", verb="delete", resource="curationjobs", code="200") == 3
    assert metrics.value("curation_api_requests_total", verb="delete", resource="curationjobs", code="409") == 0
    assert world.service.live_sessions() == []


async def test_a_policy_that_was_never_valid_is_deleted_at_once_though_a_job_owns_a_session(
    world: World, kubectl: Kubectl
) -> None:
    await world.prepare()
    await world.start_operator()
    await world.create_jobs(1)
    await world.until_phase("Running")
    await world.cluster.create(policy("permit(principal, action, resource) when { nonsense };", name="broken"))
    await asyncio.to_thread(kubectl, "wait", "--for=condition=Ready=False", "curationpolicy/broken", "--timeout=60s")
    # Waits until the object is gone, and fails after that time; a valid policy would stay as long as the session.
    await asyncio.to_thread(kubectl, "delete", "curationpolicy", "broken", "--timeout=60s")
    await world.settled()
