"""Modules of Python and JavaScript: pushed to a registry, signed, pulled by digest, and a job's whole life.

Each is built by the tools of its language, if they can be had, and compiled by the operator, which takes a minute.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import manifests
from tests.harness.scripted_registry import ScriptedRegistry, Signer, scripted_registry
from tests.harness.world import World
from tests.integration.operator.test_module_sources import until_ready
from tests.integration.operator.test_oci_modules import conditions, module

COMPILED_WITHIN = 900.0


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[ScriptedRegistry]:
    with scripted_registry(tmp_path) as served:
        yield served


@pytest.mark.own_operator
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("language", ["javascript", "python"])
async def test_a_signed_module_of_another_language_runs_a_job_to_its_end(
    world: World, registry: ScriptedRegistry, tmp_path: Path, request: pytest.FixtureRequest, language: str
) -> None:
    wasm: bytes = request.getfixturevalue(f"{language}_module")
    ours = Signer("release")
    key = tmp_path / "release.pem"
    key.write_text(ours.pem, encoding="utf-8")
    digest = registry.module(wasm)
    await world.cluster.create(module(registry, language, digest, wasm))
    await world.cluster.create(manifests.policy())
    await world.start_operator("--ca-bundle", str(registry.ca), "--require-signature", str(key))
    await world.create_job(moduleRef={"name": language}, observeIntervalSeconds=1)
    await until_ready(world, "False", "NotSigned", language)
    assert not any("/blobs/" in path for path in registry.paths())

    registry.sign_in_bundle(digest, ours.bundle(digest))
    await until_ready(world, "True", "Compiled", language, seconds=COMPILED_WITHIN)
    assert (await conditions(world, language))["SignatureVerified"][2] == "It is signed by the key release."
    await world.until_phase("Running")
    [session] = world.service.live_sessions(run=world.status()["run"]["id"])
    world.service.complete(session.id, {"rows": 7})
    await world.until_phase("Completed", output={"rows": 7})
    await world.settled()
