"""What people do with kubectl to modules and policies that the operator works on: apply again, diff, replace."""

import asyncio
import json

import pytest

from curation.api.names import IN_USE_FINALIZER
from testing.admin_client import Document
from testing.controlplane.connection import Kubectl
from tests.harness import manifests
from tests.harness.world import World
from tests.integration.operator.test_kubectl_and_running_jobs import APPLY, DIFF

KINDS = {"curationmodules": manifests.module(), "curationpolicies": manifests.policy()}
TEXT = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(KINDS.values())})


async def settled(world: World) -> dict[str, Document]:
    """Wait until the operator has said that both are Ready, and holds them; they as the API server has them."""

    def is_settled() -> bool:
        found = [obj for history in world.others.values() for obj in history.present.values()]
        return len(found) == len(KINDS) and all(
            IN_USE_FINALIZER in obj["metadata"].get("finalizers", ())
            and obj.get("status", {}).get("observedGeneration") == obj["metadata"]["generation"]
            for obj in found
        )

    await world.until(is_settled, "the module and the policy are Ready and held")
    return {plural: await world.cluster.get(plural, obj["metadata"]["name"]) for plural, obj in KINDS.items()}


@pytest.mark.parametrize("how", APPLY)
async def test_the_same_manifests_again_change_nothing(world: World, kubectl: Kubectl, how: str) -> None:
    await world.start_operator()
    await asyncio.to_thread(kubectl, *APPLY[how], "-f", "-", input=TEXT)
    before = await settled(world)
    await asyncio.to_thread(kubectl, *APPLY[how], "-f", "-", input=TEXT)
    assert (await asyncio.to_thread(kubectl, *DIFF[how], "-f", "-", input=TEXT)).stdout == ""
    assert await settled(world) == before


async def test_a_replace_by_the_manifest_lets_nothing_go_that_a_session_may_need(
    world: World, kubectl: Kubectl
) -> None:
    await world.start_operator()
    await asyncio.to_thread(kubectl, "create", "-f", "-", input=TEXT)
    before = await settled(world)
    await asyncio.to_thread(kubectl, "replace", "-f", "-", input=TEXT)
    versions = {obj["metadata"]["name"]: obj["metadata"]["resourceVersion"] for obj in before.values()}
    await world.until(
        lambda: all(
            obj["metadata"]["resourceVersion"] != versions[name]
            for history in world.others.values()
            for name, obj in history.present.items()
        ),
        "the replacement was seen",
    )
    # The operator puts back the finalizer that the manifest does not have.
    after = await settled(world)
    for plural, obj in after.items():
        assert obj["metadata"]["uid"] == before[plural]["metadata"]["uid"]
        assert obj["metadata"]["generation"] == before[plural]["metadata"]["generation"]
        assert obj["status"] == before[plural]["status"]
