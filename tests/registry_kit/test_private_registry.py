"""A real registry that lets nobody in without a password, with an authority of its own, and real cosign signatures.

| the pull Secret           | the module                                                       |
|---------------------------|------------------------------------------------------------------|
| is not named              | is Unauthorized, and told to name one                            |
| does not exist            | is Unauthorized, and names it                                    |
| has a wrong password      | is Unauthorized, and told so                                     |
| is replaced, and is right | is Ready, and runs a job                                         |
| is wrong again, later     | goes on, once it is Ready; another one with it does not become so |
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from testing.admin_client import Document
from testing.controlplane.connection import Kubectl
from tests.guests.wat import Script
from tests.harness.real_registry import RealRegistry, real_registry
from tests.harness.scripted_registry import digest_of
from tests.harness.world import SECONDS, World
from tests.integration.operator.test_module_sources import ready
from tests.integration.operator.test_oci_modules import grant_secrets

USER = "puller"
FIRST = ("first-word", "$2y$04$abcdefghijklmnopqrstuuZO1r3BWwvuE2YHLvxcfKuLcO8iNCtrW")
SECOND = ("second-word", "$2y$04$abcdefghijklmnopqrstuuYvY1TJ5uG0yONr7BfMy6evcwwoKc4va")
"""Passwords, and what bcrypt makes of them."""
GOOD = Script().ok({"action": "Completed", "output": {"from": "a private registry"}})
OTHER = Script().ok({"action": "Completed", "output": {"from": "the same, later"}})


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[RealRegistry]:
    folder = tmp_path / "registry"
    folder.mkdir()
    async with real_registry(folder, private=True) as served:
        yield served


async def until_said(world: World, name: str, status: str, reason: str, text: str = "") -> None:
    found = ("", "", "")
    try:
        async with asyncio.timeout(SECONDS):
            while found[:2] != (status, reason) or text not in found[2]:
                await asyncio.sleep(0.1)
                found = await ready(world, name)
    except TimeoutError:
        raise AssertionError(f"module {name} is {found}, not {reason}: {text}\n{world.picture()}") from None


@pytest.mark.own_operator
@pytest.mark.timeout(900)
async def test_a_module_of_a_private_registry_is_pulled_with_what_its_secret_has_now(
    world: World, kubectl: Kubectl, registry: RealRegistry
) -> None:
    async def pushed(repository: str, wasm: bytes) -> str:
        digest = await registry.push(repository, wasm)
        offline = ("--use-signing-config=false", "--tlog-upload=false")
        await registry.run("cosign", "sign", "--key", "cosign.key", *offline, f"{registry.host}/{repository}@{digest}")
        return digest

    def module(name: str, repository: str, digest: str, wasm: bytes, secret: str | None = "pull") -> Document:
        named = {"pullSecretRef": {"name": secret}} if secret else {}
        source = {"oci": {"ref": f"{registry.host}/{repository}", "digest": digest, **named}}
        spec = {"source": source, "digest": digest_of(wasm)}
        return {
            "apiVersion": "curation.dev/v1alpha1",
            "kind": "CurationModule",
            "metadata": {"name": name},
            "spec": spec,
        }

    async def give(password: str) -> None:
        """Make the Secret as the page says, or replace it."""
        server = (f"--docker-server={registry.host}", f"--docker-username={USER}", f"--docker-password={password}")
        words = ("create", "secret", "docker-registry", "pull", "-n", world.namespace, *server)
        made = await asyncio.to_thread(kubectl, *words, "--dry-run=client", "-o", "yaml")
        await asyncio.to_thread(kubectl, "apply", "-n", world.namespace, "-f", "-", input=made.stdout)

    registry.let_in({USER: FIRST[1]})
    await registry.run("oras", "login", registry.host, "--username", USER, "--password", FIRST[0])
    await registry.run("cosign", "generate-key-pair")
    first, later = await pushed("team/first", GOOD), await pushed("team/later", OTHER)
    await grant_secrets(world, "pull")
    await world.cluster.create(module("first", "team/first", first, GOOD))
    await world.cluster.create(module("unnamed", "team/first", first, GOOD, secret=None))
    key = str(registry.folder / "cosign.pub")
    await world.start_operator("--ca-bundle", str(registry.authority), "--require-signature", key)
    await until_said(world, "unnamed", "False", "Unauthorized", "name a Secret with credentials for it")
    await until_said(
        world, "first", "False", "Unauthorized", "Secret pull (spec.source.oci.pullSecretRef) does not exist"
    )
    await give(SECOND[0])
    await until_said(world, "first", "False", "Unauthorized", "are wrong, or may not pull")
    await give(FIRST[0])
    await until_said(world, "first", "True", "Compiled")
    await world.create_job("before", moduleRef={"name": "first"})
    await world.until_phase("Completed", "before", output={"from": "a private registry"})

    registry.let_in({USER: SECOND[1]})
    await world.cluster.create(module("later", "team/later", later, OTHER))
    await until_said(world, "later", "False", "Unauthorized", "are wrong, or may not pull")
    assert (await ready(world, "first"))[:2] == ("True", "Compiled")
    await world.create_job("meanwhile", moduleRef={"name": "first"})
    await world.until_phase("Completed", "meanwhile", output={"from": "a private registry"})
    await give(SECOND[0])
    await until_said(world, "later", "True", "Compiled")
    await world.create_job("after", moduleRef={"name": "later"})
    await world.until_phase("Completed", "after", output={"from": "the same, later"})
