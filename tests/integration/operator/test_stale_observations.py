"""An observation that was under way when its job moved on: what it saw is of the old session, and is dropped."""

from collections.abc import Callable

import pytest

from testing.operator_process import OperatorProcess
from testing.sessions import SessionService
from testing.sessions.faults import Rule
from tests.harness.slow_runs import until_held
from tests.harness.world import JOBS, World

End = Callable[[SessionService, str], None]
ENDS = pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda service, session: service.complete(session, {"of": "the old session"}), id="completed"),
        pytest.param(lambda service, session: service.fail(session, "of the old session"), id="failed"),
    ],
)


async def observed_late(world: World, end: End) -> tuple[OperatorProcess, Rule]:
    """A Running job whose session has ended; an observation has seen it, and its answer is on the wire."""
    await world.prepare()
    operator = await world.start_operator()
    await world.create_job()
    await world.until_phase("Running")
    end(world.service, world.status()["session"]["id"])
    slow = world.service.add_rule("hold", "after", trigger="Observe")
    await world.cluster.patch(
        JOBS, "job-0", {"metadata": {"annotations": {"curation.dev/observe-requested-at": "now"}}}
    )
    await until_held(world, slow, 1)
    return operator, slow


async def until_dropped(world: World, operator: OperatorProcess) -> None:
    """Wait until the observation is dropped, where everybody can see it."""
    await world.until(
        lambda: len(operator.logged("dropped a stale completion", trigger="Observe")) == 1, "it is dropped"
    )


@ENDS
async def test_a_stale_observation_does_not_end_the_run_that_has_replaced_its_own(world: World, end: End) -> None:
    operator, slow = await observed_late(world, end)
    await world.edit("job-0", rerun="1")
    await world.until_phase("Running", observedGeneration=2)
    slow.release()
    await until_dropped(world, operator)
    await world.settled()

    assert (world.status()["phase"], world.status()["run"]["id"]) == ("Running", world.run_id(generation=2))
    (live,) = world.service.live_sessions()
    assert live.id == world.status()["session"]["id"]


@ENDS
async def test_a_stale_observation_does_not_end_a_job_that_was_suspended(world: World, end: End) -> None:
    operator, slow = await observed_late(world, end)
    await world.edit("job-0", suspend=True)
    await world.until_phase("Queued", reason="Suspended")
    slow.release()
    await until_dropped(world, operator)
    await world.settled()
    assert (world.status()["phase"], world.status()["reason"]) == ("Queued", "Suspended")

    await world.edit("job-0", suspend=False)
    await world.until_phase("Running", observedGeneration=3)
    await world.settled()


@ENDS
async def test_a_stale_observation_writes_nothing_to_a_job_that_is_being_deleted(world: World, end: End) -> None:
    operator, slow = await observed_late(world, end)
    uid = world.job()["metadata"]["uid"]
    await world.cluster.delete(JOBS, "job-0")
    await world.until(lambda: "deletionTimestamp" in world.job()["metadata"], "it is being deleted")
    slow.release()
    await world.until_gone("job-0")
    await until_dropped(world, operator)
    await world.settled()
    assert {version["status"]["phase"] for version in world.jobs.versions[uid][-2:]} == {"Running"}
