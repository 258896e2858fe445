"""What thousands of finished jobs cost: memory, and a restart that has nothing to do.

Run: ``python -m bench.scale [--jobs 2000] [--json FILE] [--check]``. The operator is started with none, half and all of
the jobs. Its memory at the margin is the difference between half and all; at each start it must write nothing.
"""

import asyncio
import time
from dataclasses import dataclass

from bench import fixtures, options
from bench.client import JOBS_PATH, Client
from bench.processes import cpu_seconds, rss_bytes
from bench.results import Result
from bench.stage import Stage
from bench.statuses import statuses
from curation.api.job import status_to_wire

NAMESPACE = "scale"
_WRITES = ("create", "update", "patch", "delete")
_MEGABYTE = 1e6
_POLL_SECONDS = 0.1
_QUIET_SECONDS = 3.0
"""kopf keeps what it saw of an object for a second; memory is read after that."""


@dataclass
class Start:
    """One start of the operator, measured when it had nothing more to do."""

    ready: float
    """Seconds until /readyz."""
    settled: float
    """Seconds until each job had been reconciled."""
    cpu: float
    """Processor seconds until then."""
    rss: int
    """Resident bytes a little later."""
    writes: float
    """Writes of any kind until then."""


async def finished_jobs(client: Client, first: int, end: int) -> None:
    """Jobs that were Completed by the book, without an operator."""
    path = JOBS_PATH.format(namespace=NAMESPACE)

    async def one(number: int) -> None:
        job = fixtures.job(f"finished-{number}", fixtures.WITH_SESSION, "http://127.0.0.1:8080")
        made = await client.call("POST", path, job)
        patch = {"status": status_to_wire(statuses(made)[-1])}
        await client.call("PATCH", f"{path}/{made['metadata']['name']}/status", patch)

    await client.spread(one, range(first, end))


async def start(stage: Stage, count: int) -> Start:
    """Start the operator, wait until it has reconciled all jobs, and stop it."""
    began = time.monotonic()
    ready = await stage.start_operator()
    async with asyncio.timeout(600):
        while True:
            metrics = await stage.metrics()
            observed = metrics.get(("curation_reconcile_seconds_count", 'kind="CurationJob"'), 0)
            if observed >= count and metrics[("curation_queue_depth", "")] == 0:
                break
            await asyncio.sleep(_POLL_SECONDS)
    known = metrics[("curation_jobs", 'phase="Completed"')]
    if known != count:
        raise RuntimeError(f"{known:.0f} of {count} jobs are known as Completed")
    writes = sum(
        value
        for (name, labels), value in metrics.items()
        if name == "curation_api_requests_total" and any(f'verb="{verb}"' in labels for verb in _WRITES)
    )
    settled, cpu = time.monotonic() - began, cpu_seconds(stage.operator_pid)
    await asyncio.sleep(_QUIET_SECONDS)
    found = Start(ready, settled, cpu, rss_bytes(stage.operator_pid), writes)
    await stage.stop_operator()
    options.progress(f"{count} jobs: {found}")
    return found


async def measure(jobs: int) -> list[Result]:
    """Run it."""
    half = jobs // 2
    async with Stage() as stage, Client(stage.control_plane.kubeconfig()) as client:
        await fixtures.prepare(client, NAMESPACE)
        await start(stage, 0)  # puts the finalizers on the modules, writes their statuses, compiles
        none = await start(stage, 0)
        await finished_jobs(client, 0, half)
        some = await start(stage, half)
        await finished_jobs(client, half, jobs)
        full = await start(stage, jobs)
    return [
        Result("memory without jobs", none.rss / _MEGABYTE, "MB"),
        Result(f"memory with {jobs} finished jobs", full.rss / _MEGABYTE, "MB", "<= 250 at 10,000"),
        Result("memory of a job at the margin", (full.rss - some.rss) / (jobs - half) / 1e3, "KB", "<= 10"),
        Result(f"restart with {jobs} jobs: ready", full.ready, "s", "<= 10 at 10,000"),
        Result(f"restart with {jobs} jobs: every job reconciled", full.settled, "s"),
        Result("restart: CPU ms per job", 1000 * (full.cpu - none.cpu) / jobs, "ms"),
        Result("restart: writes", some.writes + full.writes, "writes", "0"),
    ]


def main() -> None:
    """The command line."""
    parser = options.parser(__doc__)
    parser.add_argument("--jobs", type=int, default=2000, help="finished jobs (the goals are for 10,000)")
    given = parser.parse_args()
    options.report(given, "scale", asyncio.run(measure(given.jobs)))


if __name__ == "__main__":
    main()
