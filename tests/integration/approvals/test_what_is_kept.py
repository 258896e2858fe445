"""What an approver sees before a decision, what is kept of it, and how it ends."""

import hashlib

import pytest
import rfc8785

from testing.controlplane.connection import Kubectl
from tests.harness import manifests
from tests.harness.world import World
from tests.integration.approvals.decisions import NO_SESSIONS, Approvals

MESSAGE = "Summarise <b>the</b> new data set."


async def asked(world: World, approvals: Approvals) -> str:
    """The name of the approval that job-0 waits for."""
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy(NO_SESSIONS))
    await world.create_job(input={"message": MESSAGE})
    approval = await approvals.one()
    return str(approval["metadata"]["name"])


async def test_an_approver_sees_who_asks_with_which_input_and_why_and_what_is_said_is_kept(
    world: World, approvals: Approvals, kubectl: Kubectl
) -> None:
    await world.start_operator()
    name = await asked(world, approvals)
    await approvals.until(lambda: bool(approvals.status(name).get("asked")), "the approval says who asked")
    (job,) = approvals.status(name)["asked"]
    document = {"message": MESSAGE}
    assert job["job"] == "job-0"
    assert job["createdBy"] == world.job()["metadata"]["annotations"]["curation.dev/created-by"]
    assert job["inputDigest"] == f"sha256:{hashlib.sha256(rfc8785.dumps(document)).hexdigest()}"
    assert job["input"] == f'{{"message":"{MESSAGE}"}}'
    assert "/sessions" in job["denied"]
    assert approvals.status(name)["expiresAfterSeconds"] == 30 * 86400

    shown = (await approvals.curation("approve", name, "--dry-run", "--scope", "host")).stdout
    assert f"job-0: created by {job['createdBy']}" in shown
    assert f"input {job['input']} ({job['inputDigest']})" in shown
    assert "Request: POST /sessions on http://127.0.0.1:" in shown
    assert "It holds for every job of this build; now 1 job (job-0) of the module." in shown
    assert "Decided before:\n  nothing" in shown
    listed = (await approvals.curation("approvals", "-o", "wide")).stdout
    assert MESSAGE in listed
    wide = kubectl("get", "cappr", "-o", "wide").stdout
    assert MESSAGE in wide
    assert "no policy permits" in wide.lower()

    await approvals.curation("approve", name, "--scope", "host", "--comment", "Ticket 7: needed\nonce.")
    await world.until_phase("Running")
    await approvals.until_ready(name, "Approved")
    (decision,) = approvals.status(name)["decisions"]
    assert (decision["decision"], decision["by"], decision["scope"]) == ("Approved", "admin", "Host")
    assert decision["comment"] == "Ticket 7: needed\nonce."
    assert decision["at"] == approvals.status(name)["decidedAt"]
    assert decision["expiresAt"] == approvals.status(name)["expiresAt"]
    assert approvals.status(name)["asked"] == [job], "who asked stays on record"

    await approvals.curation("revoke", name, "--comment", "No longer.")
    await approvals.until_ready(name, "Revoked")
    approved, revoked = approvals.status(name)["decisions"]
    assert approved == decision
    assert (revoked["decision"], revoked["by"], revoked["comment"]) == ("Revoked", "admin", "No longer.")
    for reason in ("Requested", "Approved", "Revoked"):
        await world.until(lambda reason=reason: world.event_count(reason, name=name) == 1, f"an Event {reason}")  # type: ignore[misc]
    assert world.event_count("Revoked", name=name, note="by admin: No longer.") == 1


async def asked_anew(world: World, approvals: Approvals, name: str, first: str) -> dict[str, str]:
    """The decision that the next approval of the same request carries, once there is one.

    The job may make it by itself: what had an end may end before the job has gone on.
    """

    def is_over() -> bool:
        found = approvals.present.get(name)
        return found is None or found["metadata"]["uid"] != first or approvals.ready(name) == "Expired"

    await approvals.until(is_over, "the decision ends")
    await world.edit("job-0", rerun="again")

    def is_new() -> bool:
        found = approvals.present.get(name)
        return found is not None and found["metadata"]["uid"] != first and approvals.ready(name) == "Pending"

    await approvals.until(is_new, "it is asked for anew")
    (earlier,) = approvals.present[name]["spec"]["earlier"]
    assert approvals.status(name)["decisions"] == [earlier]
    return dict(earlier)


@pytest.mark.own_operator
async def test_a_grant_ends_by_default_and_the_next_approval_says_who_gave_it(
    world: World, approvals: Approvals
) -> None:
    await world.start_operator("--approval-ttl", "3s")
    name = await asked(world, approvals)
    first = approvals.present[name]["metadata"]["uid"]
    await approvals.curation("approve", name, "--scope", "host", "--comment", "For today.")
    earlier = await asked_anew(world, approvals, name, first)
    assert (earlier["decision"], earlier["by"], earlier["comment"]) == ("Approved", "admin", "For today.")
    assert earlier["expiresAt"] > earlier["at"]
    shown = (await approvals.curation("approve", name, "--dry-run")).stdout
    assert "Approved by admin" in shown
    assert "For today." in shown

    # Never is a choice that one makes.
    await approvals.curation("approve", name, "--scope", "host", "--expires", "never")
    await world.until_phase("Running")
    await approvals.until_ready(name, "Approved")
    assert "expiresAt" not in approvals.status(name)
    assert [each["decision"] for each in approvals.status(name)["decisions"]] == ["Approved", "Approved"]


@pytest.mark.own_operator
async def test_a_denial_may_have_an_end_after_which_jobs_ask_anew(world: World, approvals: Approvals) -> None:
    await world.start_operator()
    name = await asked(world, approvals)
    first = approvals.present[name]["metadata"]["uid"]
    await approvals.curation("deny", name, "--expires", "4s", "--comment", "Not now.")
    earlier = await asked_anew(world, approvals, name, first)
    assert (earlier["decision"], earlier["comment"]) == ("Denied", "Not now.")
