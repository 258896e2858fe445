"""What the server can do: a minimal client that makes the operator's own status writes, as fast as they are answered.

The writes are the very ones that the operator would send for a job with a session (claim, Running, Completed), made
ahead of time; each is conditioned on the resourceVersion that the last answer gave. Nothing decides, runs or watches
here. Nobody may serve these jobs meanwhile, so it runs while the operator is stopped.
"""

import itertools
import time
from typing import Any

from bench.client import JOBS_PATH, Client
from bench.fixtures import WITH_SESSION, job
from bench.statuses import put, statuses
from curation.api.job import status_to_wire
from curation.cluster.mergepatch import merge_patch
from curation.cluster.writer import condition


async def writes_per_second(client: Client, namespace: str, prefix: str, count: int, sessions_url: str) -> float:
    """Conditioned status writes a second, all connections busy, on so many new jobs.

    The jobs stay behind as Completed, which the operator finds to be in order when it starts.
    """
    path = JOBS_PATH.format(namespace=namespace)
    plans: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []

    async def make(name: str) -> None:
        made = await client.call("POST", path, job(name, WITH_SESSION, sessions_url))
        plans.append((made["metadata"], _puts(made)))

    async def write(plan: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
        metadata, bodies = plan
        version = metadata["resourceVersion"]
        for body in bodies:
            answer = await client.call("PUT", f"{path}/{metadata['name']}/status", condition(body, version))
            version = answer["metadata"]["resourceVersion"]

    await client.spread(make, [f"{prefix}-{number}" for number in range(count)])
    started = time.perf_counter()
    await client.spread(write, plans)
    return sum(len(bodies) for _, bodies in plans) / (time.perf_counter() - started)


def _puts(made: dict[str, Any]) -> list[dict[str, Any]]:
    """The three status writes of a job with a session."""
    wires = [status_to_wire(status) for status in statuses(made)]
    patches = [(before, merge_patch(before, after)) for before, after in itertools.pairwise(wires)]
    assert all(patch for _, patch in patches)
    return [put({**made, "status": before}, patch) for before, patch in patches if patch]
