"""Modules from a registry, on a real API server under the shipped role: pulled, signed, or not run."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from testing.admin_client import Document
from tests.guests.wat import Script
from tests.harness import manifests
from tests.harness.scripted_registry import ScriptedRegistry, Signer, digest_of, scripted_registry
from tests.harness.world import World
from tests.integration.operator.test_module_sources import MODULES, until_ready
from tests.unit.oci.test_pull import basic_guard

GOOD = Script().ok({"action": "Completed", "output": {"from": "a registry"}})
OTHER = Script().ok({"action": "Completed", "output": {"from": "another one"}})


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[ScriptedRegistry]:
    with scripted_registry(tmp_path) as served:
        yield served


def module(registry: ScriptedRegistry, name: str, digest: str, wasm: bytes, **oci: object) -> Document:
    return {
        "apiVersion": "curation.dev/v1alpha1",
        "kind": "CurationModule",
        "metadata": {"name": name},
        "spec": {"source": {"oci": {"ref": registry.ref, "digest": digest, **oci}}, "digest": digest_of(wasm)},
    }


async def grant_secrets(world: World, *names: str) -> None:
    """The component that lets the operator read Secrets, for these."""
    file = Path(manifests.__file__).parents[2] / "manifests/components/secrets/role.yaml"
    for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
        document["metadata"]["namespace"] = world.namespace
        if document["kind"] == "Role":
            document["rules"][0]["resourceNames"] = list(names)
        await world.cluster.create(document)


async def conditions(world: World, name: str) -> dict[str, tuple[str, str, str]]:
    found = (await world.cluster.get(MODULES, name))["status"]["conditions"]
    return {each["type"]: (each["status"], each["reason"], each["message"]) for each in found}


@pytest.mark.own_operator
async def test_a_module_of_a_private_registry_runs_a_job_once_its_secret_may_be_read(
    world: World, registry: ScriptedRegistry
) -> None:
    registry.guard = basic_guard("user", "word")
    digest = registry.module(GOOD)
    auths = {"auths": {registry.host: {"username": "user", "password": "word"}}}
    content = base64.b64encode(json.dumps(auths).encode()).decode()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "pull"},
        "data": {".dockerconfigjson": content},
    }
    await world.cluster.create({**secret, "type": "kubernetes.io/dockerconfigjson"})
    wrong = {**secret, "metadata": {"name": "opaque"}, "type": "Opaque"}
    await world.cluster.create(wrong)
    await world.cluster.create(module(registry, "own", digest, GOOD, pullSecretRef={"name": "pull"}))
    await world.cluster.create(module(registry, "other-type", digest, GOOD, pullSecretRef={"name": "opaque"}))
    await world.cluster.create(module(registry, "without", digest, GOOD))
    await world.start_operator("--ca-bundle", str(registry.ca))
    message = await until_ready(world, "False", "Unauthorized", "without")
    assert "spec.source.oci.pullSecretRef" in message
    assert (await conditions(world, "without"))["Pulled"][:2] == ("False", "Unauthorized")
    message = await until_ready(world, "False", "Unauthorized", "own")
    assert "manifests/components/secrets" in message

    await grant_secrets(world, "pull", "opaque")
    await until_ready(world, "True", "Compiled", "own")
    assert (await conditions(world, "own"))["Pulled"][:2] == ("True", "Pulled")
    assert "SignatureVerified" not in await conditions(world, "own")
    await world.create_job(moduleRef={"name": "own"})
    await world.until_phase("Completed", output={"from": "a registry"})
    assert "kubernetes.io/dockerconfigjson" in await until_ready(world, "False", "Unauthorized", "other-type")


@pytest.mark.own_operator
@pytest.mark.parametrize("form", ["simple", "bundle"])
async def test_where_a_signature_is_required_only_signed_modules_run(
    world: World, registry: ScriptedRegistry, tmp_path: Path, form: str
) -> None:
    ours, theirs = Signer("release"), Signer("theirs")
    key = tmp_path / "release.pem"
    key.write_text(ours.pem, encoding="utf-8")
    signed, unsigned = registry.module(GOOD), registry.module(OTHER)

    def sign(digest: str, signer: Signer) -> None:
        if form == "simple":
            registry.sign_simply(digest, signer.simple(digest))
        else:
            registry.sign_in_bundle(digest, signer.bundle(digest))

    sign(signed, ours)
    sign(unsigned, theirs)
    verify = [{"name": "theirs", "publicKey": theirs.pem}]
    for document in (
        module(registry, "signed", signed, GOOD),
        module(registry, "unsigned", unsigned, OTHER),
        module(registry, "verify", signed, GOOD, verify=verify),
        *manifests.wasm_module("in-a-config-map", GOOD),
        manifests.policy(),
    ):
        await world.cluster.create(document)
    await world.start_operator("--ca-bundle", str(registry.ca), "--require-signature", str(key))
    for name in ("signed", "unsigned", "in-a-config-map"):
        await world.create_job(name, moduleRef={"name": name})

    await world.until_phase("Completed", "signed", output={"from": "a registry"})
    shown = (await conditions(world, "signed"))["SignatureVerified"]
    assert shown == ("True", "Verified", "It is signed by the key release.")
    message = await until_ready(world, "False", "NotSigned", "unsigned")
    assert "release" in message
    assert (await conditions(world, "unsigned"))["SignatureVerified"][:2] == ("False", "NotSigned")
    assert "theirs" in await until_ready(world, "False", "NotSigned", "verify")
    assert "ConfigMap" in await until_ready(world, "False", "NotSigned", "in-a-config-map")
    await world.until_phase("Queued", "unsigned", reason="WaitingForModule")
    await world.until_phase("Queued", "in-a-config-map", reason="ModuleUnusable")

    sign(unsigned, ours)
    await world.until_phase("Completed", "unsigned", output={"from": "another one"})
