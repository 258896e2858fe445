"""A change of what is allowed counts for the next call of a run that is in flight."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.harness import manifests
from tests.harness.slow_runs import Point, assert_completions, hold
from tests.harness.world import World
from tests.integration.approvals.decisions import APPROVALS, POLICIES, Approvals, permit

START = permit('context.trigger == "Submit" && (context.path == "/workspaces" || context.path == "/sessions")')
"""What a run needs until it configures its session; not its Cancel."""


CANARY = 'context.path == "/canary/workspaces"'
FORBID_CANARY = f"forbid(principal, action, resource) when {{ {CANARY} }};"


async def assert_stopped_before_configure(world: World) -> None:
    """The run's next call did not leave; the job waits for it, and what the run had created is cancelled."""
    await world.until_phase("AwaitingApproval")
    await world.settled()
    assert world.status()["approval"]["request"]["path"].endswith("/configure")
    run = world.run_id(generation=1)
    submitted = [entry.path for entry in world.service.log(run=run) if entry.caller.trigger == "Submit"]
    assert submitted == ["/workspaces", "/sessions"]
    assert [session.state for session in world.service.sessions(run=run)] == ["cancelled"]


async def canary(world: World) -> None:
    """A job that waits for what nobody should allow: it shows when the operator has seen a change."""
    await world.create_job("canary", config={"api_url": f"{world.service.url}/canary"})
    await world.until_phase("AwaitingApproval", "canary")


@pytest.mark.parametrize("how", ["revoked", "deleted", "expired"])
async def test_a_grant_that_ends_stops_the_next_call_and_still_lets_the_run_be_cancelled(
    world: World, approvals: Approvals, how: str
) -> None:
    await world.cluster.create(manifests.module())
    await world.start_operator()
    # A run that expiry is to stop begins by the policy, however slow the machine is.
    policy = f"{START} {FORBID_CANARY}" if how == "expired" else FORBID_CANARY
    await world.cluster.create(manifests.policy(policy))
    await world.until_policy_counts("allow")
    await canary(world)
    approval = await approvals.one()
    name, uid = approval["metadata"]["name"], approval["metadata"]["uid"]
    ends = datetime.now(UTC) + timedelta(seconds=8)
    more = {"expiresAt": ends.strftime("%Y-%m-%dT%H:%M:%SZ")} if how == "expired" else {}
    # The grant of what the canary has asked for: it goes on waiting, since a policy forbids just its call.
    await approvals.decide(name, "Approved", scope="Host", **more)
    await approvals.until_ready(name, "Approved")
    slow = hold(world, Point.CREATE)
    await world.create_job()
    await world.service.wait_held(slow)

    if how == "revoked":
        await approvals.curation("revoke", name)
    elif how == "deleted":
        await world.cluster.delete(APPROVALS, name)
    await approvals.until(
        lambda: approvals.present.get(name, approval)["metadata"]["uid"] != uid, "the canary has asked anew"
    )
    slow.release()

    await assert_stopped_before_configure(world)


async def test_a_policy_removed_in_flight_stops_the_next_call(world: World, approvals: Approvals) -> None:
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy(f"{manifests.PERMIT_LOCAL} {FORBID_CANARY}"))
    await world.cluster.create(manifests.policy(permit(CANARY), "canary"))
    await world.start_operator()
    await canary(world)
    slow = hold(world, Point.CREATE)
    await world.create_job()
    await world.service.wait_held(slow)

    await world.cluster.delete(POLICIES, "allow")
    await world.until_phase("Failed", "canary")  # no longer forbidden; the service has no such path
    # It stays, for Cancel only, until nothing is left that may have to be cancelled.
    assert approvals.seen(POLICIES, "allow") is not None
    slow.release()

    await assert_stopped_before_configure(world)
    await world.until(lambda: approvals.seen(POLICIES, "allow") is None, "the policy is gone")


async def test_a_policy_added_in_flight_lets_the_next_call_pass(world: World, approvals: Approvals) -> None:
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy(START))
    operator = await world.start_operator()
    slow = hold(world, Point.CREATE)
    await world.create_job()
    await world.service.wait_held(slow)

    await world.cluster.create(manifests.policy(name="more"))
    await world.until_policy_counts("more")
    slow.release()

    await world.until_phase("Running")
    await world.settled()
    assert world.status()["run"]["attempt"] == 1
    await assert_completions(operator, applied=1)
    assert approvals.made == []


async def test_an_approval_that_a_denied_observation_asks_for_stays_while_the_session_runs(
    world: World, approvals: Approvals
) -> None:
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy(permit('context.trigger != "Observe"')))
    await world.start_operator()
    await world.create_job(observeIntervalSeconds=3600)
    await world.until_phase("Running")
    await world.cluster.patch(
        "curationjobs", "job-0", {"metadata": {"annotations": {"curation.dev/observe-requested-at": "now"}}}
    )
    approval = await approvals.one()
    name, uid = approval["metadata"]["name"], approval["metadata"]["uid"]
    assert approval["spec"]["request"]["trigger"] == "Observe"
    # One that nobody asks for is removed meanwhile.
    other = await approvals.ask(await approvals.request(path="/nobody"))
    await approvals.until(lambda: other not in approvals.present, "the other one is removed")
    assert approvals.present[name]["metadata"]["uid"] == uid
    assert world.status()["phase"] == "Running"

    # Nobody asks for the next observation, and its turn would be in an hour.
    world.service.complete(world.status()["session"]["id"])
    await approvals.curation("approve", name)
    await world.until_phase("Completed")
    await world.settled()
    assert world.status()["run"]["attempt"] == 1
    assert len(world.service.sessions()) == 1
