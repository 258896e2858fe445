"""Two replicas as two processes, one Lease, jobs in flight: who leads, who follows when the leader ends, and what
becomes of its runs. `tests/gauntlet/test_lost_leases.py` has the leaders that do not end by themselves.

How long that takes is bounded by what a lease promises, and printed (`pytest -rP`); `python -m bench.failover` holds it
against the goals in seconds, and `tests/unit/reconciler/test_stopping.py` adds up what is waited for by design.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from testing.operator_process import PROGRAM, OperatorProcess
from tests.harness.leases import NAME, Election, command, election, leading, polling
from tests.harness.slow_runs import Point, hold, sessions_of
from tests.harness.world import World

# The cleaning of a run whose process is gone ends when this has passed; no run must before its process goes.
WALL_SECONDS = 20
JOBS = ["job-0", "job-1", "job-2"]
# Lease times are of the API server's clock, which each process learns from headers in whole seconds.
CLOCK_SECONDS = 1.0
FAILOVER_SECONDS = 2.0
LEASE_LOST = 3
# A stop, however slow the machine, is far from it.
LONG_LEASE_SECONDS = 120.0


async def two_replicas(
    world: World, lease: Election, program: Sequence[str] = (str(PROGRAM),)
) -> tuple[OperatorProcess, OperatorProcess]:
    """The leader, and the one that waits."""
    operators = [world.operator(f"--identity=replica-{number}", lease=True, command=program) for number in range(2)]
    await asyncio.gather(*(operator.start() for operator in operators))
    leader = await lease.leader()
    (standby,) = (operator for operator in operators if operator is not leader)
    return leader, standby


async def runs_in_flight(world: World, point: Point) -> None:
    """Each job's first run is held at this point."""
    held = hold(world, point)
    await world.create_jobs(len(JOBS))
    await world.service.wait_held(held, len(JOBS))


def assert_the_runs_were_claimed_anew(world: World, old: OperatorProcess, new: OperatorProcess) -> None:
    """Each job runs the session of its second attempt, which the new leader made; the first one's is cancelled."""
    for name in JOBS:
        versions = world.jobs.versions[world.job(name)["metadata"]["uid"]]
        claims = {(job["status"]["run"]["attempt"], job["status"]["run"]["holder"]) for job in versions if _run(job)}
        assert claims == {(1, holder_of(old)), (2, holder_of(new))}
    assert {session.state for session in sessions_of(world, JOBS, generation=1)} == {"cancelled"}
    assert len(world.service.live_sessions()) == len(JOBS)


def _run(job: dict[str, dict[str, object]]) -> object:
    return job.get("status", {}).get("run")


def holder_of(operator: OperatorProcess) -> str:
    """The name that it claims runs and the Lease with."""
    return str(operator.logged("working as")[0]["holder"])


@pytest.mark.parametrize("point", [Point.CREATED, Point.LAST_ANSWER])
async def test_after_sigterm_the_other_replica_leads_without_waiting_for_the_lease_to_run_out(
    world: World, point: Point
) -> None:
    await world.prepare(wall_seconds=WALL_SECONDS)
    async with election(world) as lease:
        first, second = await two_replicas(world, lease, command(LONG_LEASE_SECONDS))
        await runs_in_flight(world, point)
        assert await leading([first, second]) == [1, 0]
        assert (await second.metrics()).value("curation_api_requests_total", resource="curationjobs/status") == 0

        asked = datetime.now(UTC)
        await first.stop(code=0)
        assert await lease.leader(first) is second
        await world.until_phase("Running", *JOBS)
        await world.settled()

        # Given back, then taken: nobody had to wait until it ran out.
        assert lease.holders() == [holder_of(first), "", holder_of(second)]
        assert lease.transitions() == 1
        print(f"SIGTERM to the other replica's lease: {(lease.taken() - asked).total_seconds():.2f} s")
        assert lease.specs()[0]["leaseDurationSeconds"] == LONG_LEASE_SECONDS
        assert lease.waited_for_takeover() < LONG_LEASE_SECONDS / 2
        assert await leading([second]) == [1]
        assert_the_runs_were_claimed_anew(world, first, second)


async def test_after_sigkill_the_other_replica_leads_when_the_lease_has_run_out_and_not_before(world: World) -> None:
    await world.prepare(wall_seconds=WALL_SECONDS)
    async with election(world) as lease:
        first, second = await two_replicas(world, lease)
        await runs_in_flight(world, Point.CREATED)

        async with polling(world.cluster) as polls:
            await first.kill()
            assert await lease.leader(first) is second
        await world.until_phase("Running", *JOBS)
        await world.settled()

        assert lease.holders() == [holder_of(first), holder_of(second)]
        assert lease.transitions() == 1
        promised, waited = lease.specs()[0]["leaseDurationSeconds"], lease.waited_for_takeover()
        print(f"last renewal to the other replica's lease: {waited:.2f} s; slowness {polls.slowness:.1f}")
        assert waited >= promised - CLOCK_SECONDS
        # What comes on top of the lease is polls, which the test has made too.
        assert waited <= promised + CLOCK_SECONDS + FAILOVER_SECONDS * polls.slowness
        assert_the_runs_were_claimed_anew(world, first, second)


async def test_a_leader_whose_lease_was_taken_ends_with_3_and_the_next_one_claims_its_runs_anew(world: World) -> None:
    await world.prepare(wall_seconds=WALL_SECONDS)
    async with election(world) as lease:
        first, second = await two_replicas(world, lease)
        await runs_in_flight(world, Point.CREATED)

        # Somebody takes it who never comes back to renew it.
        taken = {"holderIdentity": "somebody", "leaseDurationSeconds": 1, "renewTime": lease.specs()[-1]["renewTime"]}
        await world.cluster.patch("leases", NAME, {"spec": taken})
        assert await first.exit_code() == LEASE_LOST
        assert await lease.leader(first) is second
        await world.until_phase("Running", *JOBS)
        await world.settled()

        assert lease.holders() == [holder_of(first), "somebody", holder_of(second)]
        assert first.logged("the lease was lost; stopping")
        assert_the_runs_were_claimed_anew(world, first, second)


async def test_a_replica_that_waits_ends_with_0_and_leaves_the_lease_alone(world: World) -> None:
    async with election(world) as lease:
        first, second = await two_replicas(world, lease)
        await second.stop(code=0)
        renewals = len(lease.specs())
        await world.until(lambda: len(lease.specs()) > renewals, "the leader renews")
        assert lease.holders() == [holder_of(first)]
        assert await leading([first]) == [1]
