"""Denied, undecided, revoked, expired, deleted, in the way: what becomes of the jobs that wait, and of the approval."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from curation.api.approval import approval_name
from tests.harness import manifests
from tests.harness.world import World
from tests.integration.approvals.decisions import APPROVALS, NO_SESSIONS, Approvals

MAX_PENDING = 32


async def prepare(world: World) -> None:
    """A module whose first call is allowed and whose second is denied."""
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy(NO_SESSIONS))
    await world.start_operator()


async def test_denying_fails_the_jobs_until_the_approval_is_deleted(world: World, approvals: Approvals) -> None:
    await prepare(world)
    names = await world.create_jobs(3)
    name = (await approvals.one(waiting=3))["metadata"]["name"]
    await approvals.curation("deny", name)
    await world.until_phase("Failed", *names, reason="ApprovalDenied")
    await world.settled()
    assert all(name in world.status(job)["message"] for job in names)
    assert all("approval" not in world.status(job) for job in names)

    # A job that meets it later fails at once, and nothing new is asked.
    await world.edit("job-0", rerun="2")
    await world.until_phase("Failed", "job-0", reason="ApprovalDenied", observedGeneration=2)
    assert world.status("job-0")["run"]["generation"] == 2
    assert len(approvals.made) == 1
    await world.settled()

    await world.cluster.delete(APPROVALS, name)
    await world.operators[0].stop()  # nothing shows when a running one has seen that
    await world.start_operator()
    await world.edit("job-0", rerun="3")
    await world.until_phase("AwaitingApproval", "job-0", observedGeneration=3)
    await approvals.until(lambda: name in approvals.present, "it is asked anew")
    assert approvals.present[name]["spec"]["decision"] == "Pending"
    assert {world.status(job)["phase"] for job in names[1:]} == {"Failed"}
    await world.settled()


async def test_a_job_whose_approval_nobody_decides_in_time_fails(world: World, approvals: Approvals) -> None:
    await prepare(world)
    await world.create_job("hurried", timeouts={"approvalSeconds": 1})
    await world.create_job("patient")
    await world.until_phase("Failed", "hurried", reason="ApprovalTimeout")
    await world.until_phase("AwaitingApproval", "patient")
    approval = await approvals.one(waiting=1)

    assert approval["metadata"]["name"] in world.status("hurried")["message"]
    assert approvals.status(approval["metadata"]["name"])["jobs"] == ["patient"]
    assert approval["spec"]["decision"] == "Pending"
    await approvals.curation("approve", approval["metadata"]["name"])
    await world.until_phase("Running", "patient")
    await world.settled()
    assert world.status("hurried")["phase"] == "Failed"


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_an_approval_that_no_longer_counts_is_replaced_by_a_pending_one(
    world: World, approvals: Approvals, how: str
) -> None:
    await prepare(world)
    more = {}
    if how == "expired":
        more = {"expiresAt": (datetime.now(UTC) + timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%SZ")}
    name = await approvals.grant(await approvals.request(), "Request", **more)
    if how == "revoked":
        await approvals.curation("revoke", name)
    await approvals.until_ready(name, how.capitalize())
    expired = approvals.present[name]["metadata"]["uid"]

    names = await world.create_jobs(3)
    await world.until_phase("AwaitingApproval", *names)
    await approvals.until(
        lambda: name in approvals.present and approvals.present[name]["metadata"]["uid"] != expired, "it is replaced"
    )
    assert (await approvals.one(waiting=3))["spec"]["decision"] == "Pending"
    assert len(approvals.made) == 2
    await approvals.curation("approve", name)
    await world.until_phase("Running", *names)
    await world.settled()
    assert {world.status(job)["run"]["attempt"] for job in names} == {2}


async def test_a_deleted_approval_is_made_again_for_the_jobs_that_wait(world: World, approvals: Approvals) -> None:
    await prepare(world)
    names = await world.create_jobs(3)
    first = await approvals.one(waiting=3)
    name = first["metadata"]["name"]

    await world.cluster.delete(APPROVALS, name)
    await approvals.until(lambda: len(approvals.made) == 2 and name in approvals.present, "it is made again")
    await approvals.one(waiting=3)
    assert approvals.present[name]["spec"]["decision"] == "Pending"
    assert {world.status(job)["run"]["attempt"] for job in names} == {1}
    await approvals.curation("approve", name)
    await world.until_phase("Running", *names)
    await world.settled()
    assert len(approvals.made) == 2


async def test_the_approval_goes_with_the_last_job_that_waits(world: World, approvals: Approvals) -> None:
    await prepare(world)
    await world.create_jobs(2)
    name = (await approvals.one(waiting=2))["metadata"]["name"]
    await world.cluster.delete("curationjobs", "job-0")
    await approvals.until(lambda: approvals.status(name).get("jobs") == ["job-1"], "one job waits")
    await world.edit("job-1", suspend=True)
    await world.until_phase("Queued", "job-1", reason="Suspended")
    await approvals.until(lambda: not approvals.present, "the approval is gone")

    await world.edit("job-1", suspend=False)
    await world.until_phase("AwaitingApproval", "job-1")
    assert (await approvals.one())["metadata"]["name"] == name
    assert len(approvals.made) == 2
    await world.settled()


async def test_an_approval_of_the_same_name_with_another_request_is_reported_and_never_shared(
    world: World, approvals: Approvals
) -> None:
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy(NO_SESSIONS))
    operator = await world.start_operator()
    wanted, other = await approvals.request(), await approvals.request(path="/other")
    name = await approvals.grant(other, "Request", name=approval_name(wanted))
    await approvals.until_ready(name, "Approved")
    await world.create_job()
    await world.until_phase("AwaitingApproval")
    assert world.status()["approval"]["name"] == name
    await world.until(
        lambda: world.event_count("AwaitingApproval", note="records another request") == 1, "the clash is reported"
    )
    await approvals.later()

    assert approvals.status(name).get("waiting", 0) == 0
    assert world.status()["phase"] == "AwaitingApproval"
    assert len(operator.logged("records another request")) == 1
    await world.cluster.delete(APPROVALS, name)
    await approvals.until(lambda: approvals.present.get(name, {}).get("spec", {}).get("decision") == "Pending", "anew")
    assert approvals.present[name]["spec"]["request"] == wanted.to_wire()
    await approvals.curation("approve", name)
    await world.until_phase("Running")
    await world.settled()


async def test_the_job_with_the_33rd_request_waits_for_room(world: World, approvals: Approvals) -> None:
    await world.cluster.create(manifests.module())
    await world.start_operator()
    names = [f"job-{number}" for number in range(MAX_PENDING + 2)]
    url = world.service.url
    await asyncio.gather(
        *(world.create_job(name, config={"api_url": f"{url}/p{number}"}) for number, name in enumerate(names))
    )
    await world.until_phase("AwaitingApproval", *names)

    def over_quota() -> list[str]:
        return [name for name in names if world.status(name).get("reason") == "TooManyApprovals"]

    def waits_at_bound(count: int) -> bool:
        waiting = [name for name in names if world.status(name).get("phase") == "AwaitingApproval"]
        named = [approvals.status(world.status(name)["approval"]["name"]).get("jobs") == [name] for name in waiting]
        return len(over_quota()) == count and named.count(True) == len(waiting) - count

    await world.until(lambda: waits_at_bound(2), "two jobs wait for room")
    assert len(approvals.made) == MAX_PENDING
    first = over_quota()

    free = next(name for name in names if name not in first)
    await approvals.decide(world.status(free)["approval"]["name"], "Denied")
    await world.until_phase("Failed", free, reason="ApprovalDenied")
    await world.until(lambda: waits_at_bound(1), "one of them has room")
    assert len(approvals.made) == MAX_PENDING + 1
    late = next(name for name in first if name not in over_quota())
    assert "/workspaces" in world.status(late)["message"]
    await world.cluster.delete("curationjobs", next(name for name in names if name not in (*first, free)))
    await world.until(lambda: waits_at_bound(0), "all have room")
    assert sum(a["spec"]["decision"] == "Pending" for a in approvals.present.values()) <= MAX_PENDING
    for name in first:  # not once for every change of another approval
        assert reasons(world, name) == ["Submitted", "Denied", "TooManyApprovals", "Denied"]


def reasons(world: World, name: str) -> list[str]:
    """The reasons of a job's phases, in the order in which they were shown."""
    found: list[str] = []
    for version in world.jobs.versions[world.job(name)["metadata"]["uid"]]:
        reason = version.get("status", {}).get("reason")
        if reason and found[-1:] != [reason]:
            found.append(reason)
    return found
