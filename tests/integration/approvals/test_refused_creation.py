"""An approval that the API server refuses to make (a quota, an admission policy): reported where the user looks."""

from pathlib import Path

from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from tests.faults.proxy import FaultProxy, answered
from tests.harness import manifests
from tests.harness.world import World
from tests.integration.approvals.decisions import Approvals

QUOTA = '{"kind": "Status", "reason": "Forbidden", "message": "exceeded quota: few-approvals"}'


async def test_a_refusal_is_an_event_of_the_job_and_the_approval_is_made_once_it_may_be(
    world: World, approvals: Approvals, tmp_path: Path
) -> None:
    await world.cluster.create(manifests.module())
    async with FaultProxy(world.cluster.connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)) as proxy:
        refusal = proxy.inject(answered(403, "POST", "/curationapprovals", times=6, body=QUOTA))
        await world.start_operator(kubeconfig=proxy.kubeconfig(tmp_path))
        await world.create_job()
        approval = await approvals.one()
        await world.until(lambda: world.event_count("WriteRefused", note="exceeded quota") > 0, "it is reported")
        assert refusal.hits == 6
        assert approval["metadata"]["name"] == world.status()["approval"]["name"]
        await world.stop_operators()
