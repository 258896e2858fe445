"""What frees a waiting job: an approval, or any change of the policies that allows its request; and what does not."""

from datetime import datetime

from tests.harness import manifests
from tests.harness.world import World
from tests.integration.approvals.decisions import (
    NO_SESSIONS,
    POLICIES,
    Approvals,
    forbid,
    permit,
    status_versions,
    transitions,
)

SESSIONS = permit('context.path == "/sessions"')


async def test_a_policy_frees_the_waiting_jobs_and_the_approval_that_nobody_waits_for_goes(
    world: World, approvals: Approvals
) -> None:
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy(NO_SESSIONS))
    await world.start_operator()
    names = await world.create_jobs(3)
    first = await approvals.one(waiting=3)
    await world.settled()
    versions = {job: world.job(job)["metadata"]["resourceVersion"] for job in names}

    await world.cluster.create(manifests.policy(SESSIONS, "from-git"))
    await world.until_phase("Running", *names)
    await world.settled()
    for job in names:
        assert [phase for phase, _ in status_versions(world, job, versions[job])] == ["Queued", "Submitted", "Running"]
    await approvals.until(lambda: not approvals.present, "the approval is gone")

    # Needed again, it is made again.
    await world.cluster.patch(POLICIES, "from-git", {"spec": {"cedar": permit('context.path == "/nothing"')}})
    await world.until_policy_counts("from-git")
    await world.edit("job-0", rerun="2")
    await world.until_phase("AwaitingApproval", "job-0")
    again = await approvals.one()
    assert again["metadata"]["name"] == first["metadata"]["name"]
    assert again["metadata"]["uid"] != first["metadata"]["uid"]
    assert again["spec"]["decision"] == "Pending"


async def test_a_forbid_that_still_denies_is_named_and_its_removal_frees(world: World, approvals: Approvals) -> None:
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy(NO_SESSIONS))
    await world.cluster.create(manifests.policy(forbid("/sessions"), "strict"))
    await world.start_operator()
    names = await world.create_jobs(2)
    name = (await approvals.one(waiting=2))["metadata"]["name"]
    await approvals.curation("approve", name)
    await approvals.until_ready(name, "Approved")

    await approvals.until(lambda: len(approvals.status(name).get("forbidden", [])) == 2, "the forbid is shown")
    for job, text in zip(names, approvals.status(name)["forbidden"], strict=True):
        assert text.startswith(f"{job}: ")
        assert f"CurationPolicy/{world.namespace}/strict#no-sessions" in text
    assert {world.status(job)["phase"] for job in names} == {"AwaitingApproval"}
    await world.cluster.delete(POLICIES, "strict")
    await world.until_phase("Running", *names)
    await world.settled()
    assert {world.status(job)["run"]["attempt"] for job in names} == {2}
    await approvals.until(lambda: not approvals.status(name).get("forbidden"), "nothing is forbidden any more")


async def test_a_policy_that_never_was_valid_keeps_no_approval_from_counting(
    world: World, approvals: Approvals
) -> None:
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy(NO_SESSIONS))
    await world.start_operator()
    await world.create_job()
    name = (await approvals.one())["metadata"]["name"]
    await world.settled()
    await world.cluster.create(manifests.policy("forbid(nobody, action, resource);", "broken"))
    await world.until_policy_counts("broken")
    await approvals.curation("approve", name)
    await world.until_phase("Running")
    await world.settled()
    assert not approvals.status(name).get("forbidden")


async def test_an_approval_frees_only_the_jobs_that_wait_for_its_request(world: World, approvals: Approvals) -> None:
    await world.cluster.create(manifests.module())
    await world.start_operator()
    for name in ("one", "other"):
        await world.create_job(name, config={"api_url": f"{world.service.url}/{name}"})
    await world.until_phase("AwaitingApproval", "one", "other")
    wanted = {name: world.status(name)["approval"]["name"] for name in ("one", "other")}
    await approvals.until(lambda: set(wanted.values()) == set(approvals.present), "both are asked for")
    await approvals.curation("approve", wanted["one"])
    await world.until_phase("Failed", "one")  # the service has no such path
    await approvals.later()

    assert world.status("other")["phase"] == "AwaitingApproval"
    assert world.status("other")["run"]["attempt"] == 1
    submitted = [entry.path for entry in world.service.log() if entry.caller.trigger == "Submit"]
    assert submitted == ["/one/workspaces"]


async def test_a_second_denial_of_the_request_that_a_job_was_freed_for_backs_off(
    world: World, approvals: Approvals
) -> None:
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy(NO_SESSIONS))
    await world.start_operator()
    await world.create_job()
    name = (await approvals.one())["metadata"]["name"]
    slow = world.service.add_rule("hold", "before", path="/workspaces", attempt=2)
    await approvals.curation("approve", name)
    await world.service.wait_held(slow)

    await world.cluster.create(manifests.policy(forbid("/sessions"), "strict"))
    await world.until_policy_counts("strict")
    slow.release()
    await world.until_phase("AwaitingApproval")
    assert world.status()["approval"]["name"] == name
    retry_at = world.status()["retryAt"]
    await world.cluster.delete(POLICIES, "strict")
    await world.until_phase("Running")
    await world.settled()

    assert world.status()["run"]["attempt"] == 3
    assert datetime.fromisoformat(world.status()["run"]["submittedAt"]) >= datetime.fromisoformat(retry_at)
    assert "retryAt" not in world.status()
    assert len(approvals.made) == 1
    assert transitions(world, "job-0").count("Running") == 1


async def test_a_policy_that_comes_right_after_the_denial_leaves_no_approval_behind(
    world: World, approvals: Approvals
) -> None:
    await world.cluster.create(manifests.module())
    await world.start_operator()
    names = await world.create_jobs(3)
    await approvals.one(waiting=3)
    await world.until_phase("AwaitingApproval", *names)
    # As GitOps does it: jobs first, their policy a moment later.
    await world.cluster.create(manifests.policy())
    await world.until_phase("Running", *names)
    await world.until(lambda: not approvals.present, "the approval that nobody waits for is gone")
    await world.settled()
    [made] = approvals.made
    gone = approvals.versions(made["metadata"]["uid"])[-1]
    assert gone["spec"]["decision"] == "Pending"
