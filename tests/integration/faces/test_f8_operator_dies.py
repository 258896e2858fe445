"""F8: the operator dies between the spawn and the status write. One live session in the end.

The dead run is abandoned and the next attempt claimed in one write; whatever the dead run had created, or the service
creates for it later, is cancelled by its run id. Dies in: create, configure, the last answer, the status write.
"""

from pathlib import Path

import pytest

from hack.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from tests.faults.proxy import FaultProxy, held_request
from tests.harness.slow_runs import Point, hold, sessions_of, until_answered
from tests.harness.world import World

# The cleaning of a dead run ends when this has passed; attempts of 50 jobs at once need longer on a busy machine.
WALL_SECONDS = {1: 8, 50: 25}
STATUS = r"/curationjobs/[^/]+/status"


def assert_abandoned_and_claimed_in_one_write(world: World, name: str) -> None:
    """The version that first shows attempt 2 has attempt 1 among the abandoned runs."""
    versions = world.jobs.versions[world.job(name)["metadata"]["uid"]]
    first = next(job for job in versions if job.get("status", {}).get("run", {}).get("attempt") == 2)
    assert [entry["id"] for entry in first["status"]["abandonedRuns"]] == [world.run_id(name, generation=1)]
    assert first["status"]["phase"] == "Submitted"


async def assert_one_live_session_each(world: World, names: list[str]) -> None:
    """Attempt 2 of each job runs, and nothing of attempt 1 does."""
    await world.until_phase("Running", *names)
    await world.settled()
    for name in names:
        assert world.status(name)["run"]["attempt"] == 2
        assert_abandoned_and_claimed_in_one_write(world, name)
        dead = world.run_id(name, generation=1)
        cancels = [entry for entry in world.service.log(run=dead) if entry.caller.trigger == "Cancel"]
        # Once at once, and once more when no request of the dead process can still be under way.
        assert [entry.path for entry in cancels] == [f"/runs/{dead}/cancel"] * 2
    assert not any(session.live for session in sessions_of(world, names, generation=1))


@pytest.mark.parametrize(
    ("point", "jobs"),
    [(Point.CREATE, 1), (Point.CREATED, 1), (Point.CONFIGURE, 1), (Point.LAST_ANSWER, 1), (Point.LAST_ANSWER, 50)],
)
async def test_f8_an_operator_that_dies_in_a_run_leaves_one_live_session(world: World, point: Point, jobs: int) -> None:
    await world.prepare(wall_seconds=WALL_SECONDS[jobs])
    operator = await world.start_operator()
    rule = hold(world, point)
    names = await world.create_jobs(jobs)
    await world.service.wait_held(rule, jobs)
    await operator.kill()
    await world.start_operator()
    await world.until_phase("Running", *names)
    rule.release()  # the service carries out what it has, although nobody waits for it

    await assert_one_live_session_each(world, names)


async def test_f8_an_operator_that_dies_with_its_status_write_under_way_leaves_one_live_session(
    world: World, tmp_path: Path
) -> None:
    await world.prepare(wall_seconds=WALL_SECONDS[1])
    async with FaultProxy(world.cluster.connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)) as proxy:
        operator = await world.start_operator(kubeconfig=proxy.kubeconfig(tmp_path))
        rule = hold(world, Point.LAST_ANSWER)
        names = await world.create_jobs(1)
        await world.service.wait_held(rule)
        late = proxy.inject(held_request("PATCH", STATUS))
        rule.release()
        await late.reached.wait()
        await operator.kill()
        await world.start_operator()
        await world.until_phase("Running", *names)
        late.release()  # the dead operator's write arrives after all
        assert await until_answered(late) == 409

    await assert_one_live_session_each(world, names)
