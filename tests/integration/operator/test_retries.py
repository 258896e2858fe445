"""A run that failed after it had created its session: cleaned, and tried again at the time that its status names."""

from datetime import UTC, datetime, timedelta

import pytest

from testing.sessions.faults import Rule
from tests.harness.slow_runs import Point, hold
from tests.harness.world import JOBS, World

FAR = timedelta(minutes=1)
"""Further than a test takes to stop an operator."""


async def failing(world: World, **retry: int) -> Rule:
    """A job whose service is unavailable whenever it configures a session; no operator has seen it yet."""
    await world.prepare()
    job = await world.create_job(retry={"limit": 20, **retry})
    path = "/sessions/*/configure"
    return world.service.add_rule("fail", job=job["metadata"]["uid"], method="POST", path=path, status=503)


def states(world: World) -> list[str]:
    """Of the sessions of job-0, in the order in which they were made."""
    return [session.state for session in world.service.sessions(job=world.job()["metadata"]["uid"])]


async def test_an_attempt_that_fails_after_it_created_its_session_is_cleaned_and_the_next_one_has_the_only_session(
    world: World,
) -> None:
    rule = await failing(world)
    await world.start_operator()
    await world.until(lambda: len(states(world)) >= 2, "a second attempt has created a session")
    world.service.remove_rule(rule)
    await world.until_phase("Running")
    await world.settled()

    *earlier, last = states(world)
    assert set(earlier) == {"cancelled"}
    assert last == "running"
    assert world.status()["run"]["attempt"] == len(earlier) + 1
    waited = [v["status"] for v in world.jobs.versions[world.job()["metadata"]["uid"]] if "retryAt" in v["status"]]
    assert {(status["phase"], status["reason"]) for status in waited} == {("Queued", "Backoff")}


@pytest.mark.parametrize("point", [Point.CREATED, Point.CONFIGURE, Point.LAST_ANSWER])
async def test_an_attempt_that_runs_out_of_time_after_it_created_its_session_is_cleaned_before_the_next_settles(
    world: World, point: Point
) -> None:
    """What its module allows is over while the session service is silent."""
    await world.prepare(wall_seconds=8)
    slow = hold(world, point)
    await world.start_operator()
    await world.create_job()
    await world.until_phase("Running")
    slow.release()
    await world.settled()

    assert world.status()["run"]["id"] == world.run_id(generation=1, attempt=2)
    first, second = world.status()["history"]
    assert (first["outcome"], first["reason"]) == ("Failed", "Timeout")
    assert second["outcome"] == "SessionSpawned"
    assert states(world) == ["cancelled", "running"]


async def test_the_time_of_a_retry_outlives_the_operator(world: World) -> None:
    rule = await failing(world, initialDelaySeconds=3600, maxDelaySeconds=3600)
    first = await world.start_operator()
    await world.until_phase("Queued", reason="Backoff")
    # The delay is drawn from zero on: draw until there is time to read it.
    while (retry_at := datetime.fromisoformat(world.status()["retryAt"])) < datetime.now(UTC) + FAR:
        generation = (await world.edit("job-0", rerun=str(retry_at)))[0]["metadata"]["generation"]
        await world.until_phase("Queued", reason="Backoff", observedGeneration=generation)
    await world.settled()
    attempt = world.status()["run"]
    await first.kill()

    await world.start_operator()
    await world.create_job("another")
    await world.until_phase("Running", "another")
    world.service.remove_rule(rule)
    assert (world.status()["phase"], world.status()["run"]) == ("Queued", attempt)
    assert datetime.fromisoformat(world.status()["retryAt"]) == retry_at

    # What counts is what the status says, whoever drew it.
    await world.cluster.patch(JOBS, "job-0", {"status": {"retryAt": _now()}}, "status")
    await world.until_phase("Running")
    await world.settled()
    assert world.status()["run"]["attempt"] == attempt["attempt"] + 1
    assert states(world)[-1] == "running"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
