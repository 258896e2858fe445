"""Ten jobs denied at once: one approval a request, one decision, ten sessions."""

from tests.harness import manifests
from tests.harness.world import World
from tests.integration.approvals.decisions import NEITHER, NO_SESSIONS, Approvals, status_versions, transitions
from tests.integration.manifests.conftest import Bind

JOBS = 10


async def test_ten_jobs_denied_at_once_make_one_approval_and_one_command_frees_them_all(
    world: World, approvals: Approvals, approver: str
) -> None:
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy(NO_SESSIONS))
    await world.start_operator()
    names = await world.create_jobs(JOBS)
    await world.until_phase("AwaitingApproval", *names)
    approval = await approvals.one(waiting=JOBS)
    await world.settled()  # the workspaces of the denied attempts are cleaned
    name = approval["metadata"]["name"]
    assert approvals.status(name)["jobs"] == sorted(names)
    for job in names:
        assert world.status(job)["approval"]["name"] == name
        assert "/sessions" in world.status(job)["message"]
    versions = {job: world.job(job)["metadata"]["resourceVersion"] for job in names}

    said = await approvals.curation("approve", name, user=approver)
    assert name in said.stdout
    await world.until_phase("Running", *names)
    await world.settled()

    assert len(world.service.live_sessions()) == len(world.service.sessions()) == JOBS
    freed = [("Queued", "Approved"), ("Submitted", "Resubmitted"), ("Running", "SessionSpawned")]
    for job in names:
        assert status_versions(world, job, versions[job]) == freed
        assert transitions(world, job) == ["Submitted", "AwaitingApproval", "Queued", "Submitted", "Running"]
        assert world.status(job)["run"]["attempt"] == 2
        assert "approval" not in world.status(job)
    assert len(approvals.made) == 1
    assert approvals.present[name]["spec"]["decidedBy"] == approver
    await approvals.until(lambda: approvals.status(name)["waiting"] == 0, "nobody waits")


async def test_ten_jobs_that_miss_two_permissions_make_two_approvals(world: World, approvals: Approvals) -> None:
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy(NEITHER))
    await world.start_operator()
    names = await world.create_jobs(JOBS)
    first = await approvals.one(waiting=JOBS)
    assert first["spec"]["request"]["path"] == "/workspaces"

    await approvals.curation("approve", first["metadata"]["name"])

    await approvals.until(lambda: len(approvals.present) == 2, "there is a second approval")
    second = next(a for a in approvals.present.values() if a["metadata"]["uid"] != first["metadata"]["uid"])
    assert second["spec"]["request"]["path"] == "/sessions"
    await approvals.until(
        lambda: approvals.status(second["metadata"]["name"]).get("waiting") == JOBS, "all wait for the second"
    )
    await approvals.curation("approve", second["metadata"]["name"])
    await world.until_phase("Running", *names)
    await world.settled()

    assert len(approvals.made) == 2
    assert len(world.service.sessions()) == JOBS
    assert {world.status(job)["run"]["attempt"] for job in names} == {3}


async def test_approving_takes_the_role_and_leaves_the_jobs_waiting_without_it(
    world: World, approvals: Approvals, bind: Bind
) -> None:
    await world.cluster.create(manifests.module())
    await world.start_operator()
    await world.create_job()
    approval = await approvals.one()
    name, author = approval["metadata"]["name"], bind("curation-job-author")

    refused = await approvals.curation("approve", name, user=author, code=None)

    assert refused.returncode != 0
    assert "curation-approver" in refused.stderr or "forbidden" in refused.stderr.lower()
    assert approvals.present[name]["spec"]["decision"] == "Pending"
    assert "decidedBy" not in approvals.present[name]["spec"]
    assert world.status()["phase"] == "AwaitingApproval"
