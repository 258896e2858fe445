"""One namespace floods and another one works: how long that takes, with and without the operator serving the flood."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from testing.admin_client import AdminClient
from tests.faults.neighbours import Flood
from tests.harness.world import JOBS, SECONDS, World

ROOT = Path(__file__).parents[2]
_LOOK_SECONDS = 1.0


@asynccontextmanager
async def another_namespace(world: World, suffix: str) -> AsyncIterator[AdminClient]:
    """A namespace beside the world's own."""
    name = f"{world.namespace}-{suffix}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    code, answer = await world.cluster.request("POST", "/api/v1/namespaces", body)
    assert code == 201, answer
    async with AdminClient(world.cluster.connection, name) as cluster:
        try:
            yield cluster
        finally:
            await world.cluster.request("DELETE", f"/api/v1/namespaces/{name}")


@asynccontextmanager
async def _program(*command: str, first: Sequence[str] = ()) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A program of the tests, and the first line that it says; it is ended with the block.

    `first` is a command that runs it, such as `nice`.
    """
    process = await asyncio.create_subprocess_exec(
        *(*first, sys.executable, "-m", *command),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SECONDS):
            said = (await process.stdout.readline()).decode().strip()
        yield process, said
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


@asynccontextmanager
async def hostile_server() -> AsyncIterator[str]:
    """The URL of one; see `tests.peers.hostile`.

    It stands for a machine elsewhere, so it takes only the processor time that is left here: with the priority of the
    operator its threads, one for each connection, had ten times the operator's share, and that was what was measured.
    """
    async with _program("tests.peers.hostile", first=("nice", "-n", "19")) as (_, port):
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def flooding(cluster: AdminClient, flood: Flood, folder: Path, *, served: bool) -> AsyncIterator[None]:
    """The flood is under way in this namespace, and goes on until the end of the block.

    Where the operator serves the namespace it is also seen in its jobs that the operator is busy with it.
    """
    script = folder / f"{cluster.namespace}.json"
    script.write_text(json.dumps(flood.script(cluster.namespace)), encoding="utf-8")
    kubeconfig = str(cluster.connection.kubeconfig())
    async with _program("tests.faults.author", kubeconfig, str(script)) as (author, said):
        assert said == "made"
        if served:
            async with asyncio.timeout(SECONDS):
                while not flood.bites(await cluster.list(JOBS)):  # noqa: ASYNC110 - it is read, not told
                    await asyncio.sleep(_LOOK_SECONDS)
        yield
        assert author.returncode is None, "the flood has ended by itself"


@dataclass(frozen=True)
class Work:
    """What one job of the quiet namespace took, in seconds."""

    running: float
    """From its creation until it was Running."""
    gone: float
    """From its deletion until its session was cancelled and it was gone."""

    @property
    def whole(self) -> float:
        """Both."""
        return self.running + self.gone


async def work(world: World, name: str, count: int) -> list[Work]:
    """So many jobs, one after the other: each runs, is deleted, and is cleaned."""
    done = []
    for number in range(count):
        job = f"{name}-{number}"
        begun = time.monotonic()
        await world.create_job(job)
        await world.until_phase("Running", job)
        running = time.monotonic()
        await world.cluster.delete(JOBS, job)
        await world.until_gone(job)
        done.append(Work(running - begun, time.monotonic() - running))
    assert not world.service.live_sessions()
    return done
