"""Flux with CancelHealthCheckOnNewRevision, as docs/gitops.md advises: from Git to done, and every way in between.

Matrix: ready exactly when done; failed and mended; denied, then freed by a person or by a commit; rerun, suspend and
resume by commit; taken back by hand; an invalid policy; pruned; deleted with its namespace; quiet.
"""

import asyncio
import time

import pytest
import yaml

from testing.controlplane.install import OPERATOR_USER
from testing.gitops.flux import KUSTOMIZE_USER
from tests.gitops_kit.team import GROUP, Document, Team
from tests.harness import doorway
from tests.harness.doors import Door
from tests.harness.manifests import module, policy

GATE = True
QUIET_SECONDS = 120.0

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_kustomization_is_ready_exactly_when_its_job_is_done(team: Team) -> None:
    revision = await team.commit("all", module(), policy(), team.job())
    await team.follow()
    await team.until_phase("Running")

    async def waits() -> bool:
        return (await team.ready()).get("status") == "Unknown"

    await team.until(waits, "Flux waits for the job's health")
    await team.finish()
    await team.until_ready(revision)
    assert (await team.status())["phase"] == "Completed"


async def test_a_job_that_fails_is_named_and_a_commit_mends_it(team: Team) -> None:
    revision = await team.commit("no policy", module(), team.job(onDenied="Fail"))
    await team.follow()
    await team.until_phase("Failed")
    failed = await team.until_ready(revision, ready="False")
    assert f"CurationJob/{team.name}/nightly" in failed["message"]
    assert "failed" in failed["message"].lower()
    assert "kubectl curation" in (await team.plugin("why", "nightly", check=False)).stdout
    revision = await team.commit("mended", module(), policy(), team.job(onDenied="Fail", rerun="1"))
    await team.finish()
    await team.until_ready(revision)


async def test_a_denied_job_goes_on_when_a_person_approves(team: Team) -> None:
    revision = await team.commit("no policy", module(), team.job())
    await team.follow()
    status = await team.until_phase("AwaitingApproval")
    for approval in await pending(team):
        await team.plugin("approve", approval, "--scope", "Host")
    assert status["phase"] == "AwaitingApproval"
    await team.finish()
    await team.until_ready(revision)


async def test_a_denied_job_goes_on_when_a_commit_brings_the_policy(team: Team) -> None:
    await team.commit("no policy", module(), team.job())
    await team.follow()
    await team.until_phase("AwaitingApproval")

    async def waits() -> bool:
        return (await team.ready()).get("status") == "Unknown"

    await team.until(waits, "Flux waits for the job's health")
    revision = await team.commit("policy", module(), policy(), team.job())
    await team.finish()
    await team.until_ready(revision)


async def test_rerun_suspend_and_resume_are_commits(team: Team) -> None:
    revision = await team.commit("first", module(), policy(), team.job())
    await team.follow()
    await team.finish()
    await team.until_ready(revision)
    first = (await team.status())["run"]["id"]

    revision = await team.commit("again", module(), policy(), team.job(rerun="1"))
    await team.until_phase("Running")
    assert (await team.status())["run"]["id"] != first
    await team.commit("hold", module(), policy(), team.job(rerun="1", suspend=True))
    await team.until_phase("Queued", reason="Suspended")

    async def nothing_lives() -> bool:
        return not await team.live()

    await team.until(nothing_lives, "the session of the suspended job is cancelled")
    revision = await team.commit("go on", module(), policy(), team.job(rerun="1", suspend=False))
    await team.finish()
    await team.until_ready(revision)


async def test_an_edit_by_hand_of_what_git_owns_is_taken_back(team: Team) -> None:
    revision = await team.commit("all", module(), policy(), team.job())
    await team.follow()
    await team.finish()
    await team.until_ready(revision)
    await team.kubectl(
        *("patch", "cjob", "nightly", "-n", team.name, "--type=merge", "-p", '{"spec":{"observeIntervalSeconds":77}}')
    )

    async def taken_back() -> bool:
        spec = (await team.object("curationjobs", "nightly"))["spec"]
        return bool(spec["observeIntervalSeconds"] == 1)

    await team.until(taken_back, "Flux has taken the edit back")


async def test_an_invalid_policy_in_a_commit_is_named_and_the_next_commit_mends_it(team: Team) -> None:
    revision = await team.commit("typo", module(), policy("permit(principal, action"))
    await team.follow()
    failed = await team.until_ready(revision, ready="False")
    assert "CurationPolicy" in failed["message"]
    assert "allow" in failed["message"]
    revision = await team.commit("mended", module(), policy(), team.job())
    await team.finish()
    await team.until_ready(revision)


