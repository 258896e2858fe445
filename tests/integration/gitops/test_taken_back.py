"""What docs/gitops.md warns of, and what it says to write instead, with a controller that forces its manifests."""

import asyncio

from tests.guests.wat import Script
from tests.harness import manifests
from tests.harness.world import JOBS, World
from tests.integration.cli.running import Plugin
from tests.integration.gitops.repository import Repository, run_ids, runs_with_sessions


async def until_run(world: World, run: str) -> None:
    """Wait until this run of the job `nightly` has its session, and no other has."""
    await world.until(
        lambda: world.status("nightly").get("phase") == "Running" and run_ids(world, "nightly")[-1] == run,
        f"run {run} runs",
    )
    await world.settled()


async def test_a_rerun_by_force_of_a_field_in_git_is_taken_back_and_so_the_job_runs_a_third_time(
    world: World, plugin: Plugin
) -> None:
    await world.prepare()
    await world.start_operator()
    git = Repository(world, force=True)
    git.commit("nightly", rerun="1")
    await git.reconcile()
    await until_run(world, "g1.a1")

    await asyncio.to_thread(plugin, "rerun", "nightly", "--force")
    await until_run(world, "g2.a1")
    await git.reconcile()
    await until_run(world, "g3.a1")

    assert world.job("nightly")["spec"]["rerun"] == "1"
    assert runs_with_sessions(world, "nightly") == ["g1.a1", "g2.a1", "g3.a1"]


async def test_instead_git_may_leave_the_field_out_and_a_rerun_lasts(world: World, plugin: Plugin) -> None:
    await world.prepare()
    await world.start_operator()
    git = Repository(world, force=True)
    git.commit("nightly")
    await git.reconcile()
    await until_run(world, "g1.a1")

    await asyncio.to_thread(plugin, "rerun", "nightly")
    await until_run(world, "g2.a1")
    for _ in range(3):
        await git.reconcile()
    assert await git.diff() == ""
    await world.settled()

    assert runs_with_sessions(world, "nightly") == ["g1.a1", "g2.a1"]


async def test_instead_git_may_ask_for_the_rerun_and_reconcile_it_as_often_as_it_likes(world: World) -> None:
    await world.prepare()
    await world.start_operator()
    git = Repository(world, force=True)
    for value, run in (("1", "g1.a1"), ("2", "g2.a1")):
        git.commit("nightly", rerun=value)
        for _ in range(3):
            await git.reconcile()
        await until_run(world, run)

    assert runs_with_sessions(world, "nightly") == ["g1.a1", "g2.a1"]


async def test_a_job_in_git_that_its_ttl_deletes_is_made_again_and_runs_again(world: World) -> None:
    await a_module_that_completes(world)
    await world.start_operator()
    git = Repository(world, force=True)
    git.commit("nightly", moduleRef={"name": "quick"}, ttlSecondsAfterFinished=0)
    for number in range(3):
        await git.reconcile()
        await world.until(lambda made=number + 1: len(completed(world)) == made, "the job completes")  # type: ignore[misc]
        await world.until_gone("nightly")

    assert len(set(completed(world))) == 3


async def test_instead_a_finished_job_without_a_ttl_stays_and_is_not_run_again(world: World) -> None:
    await a_module_that_completes(world)
    await world.start_operator()
    git = Repository(world, force=True)
    git.commit("nightly", moduleRef={"name": "quick"})
    await git.reconcile()
    await world.until_phase("Completed", "nightly")
    before = world.job("nightly")
    for _ in range(3):
        await git.reconcile()

    assert await git.diff() == ""
    assert await world.cluster.get(JOBS, "nightly") == before
    assert run_ids(world, "nightly") == ["g1.a1"]


async def a_module_that_completes(world: World) -> None:
    """The module `quick`, whose jobs need no session."""
    for document in manifests.wasm_module("quick", Script().ok({"action": "Completed", "output": {}})):
        await world.cluster.create(document)


def completed(world: World) -> list[str]:
    """The uids of all jobs that ever completed."""
    return [
        uid
        for uid, versions in world.jobs.versions.items()
        if any(job.get("status", {}).get("phase") == "Completed" for job in versions)
    ]
