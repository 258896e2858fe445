"""F8: the operator dies between the spawn and the status write. One live session in the end.

The dead run is abandoned and the next attempt claimed in one write; whatever the dead run had created, or the service
creates for it later, is cancelled by its run id. Dies in: create, configure, the last answer, the status write; once,
or three times in a row.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from tests.faults.proxy import UPDATE, FaultProxy, held_request
from tests.harness.slow_runs import Point, hold, sessions_of, until_answered, until_held
from tests.harness.world import World

# The cleaning of a dead run ends when this has passed; attempts of 50 jobs at once need longer on a busy machine.
WALL_SECONDS = {1: 20, 50: 30}
STATUS = r"/curationjobs/[^/]+/status"

pytestmark = pytest.mark.own_operator


def abandoned_since(world: World, name: str, attempt: int) -> datetime:
    """When an attempt was abandoned; the very version that first shows the next attempt has it as abandoned."""
    versions = world.jobs.versions[world.job(name)["metadata"]["uid"]]
    shown = (job for job in versions if job.get("status", {}).get("run", {}).get("attempt") == attempt + 1)
    first = next(shown)["status"]
    assert first["phase"] == "Submitted"
    dead = world.run_id(name, generation=1, attempt=attempt)
    (entry,) = (entry for entry in first["abandonedRuns"] if entry["id"] == dead)
    return datetime.fromisoformat(entry["since"])


async def assert_one_live_session_each(world: World, names: list[str], deaths: int) -> None:
    """The attempt after the last death runs, and nothing of those before does."""
    await world.until_phase("Running", *names)
    await world.settled()
    for name in names:
        assert world.status(name)["run"]["attempt"] == deaths + 1
        for attempt in range(1, deaths + 1):
            since = abandoned_since(world, name, attempt)
            dead = world.run_id(name, generation=1, attempt=attempt)
            cancels = [entry for entry in world.service.log(run=dead) if entry.caller.trigger == "Cancel"]
            assert {entry.path for entry in cancels} == {f"/runs/{dead}/cancel"}
            # The last one when nothing of the dead process can be under way; the server's clock is known to a second.
            assert cancels[-1].time >= since.timestamp() + WALL_SECONDS[len(names)] - 1.5
    for attempt in range(1, deaths + 1):
        assert not any(session.live for session in sessions_of(world, names, generation=1, attempt=attempt))


async def die_in_attempts(world: World, point: Point, deaths: int, jobs: int, **spec: Any) -> list[str]:
    """Kill an operator in each of so many attempts of these jobs, whose names it returns; the one after them runs."""
    rules = [hold(world, point, attempt=attempt) for attempt in range(1, deaths + 1)]
    names = await world.create_jobs(jobs, **spec)
    for rule in rules:
        operator = await world.start_operator()
        await until_held(world, rule, jobs)
        await operator.kill()
    await world.start_operator()
    await world.until_phase("Running", *names)
    for rule in rules:
        rule.release()  # the service carries out what it has, although nobody waits for it
    return names


@pytest.mark.variants(Point.CREATE, Point.CREATED, Point.CONFIGURE, Point.LAST_ANSWER)
async def test_f8_an_operator_that_dies_in_a_run_leaves_one_live_session(
    world: World, point: Point, stale: int, jobs: int
) -> None:
    await world.prepare(wall_seconds=WALL_SECONDS[jobs])
    names = await die_in_attempts(world, point, stale, jobs)

    await assert_one_live_session_each(world, names, deaths=stale)


async def test_f8_an_operator_that_dies_with_its_status_write_under_way_leaves_one_live_session(
    world: World, tmp_path: Path
) -> None:
    await world.prepare(wall_seconds=WALL_SECONDS[1])
    async with FaultProxy(world.cluster.connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)) as proxy:
        operator = await world.start_operator(kubeconfig=proxy.kubeconfig(tmp_path))
        rule = hold(world, Point.LAST_ANSWER)
        names = await world.create_jobs(1)
        await until_held(world, rule, 1)
        late = proxy.inject(held_request(UPDATE, STATUS))
        rule.release()
        await late.reached.wait()
        await operator.kill()
        await world.start_operator()
        await world.until_phase("Running", *names)
        late.release()  # the dead operator's write arrives after all
        assert await until_answered(late) == 409

    await assert_one_live_session_each(world, names, deaths=1)
