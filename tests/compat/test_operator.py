"""The operator itself: late answers of superseded runs, an approval, conditions to wait for, and a deletion."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from curation.api.names import SESSION_FINALIZER
from tests.compat.conftest import Installation
from tests.harness import manifests
from tests.harness.slow_runs import Point, assert_completions, hold, supersede, until_dropped
from tests.harness.world import World, open_world
from tests.integration.cli.running import Plugin


@pytest.fixture
async def opened(installation: Installation, place: str, module_cache: Path) -> AsyncIterator[World]:
    """A world on this version."""
    async with open_world(installation.connection, place, module_cache) as world:
        yield world


async def test_late_answers_of_superseded_runs_end_no_job(opened: World) -> None:
    world = opened
    await world.prepare()
    operator = await world.start_operator()
    rules = [hold(world, Point.CREATE, generation=1)]
    names = await world.create_jobs(3)
    await supersede(world, rules, names)
    await world.until_phase("Running", *names)
    for rule in rules:
        rule.release()
    await until_dropped(world, operator, 3)
    await world.settled()
    assert {world.status(name)["phase"] for name in names} == {"Running"}
    await assert_completions(operator, applied=3, stale=3)


async def test_an_approval_frees_a_job_and_records_who_decided(opened: World, installation: Installation) -> None:
    world, connection = opened, installation.connection
    plugin = Plugin(connection, world.namespace)
    await world.cluster.create(manifests.module())
    await world.start_operator()
    await world.create_job()
    await world.until_phase("AwaitingApproval")
    name = world.status()["approval"]["name"]
    connection.kubectl(
        *("create", "rolebinding", "approves", "--clusterrole=curation-approver", "--user=alice"),
        *("--namespace", world.namespace),
    )
    for attempt in range(100):  # the role is aggregated and bound a moment later
        done = await asyncio.to_thread(plugin, "approve", name, "--scope", "Host", user="alice", code=None)
        if done.returncode == 0:
            break
        assert attempt < 99, done.stderr
    await world.until_phase("Running")
    await world.settled()
    shown = connection.kubectl(
        *("get", "cappr", name, "--namespace", world.namespace),
        *("-o", "jsonpath={.spec.decidedBy} {.status.requesters[*]}"),
    )
    assert shown.stdout.split() == ["alice", *(["admin"] if installation.setup.stamps else [])]


async def test_a_job_of_its_end_and_its_deletion(opened: World, installation: Installation) -> None:
    """It has its finalizer, whoever puts it on; `kubectl wait` meets its conditions; and its session is cancelled."""
    world = opened
    await world.prepare()
    await world.start_operator()
    await world.create_jobs(2)
    await world.until_phase("Running", "job-0", "job-1")
    assert world.job()["metadata"]["finalizers"] == [SESSION_FINALIZER]
    world.service.complete(world.status()["session"]["id"], {"answer": 42})
    await world.edit("job-0", observeIntervalSeconds=1)

    def kubectl(*command: str) -> str:
        return installation.connection.kubectl("--namespace", world.namespace, *command).stdout

    await asyncio.to_thread(kubectl, "wait", "--for=condition=Finished", "cjob/job-0", "--timeout=100s")
    await asyncio.to_thread(kubectl, "wait", "--for=condition=Succeeded", "cjob/job-0", "--timeout=100s")
    await asyncio.to_thread(kubectl, "delete", "cjob", "job-1", "--timeout=100s")
    await world.until_gone("job-1")
    assert world.service.live_sessions() == []
