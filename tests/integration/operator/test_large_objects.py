"""Objects of the largest size that the API server takes (a flood of them: tests/gauntlet/test_large_objects_flood.py).

What is over its bound is still shown, failed and deleted.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.cluster.bounds import RECURSION_LIMIT
from testing.controlplane.connection import Connection, Kubectl
from tests.faults.large_jobs import large_job
from tests.harness.slow_runs import Point, hold
from tests.harness.world import JOBS, World
from tests.integration.cli.running import Plugin

LARGE_BYTES = 1_400_000


async def test_a_job_that_becomes_too_large_is_failed_shown_and_deleted_and_its_session_is_cancelled(
    world: World, kubectl: Kubectl, tmp_path: Path
) -> None:
    await world.prepare()
    await world.start_operator()
    await world.create_jobs(1)
    await world.until_phase("Running")
    (session,) = world.service.live_sessions()

    patch = tmp_path / "patch.json"
    patch.write_text(json.dumps({"spec": {"input": {"words": ["x" * 20] * (LARGE_BYTES // 23)}}}), encoding="utf-8")
    await asyncio.to_thread(kubectl, "patch", "cjob", "job-0", "--type=merge", f"--patch-file={patch}")
    await world.until_phase("Failed", reason="InvalidSpec")
    assert "spec.input is " in world.status()["message"]
    assert "give the module a reference to it" in world.status()["message"]
    assert world.status()["observedGeneration"] == world.job()["metadata"]["generation"]
    await world.until(lambda: not world.status().get("abandonedRuns"), "the session is cancelled")
    assert [found.state for found in world.service.sessions() if found.id == session.id] == ["cancelled"]
    # What others have written is as it was.
    assert len(world.job()["spec"]["input"]["words"]) == LARGE_BYTES // 23
    shown = await asyncio.to_thread(kubectl, "get", "cjob", "job-0")
    assert "InvalidSpec" in shown.stdout

    file = tmp_path / "new.json"
    file.write_bytes(large_job("large", LARGE_BYTES))
    await asyncio.to_thread(kubectl, "create", "-f", str(file))
    await asyncio.to_thread(kubectl, "wait", "--for=condition=Stalled", "cjob/large", "--timeout=120s")
    # Mended, it runs.
    await world.edit("job-0", input={"message": "mended", "words": None})
    await world.until_phase("Running")
    await asyncio.to_thread(kubectl, "delete", "cjob", "large", "job-0", "--timeout=120s")
    await world.until_gone("large", "job-0")
    assert world.service.live_sessions() == []


async def test_a_job_in_flight_that_is_given_too_many_labels_ends_without_a_session(world: World) -> None:
    await world.prepare()
    await world.start_operator()
    held = hold(world, Point.CREATED)
    await world.create_jobs(1)
    await world.service.wait_held(held)
    labels = {f"label-{number}": "x" * 60 for number in range(1000)}
    await world.cluster.patch(JOBS, "job-0", {"metadata": {"labels": labels}})
    await world.until_phase("Failed", reason="InvalidSpec")
    assert "metadata.labels" in world.status()["message"]
    held.release()
    await world.until(lambda: not world.status().get("abandonedRuns"), "its run is cleaned")
    assert world.service.live_sessions() == []


@pytest.fixture
def deep_json() -> Iterator[None]:
    """This process reads the objects too."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(RECURSION_LIMIT)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.usefixtures("deep_json")
async def test_a_job_nested_as_deep_as_the_server_takes_is_failed_shown_and_deleted_and_stops_nobody(
    world: World, kubectl: Kubectl, installed: Connection, namespace: str, tmp_path: Path
) -> None:
    levels = 9_900
    deep = '{"a":' * levels + "1" + "}" * levels
    file = tmp_path / "deep.json"
    file.write_text(
        '{"apiVersion":"curation.dev/v1alpha1","kind":"CurationJob","metadata":{"name":"deep"},'
        f'"spec":{{"moduleRef":{{"name":"module"}},"input":{deep}}}}}',
        encoding="utf-8",
    )
    await world.prepare()
    await asyncio.to_thread(kubectl, "create", "-f", str(file))  # found by the first list
    await world.start_operator()
    await world.create_jobs(1)
    await world.until_phase("Running")
    await asyncio.to_thread(kubectl, "wait", "--for=condition=Stalled", "cjob/deep", "--timeout=120s")
    shown = await asyncio.to_thread(kubectl, "get", "cjob", "deep")
    assert "InvalidSpec" in shown.stdout
    plugin = Plugin(installed, namespace)
    assert "InvalidSpec" in (await asyncio.to_thread(plugin, "why", "deep")).stdout
    watched = await asyncio.to_thread(plugin, "watch", "--timeout=20s", code=1)
    assert "job-0" in watched.stdout
    assert "deep" in watched.stdout
    await asyncio.to_thread(kubectl, "delete", "cjob", "deep", "--timeout=120s")
    await world.until_gone("deep")
    await asyncio.to_thread(kubectl, "create", "-f", str(file))  # the watch shows it
    await asyncio.to_thread(kubectl, "wait", "--for=condition=Stalled", "cjob/deep", "--timeout=120s")
    await asyncio.to_thread(kubectl, "delete", "cjob", "deep", "--timeout=120s")
    await world.until_gone("deep")
