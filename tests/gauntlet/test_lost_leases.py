"""Leaders that lose their Lease and do not know it yet: cut off from the API server, or frozen past the deadline.

They end with code 3. What they were about to do is not done, and what they do all the same breaks nothing.
"""

from pathlib import Path

import pytest

from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from testing.operator_process import OperatorProcess
from tests.faults.proxy import FaultProxy, held_request, reset
from tests.harness.leases import Election, election
from tests.harness.slow_runs import Point, hold, sessions_of
from tests.harness.world import World

LEASE_LOST = 3
WALL_SECONDS = 8
SECONDS = 60.0


async def leader_and_standby(
    world: World, lease: Election, kubeconfig: Path | None = None
) -> tuple[OperatorProcess, OperatorProcess]:
    """The first leads, over this kubeconfig; the second waits."""
    first = await world.start_operator(kubeconfig=kubeconfig, lease=True)
    assert await lease.leader() is first
    return first, await world.start_operator(lease=True)


@pytest.mark.parametrize("broken", ["connections break", "nothing is answered"])
async def test_a_leader_that_cannot_reach_the_api_server_has_stopped_before_another_one_starts(
    world: World, tmp_path: Path, broken: str
) -> None:
    await world.prepare(wall_seconds=WALL_SECONDS)
    user = world.cluster.connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)
    async with FaultProxy(user) as proxy, election(world) as lease:
        first, second = await leader_and_standby(world, lease, proxy.kubeconfig(tmp_path))
        held = hold(world, Point.CREATED)
        await world.create_jobs(1)
        await world.service.wait_held(held)

        proxy.inject(reset(times=None) if broken == "connections break" else held_request(times=None))
        await world.until(lambda: bool(first.logged("the lease was lost; stopping")), "the leader gives up", SECONDS)
        # 5 s before the other one may start; the end of the process follows (see bench/failover.py).
        assert not second.logged("working as")
        assert await first.exit_code(SECONDS) == LEASE_LOST

        held.release()
        assert await lease.leader(first) is second
        await world.until_phase("Running")
        await world.settled()

        # The run that was cut off in its second call made no third one.
        calls = world.service.log(run=world.run_id(generation=1))
        assert [entry.path for entry in calls if entry.caller.trigger == "Submit"] == ["/workspaces", "/sessions"]
        assert world.status()["run"]["attempt"] == 2
        assert [session.state for session in sessions_of(world, ["job-0"], generation=1)] == ["cancelled"]


@pytest.mark.parametrize("path", ["/sessions", "/sessions/*/configure"])
async def test_a_leader_that_slept_past_its_lease_ends_with_3_and_harms_nothing(world: World, path: str) -> None:
    await world.prepare(wall_seconds=WALL_SECONDS)
    async with election(world) as lease:
        first, second = await leader_and_standby(world, lease)
        held = world.service.add_rule("hold", "after", method="POST", path=path, times=1)
        await world.create_jobs(1)
        await world.service.wait_held(held)
        await first.pause()
        assert await lease.leader(first) is second
        await world.until_phase("Running")
        await world.create_job("job-1")
        await world.until_phase("Running", "job-1")

        # The answer, all that happened since, and the end of the lease reach the sleeper at the same time.
        held.release()
        first.resume()
        assert await first.exit_code(SECONDS) == LEASE_LOST
        await world.settled()

        assert world.status()["run"]["attempt"] == 2
        assert world.status("job-1")["run"]["attempt"] == 1
        assert lease.holders() == [_holder(first), _holder(second)]
        assert len(world.service.live_sessions()) == 2


async def test_a_leader_that_slept_past_its_lease_claims_nothing_though_nobody_works(world: World) -> None:
    await world.prepare(wall_seconds=WALL_SECONDS)
    async with election(world) as lease:
        first, second = await leader_and_standby(world, lease)
        await first.pause()
        assert await lease.leader(first) is second
        await second.kill()
        names = await world.create_jobs(20)

        first.resume()
        assert await first.exit_code(SECONDS) == LEASE_LOST

        assert [name for name in names if "run" in world.status(name)] == []
        assert world.service.log() == []


def _holder(operator: OperatorProcess) -> str:
    return str(operator.logged("working as")[0]["holder"])


async def test_two_leaders_at_once_leave_one_live_session_for_each_job(world: World) -> None:
    """The Lease is taken away under the leader, as by a restored backup: until it notices, both work."""
    await world.prepare(wall_seconds=WALL_SECONDS)
    async with election(world) as lease:
        first, second = await leader_and_standby(world, lease)
        held = hold(world, Point.CREATED)
        names = await world.create_jobs(10)
        await world.service.wait_held(held, len(names))
        await world.cluster.patch("leases", "curation-operator", {"spec": {"holderIdentity": ""}})

        assert await lease.leader(first) is second
        assert await first.exit_code(SECONDS) == LEASE_LOST
        held.release()
        await world.until_phase("Running", *names)
        await world.settled()

        assert {world.status(name)["run"]["attempt"] for name in names} == {2}
        assert len(world.service.live_sessions()) == len(names)
