"""F7: something breaks after SessionSpawned was recorded. The same run can no longer fail the job.

Broken: the service answers errors, nonsense or nothing to observations, a policy denies them, or the module is gone.
The variants have attempt 1 slow before it spawned, and stale runs that fail at the same time.
"""

import asyncio
from functools import partial
from typing import Any, Literal

import pytest

from testing.sessions.faults import Rule
from tests.harness import manifests
from tests.harness.slow_runs import (
    Point,
    assert_completions,
    hold,
    hold_to_fail,
    supersede,
    until_dropped,
    until_held,
)
from tests.harness.world import JOBS, World

BLIND = manifests.PERMIT_LOCAL.removesuffix(";") + ' unless { context.trigger == "Observe" };'


JOB = ("job-0",)


def _hit(rule: Rule, times: int) -> bool:
    return rule.hits >= times


async def observe_now(world: World, value: str, *names: str) -> None:
    """Ask for an observation of these jobs (job-0 if none is named)."""
    annotations = {"curation.dev/observe-requested-at": value}
    asked = (world.cluster.patch(JOBS, name, {"metadata": {"annotations": annotations}}) for name in names or JOB)
    await asyncio.gather(*asked)


def condition(world: World, kind: str, name: str = "job-0") -> dict[str, Any]:
    """A condition of a job."""
    return next((found for found in world.status(name)["conditions"] if found["type"] == kind), {})


@pytest.mark.variants(Point.CREATE, Point.CREATED, Point.CONFIGURE, Point.LAST_ANSWER)
async def test_f7_a_session_lives_on_while_its_observation_and_stale_runs_fail(
    world: World, point: Point, stale: int, jobs: int
) -> None:
    await world.prepare()
    operator = await world.start_operator()
    rules = [hold_to_fail(world, point, generation=number) for number in range(1, stale + 1)]
    own = hold(world, point, generation=stale + 1)
    names = await world.create_jobs(jobs)
    await supersede(world, rules, names)
    await until_held(world, own, jobs)
    own.release()
    await world.until_phase("Running", *names)
    sessions = {name: world.status(name)["session"]["id"] for name in names}

    broken = world.service.add_rule("fail", trigger="Observe")
    await observe_now(world, "1", *names)
    for rule in rules:
        rule.release()
    await until_dropped(world, operator, stale * jobs)
    await world.until(
        lambda: all("could not be observed" in condition(world, "Reconciling", name)["message"] for name in names),
        "the failing observations are shown",
    )
    await world.settled()
    assert {name: (world.status(name)["phase"], world.status(name)["session"]["id"]) for name in names} == {
        name: ("Running", session) for name, session in sessions.items()
    }
    await assert_completions(operator, applied=jobs, stale=stale * jobs)

    world.service.remove_rule(broken)
    for session in sessions.values():
        world.service.complete(session, {"answer": 42})
    await observe_now(world, "2", *names)
    await world.until_phase("Completed", *names, output={"answer": 42})
    await world.settled()


async def assert_goes_on_and_completes(world: World, session: str) -> None:
    """job-0 still runs its one session, and its completion still counts."""
    assert (world.status()["phase"], world.status()["session"]["id"]) == ("Running", session)
    await world.settled()
    world.service.complete(session, {"answer": 42})
    await observe_now(world, "at last")
    await world.until_phase("Completed", output={"answer": 42})
    await world.settled()


@pytest.mark.parametrize("action", ["fail", "malformed", "drop"])
async def test_f7_an_observation_that_goes_wrong_does_not_fail_the_job(
    world: World, action: Literal["fail", "malformed", "drop"]
) -> None:
    await world.prepare()
    await world.start_operator()
    await world.create_jobs(1)
    await world.until_phase("Running")
    session = world.status()["session"]["id"]
    rule = world.service.add_rule(action, "before" if action != "malformed" else "after", trigger="Observe")

    for number in (1, 2, 3):
        await observe_now(world, str(number))
        await world.until(partial(_hit, rule, number), f"observation {number} has reached the service")
    await world.until(lambda: "could not be observed" in condition(world, "Reconciling")["message"], "it is shown")
    world.service.remove_rule(rule)

    await assert_goes_on_and_completes(world, session)


async def test_f7_an_observation_that_is_denied_does_not_fail_the_job(world: World) -> None:
    await world.prepare()
    operator = await world.start_operator()
    await world.create_jobs(1, onDenied="Fail")
    await world.until_phase("Running")
    session = world.status()["session"]["id"]
    await world.cluster.patch("curationpolicies", "allow", {"spec": {"cedar": BLIND}})
    await world.until_policy_counts()

    await observe_now(world, "1")
    await world.until(lambda: condition(world, "Authorized")["status"] == "False", "the denial is shown")
    assert (world.status()["phase"], world.status()["session"]["id"]) == ("Running", session)
    assert (await operator.metrics()).value("curation_http_calls_total", decision="denied") >= 1
    # Nobody asks for the next observation, and its turn would be in an hour.
    await world.cluster.patch("curationpolicies", "allow", {"spec": {"cedar": manifests.PERMIT_LOCAL}})
    await world.until(lambda: condition(world, "Authorized")["status"] == "True", "it is allowed again")

    await assert_goes_on_and_completes(world, session)


async def test_f7_a_module_that_breaks_does_not_fail_a_job_whose_session_runs(world: World) -> None:
    await world.prepare()
    await world.start_operator()
    await world.create_jobs(1)
    await world.until_phase("Running")
    session = world.status()["session"]["id"]
    nothing = {
        "source": {"builtin": None, "configMap": {"name": "none", "key": "none"}},
        "digest": "sha256:" + "0" * 64,
    }
    await world.cluster.patch("curationmodules", manifests.MODULE, {"spec": nothing})

    await observe_now(world, "1")
    await world.until(
        lambda: any(entry.caller.trigger == "Observe" for entry in world.service.log()),
        "the build that runs is known still, and observes",
    )

    await assert_goes_on_and_completes(world, session)
