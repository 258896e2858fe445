"""`modules/template`, built from a copy and loaded from a ConfigMap: a job's whole life with a module of one's own."""

import base64
import hashlib
import re

import yaml

from testing.admin_client import Document
from tests.harness import manifests
from tests.harness.template_module import SOURCES
from tests.harness.world import JOBS, World

NAME = "my-module"
JOB = "my-first-job"


async def prepare(world: World, component: bytes) -> None:
    for document in manifests.wasm_module(NAME, component):
        await world.cluster.create(document)
    await world.cluster.create(manifests.policy())


def example(world: World, component: bytes) -> list[Document]:
    """The template's example.yaml, with the two things set that are its user's to set."""
    text = (SOURCES / "example.yaml").read_text(encoding="utf-8")
    digest = f"sha256:{hashlib.sha256(component).hexdigest()}"
    text = re.sub(r"sha256:0+", digest, text).replace("http://127.0.0.1:8080", world.service.url)
    return list(yaml.safe_load_all(text))


async def test_the_job_of_its_example_runs_and_completes(world: World, template_module: bytes) -> None:
    source = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}}
    content = {"module.wasm": base64.b64encode(template_module).decode()}
    for document in ({**source, "binaryData": content}, *example(world, template_module)):
        await world.cluster.create(document)
    await world.start_operator()
    await world.until_phase("Running", JOB)

    status = world.status(JOB)
    [session] = world.service.live_sessions(run=status["run"]["id"])
    assert (status["session"]["id"], status["session"]["url"]) == (session.id, session.url)
    assert (session.message, session.title) == ("Clean the dataset demo.", f"{world.namespace}/{JOB}")
    assert status["run"]["module"]["name"] == NAME

    world.service.report(session.id, {"step": 1})
    await world.until(
        lambda: world.status(JOB)["session"].get("progress") == {"step": 1}, "its progress is in the status"
    )
    world.service.complete(session.id, {"rows": 7})
    await world.until_phase("Completed", JOB, output={"rows": 7})
    await world.settled()


async def test_deleting_a_job_of_the_template_ends_its_session(world: World, template_module: bytes) -> None:
    await prepare(world, template_module)
    await world.start_operator()
    await world.create_job(moduleRef={"name": NAME})
    await world.until_phase("Running")
    await world.cluster.delete(JOBS, "job-0")
    await world.until_gone("job-0")
    assert world.service.live_sessions() == []


async def test_a_build_with_another_digest_than_the_spec_says_is_not_run(world: World, template_module: bytes) -> None:
    source, module = manifests.wasm_module(NAME, template_module)
    module["spec"]["digest"] = f"sha256:{'0' * 64}"
    await world.cluster.create(source)
    await world.cluster.create(module)
    await world.cluster.create(manifests.policy())
    await world.start_operator()
    await world.create_job(moduleRef={"name": NAME})
    await world.until_phase("Queued", reason="WaitingForModule")
    assert world.service.log() == []
