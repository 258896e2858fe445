"""Flux as `flux install` leaves it: where the gate cannot be set, a job that waits is taken for failed.

Then the commit that frees it is applied within seconds. With the default expressions Flux would wait for the job's
health, and hold every later commit back, for as long as `timeout` says.
"""

import pytest

from tests.gitops_kit.team import WAITING_FAILS, Team
from tests.harness.manifests import module, policy

GATE = False

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_commit_with_the_policy_frees_a_job_that_is_taken_for_failed_while_it_waits(team: Team) -> None:
    team.expressions = {"CurationJob": WAITING_FAILS}
    first = await team.commit("no policy", module(), team.job())
    await team.follow()
    await team.until_phase("AwaitingApproval")
    failed = await team.until_ready(first, ready="False")
    assert f"CurationJob/{team.name}/nightly" in failed["message"]
    revision = await team.commit("policy", module(), policy(), team.job())
    await team.finish()
    await team.until_ready(revision)


async def test_a_suspended_job_is_resumed_by_a_commit(team: Team) -> None:
    team.expressions = {"CurationJob": WAITING_FAILS}
    first = await team.commit("held", module(), policy(), team.job(suspend=True))
    await team.follow()
    await team.until_ready(first, ready="False")
    revision = await team.commit("go on", module(), policy(), team.job(suspend=False))
    await team.finish()
    await team.until_ready(revision)


async def test_with_the_default_expressions_a_waiting_job_holds_the_next_commit_back(team: Team) -> None:
    """So that the advice is dropped when Flux no longer needs it. The timeout is short here: it is what ends it."""
    team.expressions = {"CurationJob": "status.phase == 'Failed'"}
    await team.commit("no policy", module(), team.job())
    await team.follow(timeout="40s")
    await team.until_phase("AwaitingApproval")

    async def waits() -> bool:
        return (await team.ready()).get("status") == "Unknown"

    await team.until(waits, "Flux waits for the job's health")
    revision = await team.commit("policy", module(), policy(), team.job())

    async def applied() -> bool:
        return bool(await team.object("curationpolicies", "allow"))

    await team.until(applied, "the policy is applied")
    # In Flux' own log, since what its status says of the timeout is there for a moment only.
    said = [line for line in team.flux.log("kustomize-controller").splitlines() if team.name in line]
    ended = next((number for number, line in enumerate(said) if "timeout waiting for" in line), None)
    came = next(number for number, line in enumerate(said) if f"CurationPolicy/{team.name}/allow" in line)
    assert ended is not None, "\n".join(said)
    assert ended < came
    await team.finish()
    await team.until_ready(revision)
