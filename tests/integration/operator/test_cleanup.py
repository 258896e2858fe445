"""Runs that cannot be cleaned: after a bounded time they are given up with a Warning Event, and hold nothing up."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from testing.admin_client import Document
from testing.operator_process import OperatorProcess
from testing.sessions.faults import Rule
from tests.harness import manifests
from tests.harness.slow_runs import Point, hold, until_held
from tests.harness.world import JOBS, World

BOUND_SECONDS = 5

# The operator, which gives a clean-up up after seconds instead of ten minutes.
IMPATIENT = f"""#!{sys.executable}
from datetime import timedelta
from curation.reconciler.jobs import cleanup
cleanup.GIVE_UP_AFTER = timedelta(seconds={BOUND_SECONDS})
cleanup.LAST_RETRY_SECONDS = 0.5
from curation.cli.operator import main
main()
"""

ONLY_STARTS = manifests.PERMIT_LOCAL.removesuffix(";") + ' when { context.trigger != "Cancel" };'

Obstacle = Callable[[World], Awaitable[object]]


async def module_is_missing(world: World) -> None:
    await world.cluster.delete("curationmodules", manifests.MODULE)
    await world.cluster.patch("curationmodules", manifests.MODULE, {"metadata": {"finalizers": None}})
    # Modules and jobs have a watch each: what is done to a job next may be heard of first.
    await asyncio.gather(*(operator.until_metric(0, "curation_modules", ready="True") for operator in world.operators))


async def service_fails(world: World) -> Rule:
    return world.service.add_rule("fail", trigger="Cancel")


async def service_is_dead(world: World) -> Rule:
    return world.service.add_rule("drop", trigger="Cancel")


async def cancel_is_denied(world: World) -> None:
    """Since the job was made; see `prepare`."""


OBSTACLES: dict[Obstacle, str] = {
    module_is_missing: f"CurationModule {manifests.MODULE} does not exist",
    service_fails: "HTTPUnavailable",
    service_is_dead: "HTTPUnavailable",
    cancel_is_denied: "the Cancel was denied",
}


async def prepare(world: World, obstacle: Obstacle) -> None:
    await world.cluster.create(manifests.module())
    denied = obstacle is cancel_is_denied
    await world.cluster.create(manifests.policy(ONLY_STARTS if denied else manifests.PERMIT_LOCAL))


async def impatient(world: World, folder: Path) -> OperatorProcess:
    program = folder / "impatient-operator"
    program.write_text(IMPATIENT, encoding="utf-8")
    program.chmod(0o700)
    operator = world.operator(command=(str(program),))
    await operator.start()
    return operator


async def running_before(world: World, folder: Path, obstacle: Obstacle) -> tuple[OperatorProcess, str, str]:
    """An impatient operator's job, which runs when the obstacle comes: the operator, the job's uid and its run's id."""
    await prepare(world, obstacle)
    operator = await impatient(world, folder)
    await world.create_job()
    await world.until_phase("Running")
    uid, run = world.job()["metadata"]["uid"], world.run_id(generation=1)
    await obstacle(world)
    return operator, uid, run


async def cleanup_failed(world: World) -> Document:
    """Wait for the one Event that says so."""
    await world.until(lambda: world.event_count("CleanupFailed") > 0, "an Event says that the clean-up has failed")
    (event,) = (event for event in world.events.present.values() if event["reason"] == "CleanupFailed")
    return event


def assert_warns_of(event: Document, *, uid: str, run: str, why: str) -> None:
    assert event["type"] == "Warning"
    assert (event["regarding"]["kind"], event["regarding"]["name"]) == ("CurationJob", "job-0")
    assert event["regarding"]["uid"] == uid
    assert run in event["note"]
    assert why in event["note"]
    assert "its session may still run" in event["note"]


@pytest.mark.parametrize("obstacle", OBSTACLES)
async def test_a_job_that_stays_has_an_event_that_its_run_was_given_up(
    world: World, tmp_path: Path, obstacle: Obstacle
) -> None:
    operator, uid, run = await running_before(world, tmp_path, obstacle)
    await world.edit("job-0", suspend=True)

    assert_warns_of(await cleanup_failed(world), uid=uid, run=run, why=OBSTACLES[obstacle])
    await world.until(lambda: not world.status().get("abandonedRuns"), "the status no longer has the run")
    assert operator.logged("could not be cleaned yet", run_id=run)
    assert world.event_count("RetryScheduled", name="job-0", note=f"{run} could not be cleaned yet") > 0
    await operator.until_metric(1, "curation_cleanups_failed_total")
    assert [session.caller.run_id for session in world.service.live_sessions()] == [run]


@pytest.mark.parametrize("obstacle", OBSTACLES)
async def test_a_deleted_job_goes_when_its_run_is_given_up(world: World, tmp_path: Path, obstacle: Obstacle) -> None:
    operator, uid, run = await running_before(world, tmp_path, obstacle)
    await world.cluster.delete(JOBS, "job-0")

    await world.until_gone("job-0")
    assert_warns_of(await cleanup_failed(world), uid=uid, run=run, why=OBSTACLES[obstacle])
    assert operator.logged("could not be cleaned yet", run_id=run)


async def test_what_a_job_that_is_gone_had_created_is_given_up_with_an_event_too(world: World, tmp_path: Path) -> None:
    """Somebody has removed the finalizer: nothing in the cluster names the run any more."""
    await prepare(world, service_fails)
    await impatient(world, tmp_path)
    created = hold(world, Point.CREATED)
    await world.create_job()
    await until_held(world, created, 1)
    await world.until_phase("Submitted")
    uid, run = world.job()["metadata"]["uid"], world.run_id(generation=1)
    await service_fails(world)
    await world.cluster.delete(JOBS, "job-0")
    await world.cluster.patch(JOBS, "job-0", {"metadata": {"finalizers": None}})
    await world.until_gone("job-0")
    created.release()

    assert_warns_of(await cleanup_failed(world), uid=uid, run=run, why=OBSTACLES[service_fails])


@pytest.mark.parametrize("obstacle", [module_is_missing, cancel_is_denied])
async def test_a_terminating_namespace_is_not_held_for_what_no_retry_can_clean(
    world: World, obstacle: Obstacle
) -> None:
    """By an operator that would try for ten minutes: longer than this test waits."""
    await prepare(world, obstacle)
    operator = await world.start_operator()
    await world.create_job()
    await world.until_phase("Running")
    run = world.run_id(generation=1)
    await obstacle(world)
    code, answer = await world.cluster.request("DELETE", f"/api/v1/namespaces/{world.namespace}")
    assert code in (200, 202), answer

    await world.until_gone("job-0")
    given_up = "could not be cleaned after its namespace was deleted and is given up"
    assert len(operator.logged(given_up, level="ERROR", run_id=run)) == 1
    # No Event can be made there any more.
    await world.until(
        lambda: bool(operator.logged("takes no event: Warning CleanupFailed", run_id=run)), "the log has the Event"
    )
