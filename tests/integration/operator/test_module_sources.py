"""A module is what its source says, here and now: on a real API server, under the shipped role."""

import asyncio
import base64

from tests.guests import hostile
from tests.guests.wat import Script
from tests.harness import manifests
from tests.harness.world import SECONDS, World

NAME = "own"
GOOD = Script().ok({"action": "Completed", "output": {"build": 1}})
OTHER = Script().ok({"action": "Completed", "output": {"build": 2}})
MODULES, CONFIG_MAPS = "curationmodules", "configmaps"


async def ready(world: World, name: str = NAME) -> tuple[str, str, str]:
    """Status, reason and message of a module's Ready condition."""
    module = await world.cluster.get(MODULES, name)
    for condition in module.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready":
            return condition["status"], condition["reason"], condition["message"]
    return "", "", ""


async def until_ready(world: World, status: str, reason: str, name: str = NAME, *, seconds: float = SECONDS) -> str:
    found = ("", "", "")
    try:
        async with asyncio.timeout(seconds):
            while found[:2] != (status, reason):
                await asyncio.sleep(0.1)
                found = await ready(world, name)
    except TimeoutError:
        raise AssertionError(f"module {name} is {found}, not {reason}\n{world.picture()}") from None
    return found[2]


async def test_bytes_that_change_in_place_are_not_run_and_are_when_they_are_put_back(world: World) -> None:
    source, module = manifests.wasm_module(NAME, GOOD)
    for document in (source, module, manifests.policy()):
        await world.cluster.create(document)
    await world.start_operator()
    await world.create_job("first", moduleRef={"name": NAME})
    await world.until_phase("Completed", "first", output={"build": 1})

    changed = {"binaryData": {"module.wasm": base64.b64encode(OTHER).decode()}}
    await world.cluster.patch(CONFIG_MAPS, source["metadata"]["name"], changed)
    message = await until_ready(world, "False", "DigestMismatch")
    assert "sha256:" not in message
    await world.create_job("second", moduleRef={"name": NAME})
    await world.until_phase("Queued", "second", reason="WaitingForModule")

    await world.cluster.patch(CONFIG_MAPS, source["metadata"]["name"], {"binaryData": source["binaryData"]})
    await until_ready(world, "True", "Compiled")
    await world.until_phase("Completed", "second", output={"build": 1})


async def test_a_module_whose_source_is_gone_is_not_ready_though_its_bytes_are_compiled(world: World) -> None:
    source, module = manifests.wasm_module(NAME, GOOD)
    _, without = manifests.wasm_module("without", GOOD)
    for document in (source, module, without, manifests.policy()):
        await world.cluster.create(document)
    await world.start_operator()
    await until_ready(world, "True", "Compiled")
    await until_ready(world, "False", "NotFound", "without")
    await world.cluster.delete(CONFIG_MAPS, source["metadata"]["name"])
    await until_ready(world, "False", "NotFound")


async def test_a_module_that_takes_much_to_be_opened_is_too_large_and_its_job_is_stalled(world: World) -> None:
    for document in (*manifests.wasm_module(NAME, hostile.nests_instances(6), memory="1Mi"), manifests.policy()):
        await world.cluster.create(document)
    await world.start_operator()
    await until_ready(world, "False", "TooLarge")
    await world.create_job(moduleRef={"name": NAME})
    await world.until_phase("Queued", reason="ModuleUnusable")


async def test_a_builtin_that_does_not_exist_fails_at_once_and_its_jobs_go_on_once_it_is_another(world: World) -> None:
    module = manifests.module(NAME)
    module["spec"]["source"]["builtin"] = "nightly-v9"
    for document in (module, manifests.policy()):
        await world.cluster.create(document)
    await world.start_operator()
    message = await until_ready(world, "False", "UnknownBuiltin")
    assert manifests.BUILTIN in message
    await world.create_job(moduleRef={"name": NAME})
    await world.until_phase("Queued", reason="ModuleUnusable")
    conditions = {item["type"]: item["status"] for item in world.status()["conditions"]}
    assert conditions["Stalled"] == "True"
    assert not {"Reconciling", "Finished"} & conditions.keys()
    await world.cluster.patch(MODULES, NAME, {"spec": {"source": {"builtin": manifests.BUILTIN}}})
    await world.until_phase("Running")
    await world.settled()
