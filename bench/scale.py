"""What thousands of finished jobs cost: memory, and a restart that has nothing to do.

Run: ``python -m bench.scale [--jobs 2000] [--other COMMIT] [--json FILE] [--check]``. The operator starts with none,
half and all of the jobs. Its memory at the margin is the difference between half and all; at each start it must write
nothing, and answer each liveness probe. With ``--other`` the operator of that commit is started beside each start, over
the same objects. The jobs are put there by `loader`.
"""

import argparse
import asyncio
import re
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

import aiohttp

from bench import fixtures, options
from bench.builds import OWN, Build, of_commit
from bench.client import Client
from bench.loader import finished_jobs
from bench.processes import cpu_seconds, peak_bytes, rss_bytes
from bench.results import Result
from bench.stage import Stage

NAMESPACE: Final = "scale"
START_SECONDS: Final = 1200.0
_WRITES: Final = ("create", "update", "patch", "delete")
_MEGABYTE: Final = 1e6
_POLL_SECONDS: Final = 0.5
_QUIET_SECONDS: Final = 3.0
"""kopf keeps what it saw of an object for a second; memory is read after that."""
_PROBE_SECONDS: Final = 2.0
_SERVES: Final = re.compile(r"serving .* on (http://\S+)")


@dataclass
class Start:
    """One start of the operator, measured when it had nothing more to do."""

    ready: float
    """Seconds until /readyz."""
    settled: float
    """Seconds until it knew all jobs, and had reconciled what there was to reconcile."""
    cpu: float
    """Processor seconds until then, of all its processes."""
    rss: int
    """Resident bytes of its own process a little later."""
    peak: int
    """The most that it had till then."""
    writes: float
    """Writes of any kind until then."""
    unhealthy: int
    """Liveness probes that were not answered with 200, of one each 2 s."""


async def _probe(stage: Stage, number: int, failures: list[str]) -> None:
    """Ask as a kubelet does, from the start on."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        while True:
            await asyncio.sleep(_PROBE_SECONDS)
            log = stage.log_of(number)
            found = _SERVES.search(log.read_text()) if log.exists() else None
            if found is None:
                continue
            try:
                async with http.get(f"{found[1]}/healthz") as answer:
                    if answer.status != 200:
                        failures.append(await answer.text())
            except (aiohttp.ClientError, TimeoutError) as error:
                failures.append(repr(error))


async def start(stage: Stage, count: int, build: Build = OWN) -> Start:
    """Start the operator, wait until it knows all jobs and has nothing to do, and stop it."""
    began, failures = time.monotonic(), list[str]()
    probing = asyncio.create_task(_probe(stage, stage.operators + 1, failures))
    try:
        ready = await stage.start_operator(build)
        async with asyncio.timeout(START_SECONDS):
            while True:
                metrics = await stage.metrics()
                known = metrics.get(("curation_jobs", 'phase="Completed"'), 0)
                if known >= count and metrics[("curation_queue_depth", "")] == 0:
                    break
                await asyncio.sleep(_POLL_SECONDS)
    finally:
        probing.cancel()
    if known != count:
        raise RuntimeError(f"{known:.0f} of {count} jobs are known as Completed")
    writes = sum(
        value
        for (name, labels), value in metrics.items()
        if name == "curation_api_requests_total" and any(f'verb="{verb}"' in labels for verb in _WRITES)
    )
    settled, cpu = time.monotonic() - began, cpu_seconds(stage.operator_pid)
    await asyncio.sleep(_QUIET_SECONDS)
    pid = stage.operator_pid
    found = Start(ready, settled, cpu, rss_bytes(pid), peak_bytes(pid), writes, len(failures))
    await stage.stop_operator()
    options.progress(f"{build.name}: {count} jobs: {found} {failures[:1]}")
    return found


async def measure(jobs: int, builds: Sequence[Build] = (OWN,)) -> list[Result]:
    """All builds, each of which finds the same jobs; the first is this one."""
    half = jobs // 2
    async with (
        Stage(seconds=START_SECONDS) as stage,
        Client(stage.control_plane.kubeconfig()) as client,
    ):
        await fixtures.prepare(client, NAMESPACE)
        await start(stage, 0)  # puts the finalizers on the modules, writes their statuses, compiles
        none = [await start(stage, 0, build) for build in builds]
        await finished_jobs(client, stage.control_plane.folder, NAMESPACE, 0, half)
        some = [await start(stage, half, build) for build in builds]
        await finished_jobs(client, stage.control_plane.folder, NAMESPACE, half, jobs)
        full = [await start(stage, jobs, build) for build in builds]
    found = []
    for number, build in enumerate(builds):
        whose = "" if number == 0 else f" ({build.name})"
        found += [
            Result(f"{name}{whose}", value, unit, goal)
            for name, value, unit, goal in _results(jobs, none[number], some[number], full[number])
        ]
    return found


def _results(jobs: int, none: Start, some: Start, full: Start) -> list[tuple[str, float, str, str]]:
    margin = (full.rss - some.rss) / (jobs - jobs // 2)
    return [
        ("memory without jobs", none.rss / _MEGABYTE, "MB", ""),
        (f"memory with {jobs} finished jobs", full.rss / _MEGABYTE, "MB", ""),
        (f"memory with {jobs} finished jobs: peak of the start", full.peak / _MEGABYTE, "MB", "<= 1000 at 100,000"),
        ("memory of a job at the margin", margin / 1e3, "KB", "<= 5"),
        (f"restart with {jobs} jobs: ready", full.ready, "s", "<= 10 at 10,000"),
        (f"restart with {jobs} jobs: nothing left to do", full.settled, "s", ""),
        ("restart: CPU ms per job", 1000 * (full.cpu - none.cpu) / jobs, "ms", "<= 0.5"),
        ("restart: writes", some.writes + full.writes, "writes", "0"),
        ("restart: liveness probes that failed", some.unhealthy + full.unhealthy, "probes", "0"),
    ]


def main() -> None:
    """The command line."""
    parser = options.parser(__doc__)
    parser.add_argument("--jobs", type=int, default=2000, help="finished jobs (the goals are for 10,000)")
    parser.add_argument(
        "--other", help="the commit of another build, with the same CRDs, to be started beside this one"
    )
    given: argparse.Namespace = parser.parse_args()
    try:
        with of_commit(given.other) if given.other else nullcontext() as other:
            builds = [OWN] if other is None else [OWN, other]
            options.report(given, f"{given.jobs} finished jobs", asyncio.run(measure(given.jobs, builds)))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
