"""`modules/template`, built from a copy and loaded from a ConfigMap: a job's whole life with a module of one's own."""

from contextlib import AsyncExitStack
from pathlib import Path

from testing.controlplane import namespaces
from testing.controlplane.connection import Connection
from tests.harness import manifests, page
from tests.harness.world import JOBS, World, open_world

NAME = "my-module"
JOB = "my-first-job"


async def prepare(world: World, component: bytes) -> None:
    for document in manifests.wasm_module(NAME, component):
        await world.cluster.create(document)
    await world.cluster.create(manifests.policy())


async def test_a_reader_of_the_page_gets_a_module_in_rust_from_a_config_map_to_run_a_job(
    installed: Connection, module_cache: Path, tmp_path: Path, template_module: bytes
) -> None:
    """docs/write-a-module.md as it stands. `make registry` goes the other ways through it."""
    way = page.way("Rust", "In a ConfigMap")
    ends = next(index for index, block in enumerate(way) if "curl" in block.text)
    starts = next(index for index, block in enumerate(way) if "create namespace" in block.text)
    async with AsyncExitStack() as stack:
        team = namespaces.unused()
        stack.callback(namespaces.delete, installed, team)
        world = await stack.enter_async_context(open_world(installed, team, module_cache))
        shell = await stack.enter_async_context(page.shell(tmp_path, installed, sessions=world.service.url, team=team))
        await shell.run(*way[: starts + 1])
        assert (tmp_path / "my-module" / "my-module.wasm").read_bytes() == template_module
        await world.start_operator()
        listed = await shell.run(*way[starts + 1 : ends])
        assert "my-first-job" in listed
        assert "Running" in listed

        status = world.status(JOB)
        [session] = world.service.live_sessions(run=status["run"]["id"])
        assert (status["session"]["id"], status["session"]["url"]) == (session.id, session.url)
        assert (session.message, session.title) == ("Clean the dataset demo.", f"{team}/{JOB}")
        assert status["run"]["module"]["name"] == NAME
        world.service.report(session.id, {"step": 1})
        await world.until(
            lambda: world.status(JOB)["session"].get("progress") == {"step": 1}, "its progress is in the status"
        )
        assert (await shell.run(*way[ends:])).endswith('{"rows":7}')
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
