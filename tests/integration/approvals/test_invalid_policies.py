"""An invalid revision has no effect: the last valid one stays, through restarts; what was missed is not guessed."""

import asyncio
from typing import Any

import pytest

from curation.api.digest import template_digest
from curation.api.job import CurationJob
from testing.admin_client import Document
from testing.operator_process import OperatorProcess
from tests.harness import manifests
from tests.harness.world import JOBS, SECONDS, World
from tests.integration.approvals.decisions import POLICIES, Approvals, permit

TYPO = "permit(principal, action, resourse);"
FORBID = '@id("floor") forbid(principal, action, resource) when { context.path like "/nowhere/*" };'
NAME = "allow"


def _ready(policy: Document) -> dict[str, Any]:
    [condition] = policy["status"]["conditions"]
    return dict(condition)


async def _until_reviewed(world: World, approvals: Approvals) -> Document:
    """The policy once the operator has said what it makes of its newest revision."""
    await world.until_policy_counts(NAME)
    return await world.cluster.get(POLICIES, NAME)


async def _until_shown(operator: OperatorProcess, line: str, there: bool = True) -> str:
    """The metrics once they have the line, or have it no longer: a page is kept for a second."""
    async with asyncio.timeout(SECONDS):
        while (line in (page := (await operator.fetch("/metrics"))[1])) != there:  # noqa: ASYNC110 (another process)
            await asyncio.sleep(0.1)
    return page


async def _edit(world: World, approvals: Approvals, cedar: str) -> Document:
    await world.cluster.patch(POLICIES, NAME, {"spec": {"cedar": cedar}})
    return await _until_reviewed(world, approvals)


@pytest.mark.own_operator
async def test_a_typing_error_changes_nothing_for_jobs_before_and_after_a_restart_and_is_loud(
    world: World, approvals: Approvals
) -> None:
    await world.prepare()
    operator = await world.start_operator()
    valid = await _until_reviewed(world, approvals)
    assert valid["status"]["inForce"] == {
        "uid": valid["metadata"]["uid"],
        "generation": 1,
        "digest": valid["status"]["inForce"]["digest"],
        "cedar": manifests.PERMIT_LOCAL,
    }
    broken = await _edit(world, approvals, TYPO)
    assert (_ready(broken)["status"], _ready(broken)["reason"]) == ("False", "ParseError")
    assert "Generation 2 is not in force; generation 1, the last valid one, stays in force" in _ready(broken)["message"]
    assert broken["status"]["inForce"] == {**valid["status"]["inForce"], "judgedGeneration": 2}
    await world.until(lambda: world.event_count("PolicyInvalid", name=NAME) == 1, "an Event says it")
    metrics = await _until_shown(operator, 'curation_policies{kind="CurationPolicy",ready="False"} 1.0')
    assert f'policy="{NAME}"' not in metrics, "its last valid revision is in force"
    await world.create_job("before")
    await world.until_phase("Running", "before")

    await operator.stop()
    again = await world.start_operator()
    await world.create_job("after")
    await world.until_phase("Running", "after")
    await world.settled()
    assert (await world.cluster.get(POLICIES, NAME))["status"] == broken["status"]
    assert world.event_count("PolicyInvalid") == 1
    assert not again.logged("Generation 2 is not in force"), "the process before it has said so"

    mended = await _edit(world, approvals, manifests.PERMIT_LOCAL)
    assert (_ready(mended)["status"], mended["status"]["inForce"]["generation"]) == ("True", 3)


@pytest.mark.own_operator
async def test_of_a_revision_before_one_that_nobody_saw_only_the_forbids_count(
    world: World, approvals: Approvals
) -> None:
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy(manifests.PERMIT_LOCAL + FORBID))
    operator = await world.start_operator()
    await _until_reviewed(world, approvals)
    await operator.stop()
    # Withdraws the permit while no operator runs; then a typing error.
    for cedar in (FORBID, TYPO):
        await world.cluster.patch(POLICIES, NAME, {"spec": {"cedar": cedar}})
    again = await world.start_operator()
    missed = await _until_reviewed(world, approvals)
    assert _ready(missed)["reason"] == "RevisionsMissed"
    assert missed["status"]["inForce"]["generation"] == 1
    await world.create_job(onDenied="Fail")
    await world.until_phase("Failed", reason="Denied")
    assert f"CurationPolicy/{world.namespace}/{NAME} is invalid" in world.status()["message"]
    await _until_shown(again, f'policy="{NAME}",policy_namespace="{world.namespace}"')
    await world.cluster.create(manifests.policy(manifests.PERMIT_LOCAL, "other"))
    await world.until_policy_counts("other")
    await world.edit("job-0", config={"api_url": world.service.url + "/nowhere"}, rerun="1")
    await world.until_phase("Failed", reason="Denied", observedGeneration=2)
    assert f"is forbidden by CurationPolicy/{world.namespace}/{NAME}#floor" in world.status()["message"]