@pytest.mark.parametrize("kind", ["CurationPolicy", "ClusterCurationPolicy"])
async def test_a_typing_error_in_a_policy_is_refused_at_the_door_in_words_that_flux_shows(
    team: Team, door: Door, kind: str
) -> None:
    def text(cedar: str) -> Document:
        return doorway.policy(f"door-{team.name}", cedar, namespace=team.name, kind=kind)

    async def served() -> bool:
        document = text(doorway.BROKEN)
        said = await asyncio.to_thread(
            team.server.kubectl, "apply", "--dry-run=server", "-f", "-", input=yaml.safe_dump(document), check=False
        )
        return doorway.WHERE in said.stderr

    await team.until(served, "the API server asks the webhook, which answers")
    revision = await team.commit("typo", text(doorway.BROKEN))
    # A target namespace would be given to what has none.
    await team.follow(targetNamespace=None)

    async def refused() -> Document | None:
        # On a busy machine an answer may come too late for the API server: then Flux tries again.
        ready = await team.ready()
        fits = ready.get("status") == "False" and ready["attempted"] == revision
        return ready if fits and doorway.WHERE in ready["message"] else None

    failed: Document = await team.until(refused, "the Kustomization shows the place of the error")
    assert "resourse" in failed["message"]
    assert "kubectl curation check-policy" in failed["message"]
    where = f"/namespaces/{team.name}/curationpolicies" if kind == "CurationPolicy" else "/clustercurationpolicies"
    assert not await team.get(f"{GROUP}{where}/door-{team.name}"), "it was not stored"
    revision = await team.commit("mended", text(doorway.GOOD))
    await team.until_ready(revision)
    await team.commit("nothing")


async def test_job_module_and_policy_are_pruned_in_one_commit_and_the_session_is_cancelled(team: Team) -> None:
    await team.commit("all", module(), policy(), team.job())
    await team.follow()
    session = (await team.until_phase("Running"))["session"]["id"]
    await team.commit("nothing")
    await team.until(lambda: gone(team), "all three are gone")
    assert session not in {live.id for live in team.service.live_sessions()}


async def test_a_kustomization_is_deleted_with_its_namespace_and_no_session_stays(team: Team) -> None:
    await team.commit("all", module(), policy(), team.job())
    await team.follow()
    session = (await team.until_phase("Running"))["session"]["id"]
    await team.kubectl("delete", "kustomization", team.name, "-n", "flux-system", "--wait=false")
    await team.kubectl("delete", "namespace", team.name, "--wait=false")

    async def no_namespace() -> bool:
        return not await team.get(f"/api/v1/namespaces/{team.name}")

    await team.until(no_namespace, "the namespace is gone")
    assert session not in {live.id for live in team.service.live_sessions()}


async def test_two_minutes_of_reconciliations_write_nothing(team: Team) -> None:
    revision = await team.commit("all", module(), policy(), team.job())
    await team.follow(interval="5s")
    await team.finish()
    await team.until_ready(revision)
    begun, seen = time.monotonic(), len(team.server.audit_records())

    async def long_enough() -> bool:
        return time.monotonic() - begun >= QUIET_SECONDS and len(looks(team, seen)) >= 10

    await team.until(long_enough, "Flux has looked for two minutes")
    assert writes(team, seen) == []


def looks(team: Team, since: int) -> list[str]:
    """Flux' dry runs of the team's job: each is a reconciliation."""
    return [
        record.path
        for record in team.server.audit_records()[since:]
        if record.user == KUSTOMIZE_USER
        and record.resource == "curationjobs"
        and "dryRun=All" in record.path
        and record.namespace == team.name
    ]


def writes(team: Team, since: int) -> list[tuple[str, str, str]]:
    """Who wrote what in the team's namespace, by Flux or the operator."""
    return [
        (record.user_agent, record.verb, record.path)
        for record in team.server.audit_records()[since:]
        if record.namespace == team.name
        and record.is_write
        and "dryRun=All" not in record.path
        and record.user in (KUSTOMIZE_USER, OPERATOR_USER)
    ]


async def pending(team: Team) -> list[str]:
    """The approvals that wait."""

    async def found() -> list[str]:
        items = (await team.get(f"{GROUP}/namespaces/{team.name}/curationapprovals")).get("items", [])
        return [item["metadata"]["name"] for item in items if item["spec"].get("decision", "Pending") == "Pending"]

    names: list[str] = await team.until(found, "an approval is asked for")
    return names


async def gone(team: Team) -> bool:
    """Whether job, module and policy are."""
    found = await asyncio.gather(
        team.object("curationjobs", "nightly"),
        team.object("curationmodules", module()["metadata"]["name"]),
        team.object("curationpolicies", "allow"),
    )
    return not any(found)
