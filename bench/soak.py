"""Steady arrivals for half an hour: what creeps up.

Run: ``python -m bench.soak [--minutes 30] [--rate 2] [--json FILE] [--check]``. So many jobs with a session arrive each
second. Each session is completed by its client once its job is Running, and the job is observed then; a finished job is
deleted a minute later by its ttlSecondsAfterFinished, so that as many are there at the end as soon after the start.
Every ten seconds memory, descriptors and processor time of the operator's processes are read. After the first third,
which fills what is bounded, a line is fitted through each (least squares): its slope is the result.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import linear_regression
from typing import Final

import aiohttp

from bench import fixtures, options
from bench.client import JOBS_PATH, Client
from bench.phases import Phases
from bench.processes import descriptors, rss_bytes, tree
from bench.results import Result
from bench.stage import Stage
from bench.throughput import NAMESPACE

KEPT_SECONDS: Final = 60
_SAMPLE_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.2
_MEGABYTE: Final = 1e6


@dataclass
class Series:
    """What was read, each at the same times."""

    at: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    """Of the operator's own process, in MB."""
    children: list[float] = field(default_factory=list)
    """Of those that came from it, in MB; shared pages count in each."""
    descriptors: list[float] = field(default_factory=list)
    """Of the operator's own process."""
    cpu: list[float] = field(default_factory=list)
    """Seconds so far, of all its processes."""
    finished: list[float] = field(default_factory=list)
    """Jobs that have finished so far."""

    def take(self, stage: Stage, finished: int) -> None:
        """Read it all now."""
        pid = stage.operator_pid
        self.at.append(time.monotonic())
        self.memory.append(rss_bytes(pid) / _MEGABYTE)
        self.children.append(sum(_rss(each) for each in tree(pid) - {pid}) / _MEGABYTE)
        self.descriptors.append(descriptors(pid))
        self.cpu.append(stage.cpu()["operator"])
        self.finished.append(finished)


def _rss(pid: int) -> int:
    try:
        return rss_bytes(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it has ended


def slope(at: Sequence[float], values: Sequence[float]) -> float:
    """Of the line through them by least squares, for a second."""
    return linear_regression(at, values).slope


async def measure(minutes: float, rate: float) -> list[Result]:
    """Run it."""
    series, count = Series(), int(minutes * 60 * rate)
    async with Stage() as stage, Client(stage.control_plane.kubeconfig()) as client:
        await fixtures.prepare(client, NAMESPACE)
        await fixtures.allow(client, NAMESPACE)
        await stage.start_operator()
        phases = Phases(client, NAMESPACE)
        await phases.start()
        try:
            async with asyncio.TaskGroup() as group:
                arriving = group.create_task(_arrive(stage, client, count, rate))
                ending = group.create_task(_end_sessions(stage, client, phases))
                while not arriving.done():
                    await asyncio.sleep(_SAMPLE_SECONDS)
                    series.take(stage, len(phases.first["Completed"]))
                    options.progress(
                        f"{len(phases.first['Completed'])} of {count} jobs: {series.memory[-1]:.1f} MB, workers "
                        f"{series.children[-1]:.1f} MB, {series.descriptors[-1]:.0f} descriptors"
                    )
                await phases.reached("Completed", {f"soak-{number}" for number in range(count)})
                ending.cancel()
        finally:
            await phases.close()
        failed = len(phases.first["Failed"])
    return results(series, failed)


async def _arrive(stage: Stage, client: Client, count: int, rate: float) -> None:
    path, began = JOBS_PATH.format(namespace=NAMESPACE), time.monotonic()
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        spec = {"ttlSecondsAfterFinished": KEPT_SECONDS, "observeIntervalSeconds": 5}
        await client.call(
            "POST", path, fixtures.job(f"soak-{number}", fixtures.WITH_SESSION, stage.sessions_url, **spec)
        )


async def _end_sessions(stage: Stage, client: Client, phases: Phases) -> None:
    """Complete the session of each job that was seen Running, and forget nothing of what was seen."""
    path, ended = JOBS_PATH.format(namespace=NAMESPACE), set[str]()
    async with aiohttp.ClientSession(stage.sessions_url) as http:
        while True:
            for name in [name for name in phases.first["Running"] if name not in ended]:
                ended.add(name)
                job = await client.call("GET", f"{path}/{name}")
                session = job["status"]["session"]["id"]
                async with http.post(f"/sessions/{session}/complete", json={"output": {"done": name}}) as answer:
                    answer.raise_for_status()
            await asyncio.sleep(_POLL_SECONDS)


def results(series: Series, failed: int) -> list[Result]:
    """The slopes after the first third, and how the cost of a job at the end compares with that before."""
    first = len(series.at) // 3
    if len(series.at) - first < 6:
        raise ValueError("too few samples: give more --minutes")
    at = series.at[first:]
    hour = {name: 3600 * slope(at, getattr(series, name)[first:]) for name in ("memory", "children", "descriptors")}
    middle = first + (len(series.at) - first) // 2

    def cost(start: int, end: int) -> float:
        done = series.finished[end] - series.finished[start]
        return 1000 * (series.cpu[end] - series.cpu[start]) / done

    before, after = cost(first, middle), cost(middle, len(at) + first - 1)
    return [
        Result("jobs that have finished", series.finished[-1], "jobs"),
        Result("jobs that have failed", failed, "jobs", "0"),
        Result("memory of the operator's process at the end", series.memory[-1], "MB"),
        Result("memory of the operator's process: slope", hour["memory"], "MB an hour"),
        Result("memory of its children: slope", hour["children"], "MB an hour"),
        Result("descriptors of the operator's process: slope", hour["descriptors"], "an hour"),
        Result("all our processes: CPU ms per job", after, "ms"),
        Result("CPU per job: second half, of the first", after / before, "ratio"),
    ]


def main() -> None:
    """The command line."""
    parser = options.parser(__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=2, help="jobs that arrive each second")
    given = parser.parse_args()
    title = f"{given.minutes:g} minutes of {given.rate:g} jobs a second"
    options.report(given, title, asyncio.run(measure(given.minutes, given.rate)))


if __name__ == "__main__":
    main()
