"""A replica that waits for the lease: it knows all, queues nothing, and goes on where the other one stopped."""

import asyncio

from tests.harness.leases import grant
from tests.harness.slow_runs import Point, hold
from tests.harness.world import JOBS, World


async def test_a_replica_that_waits_for_the_lease_queues_nothing_and_can_go_on_at_once(world: World) -> None:
    await grant(world.cluster)
    leader = await world.start_operator(lease=True)
    await leader.until_metric(1, "curation_leader")
    standby = await world.start_operator(lease=True)
    await world.prepare(wall_seconds=20)
    names = await world.create_jobs(5)
    await world.until_phase("Running", *names)
    await standby.until_metric(5, "curation_jobs", phase="Running")
    await asyncio.gather(*(world.cluster.delete(JOBS, name) for name in names[1:]))
    await world.until_gone(*names[1:])
    await standby.until_metric(1, "curation_jobs")

    metrics = await standby.metrics()
    assert (metrics.value("curation_leader"), metrics.value("curation_queue_depth")) == (0, 0)

    # The module is newer than the replica, which loads it before it reconciles a job: so the run of the holder that is
    # gone is replaced in one write, and the job never waits.
    slow = hold(world, Point.LAST_ANSWER)
    await world.create_job("in-flight")
    await world.service.wait_held(slow)
    await world.until_phase("Submitted", "in-flight")
    await leader.stop()
    await world.until(lambda: world.status("in-flight")["run"]["attempt"] == 2, "the next attempt is claimed")
    slow.release()
    await world.until_phase("Running", "in-flight")
    await world.settled()
    versions = world.jobs.versions[world.job("in-flight")["metadata"]["uid"]]
    assert {version.get("status", {}).get("phase") for version in versions} == {None, "Submitted", "Running"}
