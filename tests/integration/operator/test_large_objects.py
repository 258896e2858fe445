"""Objects of the largest size that the API server takes (a flood of them: tests/gauntlet/test_large_objects_flood.py).

What is over its bound is still shown, failed and deleted.
"""

import asyncio
import json
from pathlib import Path

from hack.controlplane.connection import Kubectl
from tests.faults.large_jobs import large_job
from tests.harness.slow_runs import Point, hold
from tests.harness.world import JOBS, World

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
