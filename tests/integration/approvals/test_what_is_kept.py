"""What an approver sees before a decision, what is kept of it, and how it ends."""

import hashlib

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