async def test_what_never_was_valid_neither_permits_nor_forbids_nor_holds_jobs_up(
    world: World, approvals: Approvals
) -> None:
    await world.prepare()
    await world.cluster.create(manifests.policy("forbid(principal, action, resourse);", "broken"))
    operator = await world.start_operator()
    await world.until_policy_counts("broken")
    await world.create_job()
    await world.until_phase("Running")
    broken = await world.cluster.get(POLICIES, "broken")
    assert "inForce" not in broken["status"]
    assert "nothing of this object counts, its forbids neither" in _ready(broken)["message"]
    named = f'policy="broken",policy_namespace="{world.namespace}"'
    await _until_shown(operator, named)
    await world.cluster.delete(POLICIES, "broken")
    await world.until(lambda: approvals.seen(POLICIES, "broken") is None, "it goes at once: no Cancel needs it")
    await _until_shown(operator, named, False)


async def test_an_object_that_was_made_anew_does_not_inherit_what_was_in_force(
    world: World, approvals: Approvals
) -> None:
    await world.prepare()
    await world.start_operator()
    old = await _until_reviewed(world, approvals)
    await world.cluster.delete(POLICIES, NAME)
    await world.until(lambda: approvals.seen(POLICIES, NAME) is None, "it is gone")
    await world.cluster.create(manifests.policy(TYPO))
    new = await _until_reviewed(world, approvals)
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    assert "inForce" not in new["status"]
    await world.create_job(onDenied="Fail")
    await world.until_phase("Failed", reason="Denied")


async def test_a_policy_that_is_edited_quickly_ends_with_its_last_valid_revision_in_force(
    world: World, approvals: Approvals
) -> None:
    await world.prepare()
    await world.start_operator()
    await _until_reviewed(world, approvals)
    texts = [permit(f'context.path != "/{number}"') if number % 3 else TYPO + " " * number for number in range(1, 10)]
    for cedar in texts:
        await world.cluster.patch(POLICIES, NAME, {"spec": {"cedar": cedar}})
    last = await _until_reviewed(world, approvals)
    assert last["metadata"]["generation"] == 10
    assert (_ready(last)["reason"], last["status"]["inForce"]["generation"]) == ("ParseError", 9)
    assert last["status"]["inForce"]["cedar"] == texts[-2]
    await world.create_job()
    await world.until_phase("Running")


@pytest.mark.own_operator
async def test_jobs_that_an_earlier_release_holds_up_for_an_invalid_policy_go_on_after_the_upgrade(
    world: World, approvals: Approvals
) -> None:
    await world.prepare()
    await world.cluster.create(manifests.policy("permit(nobody, action, resource);", "broken"))
    await world.create_jobs(2, retry={"limit": 0})
    await world.edit("job-1", onDenied="Fail")
    for name in ("job-0", "job-1"):
        await world.cluster.patch(JOBS, name, _held_up(world.job(name)))
        await world.cluster.patch(JOBS, name, _held_up(world.job(name)), "status")
    await world.cluster.patch(POLICIES, "broken", {"status": _INVALID}, "status")
    await world.start_operator()
    await world.until_phase("Running", "job-0", "job-1")
    await world.settled()
    assert {world.status(name)["run"]["attempt"] for name in ("job-0", "job-1")} == {2}
    assert approvals.made == []


_INVALID: Document = {
    "observedGeneration": 1,
    "conditions": [
        {
            "type": "Ready",
            "status": "False",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-11-28T12:00:00Z",
            "reason": "ParseError",
            "message": "policy 0, line 1: not a valid policy scope: nobody",
        }
    ],
}


def _held_up(job: Document) -> Document:
    """What the release before this one wrote for a job whose request met an invalid policy."""
    meta, since = job["metadata"], "2026-11-28T12:00:00.000000Z"
    message = "A policy is invalid, so every call is denied: policy invalid: CurationPolicy/x/broken is invalid: ..."

    def condition(kind: str, status: str) -> Document:
        return {
            "type": kind,
            "status": status,
            "observedGeneration": meta["generation"],
            "lastTransitionTime": "2026-11-28T12:00:00Z",
            "reason": "PolicyInvalid",
            "message": message,
        }

    return {
        "metadata": {"finalizers": ["curation.dev/session"]},
        "status": {
            "observedGeneration": meta["generation"],
            "templateDigest": _digest_of(job),
            "templateGeneration": 1,
            "phase": "AwaitingApproval",
            "phaseSince": since,
            "reason": "PolicyInvalid",
            "message": message,
            "run": {
                "id": f"{meta['uid']}.g1.a1",
                "generation": 1,
                "attempt": 1,
                "retries": 0,
                "templateDigest": _digest_of(job),
                "module": {"name": manifests.MODULE, "digest": "sha256:" + "0" * 64},
                "holder": "old/1",
                "submittedAt": since,
                "finishedAt": since,
            },
            "conditions": [condition("Ready", "False"), condition("Authorized", "False")],
        },
    }


def _digest_of(job: Document) -> str:
    """The digest of the job's template, as every release computes it."""
    return template_digest(CurationJob.model_validate(job).spec)
