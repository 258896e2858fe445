"""Of a job that is gone the operator's process remembers nothing, whatever became of it before."""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from testing.operator_process import OperatorProcess
from tests.harness import manifests
from tests.harness.slow_runs import Point, hold, until_held
from tests.harness.world import JOBS, SECONDS, World
from tests.peers.walked import FOUND, WANTED

ROOT = Path(__file__).parents[3]
ASKS = (
    manifests.PERMIT_LOCAL.removesuffix(";") + ' unless { context.path like "/asks/*" || context.path like "/no/*" };'
)
_POLL_SECONDS = 0.5


async def held_by(operator: OperatorProcess, folder: Path, texts: list[str]) -> list[tuple[str, str]]:
    """Who in the operator's memory holds one of these texts."""
    (folder / WANTED).write_text(json.dumps(texts), encoding="utf-8")
    (folder / FOUND).unlink(missing_ok=True)
    assert operator.pid is not None
    os.kill(operator.pid, signal.SIGUSR1)
    async with asyncio.timeout(SECONDS):
        while not (folder / FOUND).exists():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(_POLL_SECONDS)
    return [(text, where) for text, where in json.loads((folder / FOUND).read_text(encoding="utf-8"))]


async def decide(world: World, path: str, decision: str) -> None:
    """The approval of this path, once it is asked for."""
    async with asyncio.timeout(SECONDS):
        while True:
            asked = await world.cluster.list("curationapprovals")
            found = [each for each in asked if each["spec"]["request"]["path"].startswith(path)]
            if found:
                break
            await asyncio.sleep(_POLL_SECONDS)
    await world.cluster.patch("curationapprovals", found[0]["metadata"]["name"], {"spec": {"decision": decision}})


@pytest.mark.own_operator
async def test_after_jobs_are_gone_nothing_in_the_operators_process_holds_their_uids(
    world: World, tmp_path: Path
) -> None:
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy(ASKS))
    program = ("/usr/bin/env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tests.peers.walked", str(tmp_path))
    operator = world.operator(command=program)
    await operator.start()

    await world.create_job("completes", observeIntervalSeconds=10)
    await world.create_job("runs")
    await world.create_job("approved", config={"api_url": f"{world.service.url}/asks"})
    await world.create_job("denied", config={"api_url": f"{world.service.url}/no"})
    await world.create_job("waits", moduleRef={"name": "none"})
    reads = manifests.job("reads", world.service.url, inputFrom={"configMapKeyRef": {"name": "none", "key": "a"}})
    del reads["spec"]["input"]
    await world.cluster.create(reads)
    await world.create_job("retries", config={"api_url": "http://127.0.0.1:9"})
    await world.until_phase("Running", "completes", "runs")
    (session,) = world.service.live_sessions(job=world.job("completes")["metadata"]["uid"])
    world.service.complete(session.id)
    await world.cluster.patch(
        JOBS, "completes", {"metadata": {"annotations": {"curation.dev/observe-requested-at": "now"}}}
    )
    await decide(world, "/asks/", "Approved")
    await decide(world, "/no/", "Denied")
    await world.edit("runs", rerun="1")
    held = hold(world, Point.CREATE, job=(await world.create_job("flies"))["metadata"]["uid"])
    await world.until_phase("Completed", "completes")
    await world.until_phase("Failed", "approved", "denied")
    await world.until_phase("Running", "runs")
    await until_held(world, held, 1)
    await world.until(lambda: world.event_count("RetryScheduled", name="retries") > 0, "a retry is scheduled")

    uids = {name: job["metadata"]["uid"] for name, job in world.jobs.present.items()}
    assert len(uids) == 8
    seen = {uid for uid, _ in await held_by(operator, tmp_path, [uids["completes"]])}
    assert seen == {uids["completes"]}, "the walk finds what is there"

    for name in uids:
        await world.cluster.delete(JOBS, name)
    held.release()
    await world.until_gone(*uids)
    # What reads a watch has its last event in hand until the next one comes.
    await world.create_job("next")
    await world.until_phase("Running", "next")
    deadline = time.monotonic() + SECONDS
    while left := await held_by(operator, tmp_path, list(uids.values())):
        names = {uid: name for name, uid in uids.items()}
        shown = "\n".join(f"{names[uid]}: {where}" for uid, where in left)
        assert time.monotonic() < deadline, f"still held:\n{shown}"
        await asyncio.sleep(_POLL_SECONDS)
