"""inputFrom and configFrom, under the shipped role: frozen with the claim, and taken anew by a rerun."""

from typing import Any

from tests.guests.wat import Script
from tests.harness import manifests
from tests.harness.world import World

NAME = "shows"
# Its run is retried once, and the status has what it was given: the first 2 KiB of the context hold both.
SHOWS = Script().log_context().error({"message": "try again", "class": "Timeout"})
INPUT = {"configMapKeyRef": {"name": "work", "key": "input.json"}}
CONFIG = {"configMapRef": {"name": "settings"}}


def config_map(name: str, **data: str) -> manifests.Document:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def test_a_job_waits_for_its_config_maps_and_a_change_of_them_counts_for_a_rerun_only(world: World) -> None:
    for document in (*manifests.wasm_module(NAME, SHOWS), manifests.policy()):
        await world.cluster.create(document)
    await world.start_operator()
    retry = {"limit": 1, "initialDelaySeconds": 1, "maxDelaySeconds": 1}
    given: dict[str, Any] = {
        "inputFrom": INPUT,
        "configFrom": CONFIG,
        "input": {},
        "config": {"own": "mine"},
        "retry": retry,
    }
    await world.create_job(moduleRef={"name": NAME}, **given)
    await world.until_phase("Queued", reason="WaitingForConfigMap")
    assert "ConfigMap work (spec.inputFrom.configMapKeyRef.name) does not exist" in world.status()["message"]

    await world.cluster.create(config_map("work", **{"input.json": "no JSON", "other": "{}"}))
    await world.until(lambda: "is not JSON at line 1, column 1" in world.status()["message"], "the job says so")
    await world.cluster.patch("configmaps", "work", {"data": {"input.json": '{"message": "first", "none": null}'}})
    await world.until(lambda: "ConfigMap settings" in world.status()["message"], "the job waits for the other one")
    await world.edit("job-0", suspend=True)
    await world.until_phase("Queued", reason="Suspended")
    await world.cluster.create(config_map("settings", region="eu", own="overlaid"))
    await world.edit("job-0", suspend=False)
    await world.until(lambda: world.status().get("run", {}).get("attempt", 0) >= 1, "the first attempt is claimed")
    frozen = {"input": {"message": "first"}, "config": {"region": "eu", "own": "overlaid"}}
    assert world.status()["frozen"] == frozen
    await world.cluster.patch("configmaps", "work", {"data": {"input.json": '{"message": "second"}'}})
    await world.cluster.delete("configmaps", "settings")

    await world.until_phase("Failed", reason="Timeout")
    run, frozen_digest = world.status()["run"], world.status()["templateDigest"]
    assert (run["attempt"], run["templateDigest"]) == (2, frozen_digest)
    assert run["config"] == {"region": "eu", "own": "mine"}
    assert '"input":{"message":"first"}' in run["log"]

    await world.edit("job-0", ttlSecondsAfterFinished=86_400)
    await world.until(lambda: world.status()["observedGeneration"] == 4, "the operator has seen the control edit")
    assert (world.status()["run"], world.status()["templateDigest"]) == (run, frozen_digest)

    await world.cluster.create(config_map("settings", region="us"))
    await world.edit("job-0", rerun="again")
    await world.until_phase("Failed", observedGeneration=5)
    assert world.status()["frozen"] == {"input": {"message": "second"}, "config": {"region": "us"}}
    assert world.status()["templateDigest"] != frozen_digest
