"""A burst of jobs: the processor time of each process for a job and for a write, and how many writes a job takes.

Run: ``python -m bench.throughput [--jobs 200] [--rounds 3] [--json FILE] [--check]``. Each round measures the baseline
(what a write costs the server when a minimal client makes it), the burst with sessions, its completion, and a burst
without sessions, so that a busy machine disturbs all of them alike; the numbers are medians over the rounds. What is
checked are counts, the server's time for a write as a share of the baseline's, and processor time in yardsticks.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median

import aiohttp

from bench import fixtures, options
from bench.baseline import writes_per_second
from bench.client import JOBS_PATH, Client
from bench.phases import Phases
from bench.results import Result, percentile
from bench.stage import Stage
from bench.yardstick import yardstick

NAMESPACE = "bench"
BASELINE = "baseline"
WARM = 8
"""Jobs of each kind that an operator does before those that are measured."""
SERVER = ("kube-apiserver", "etcd")
_WRITES = ("create", "patch", "update", "delete")


@dataclass
class Sample:
    """What the operator and the server did from one moment to another."""

    seconds: float
    status_writes: float
    job_writes: float
    """Finalizers: writes of jobs that are not of their status."""
    events: float
    reads: float
    conflicts: float
    cpu: dict[str, float]

    @property
    def writes(self) -> float:
        """All writes of the operator."""
        return self.status_writes + self.job_writes + self.events


class Meter:
    """Measures from its making on."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def begin(self) -> None:
        """Measure from now on."""
        self._requests, self._cpu = await self._stage.metrics(), self._stage.cpu()
        self.started = time.monotonic()

    async def until(self, end: float) -> Sample:
        """What was done until that moment, which is just over."""
        cpu = self._stage.cpu()
        now = await self._stage.metrics()
        name = "curation_api_requests_total"
        counts: dict[tuple[str, str], float] = {}
        for (metric, labels), value in now.items():
            if metric == name:
                parts = dict(part.split("=", 1) for part in labels.replace('"', "").split(","))
                if not parts["code"].startswith("2"):
                    continue  # what was refused wrote nothing; conflicts are counted below
                key = (parts["verb"], parts["resource"])
                counts[key] = counts.get(key, 0) + value - self._requests.get((metric, labels), 0)
        conflicts = ("curation_write_conflicts_total", "")
        return Sample(
            seconds=end - self.started,
            status_writes=sum(counts.get((verb, "curationjobs/status"), 0) for verb in ("update", "patch")),
            job_writes=counts.get(("patch", "curationjobs"), 0),
            events=sum(value for (verb, resource), value in counts.items() if resource == "events" and verb in _WRITES),
            reads=sum(value for (verb, _), value in counts.items() if verb == "get"),
            conflicts=now[conflicts] - self._requests[conflicts],
            cpu={program: cpu[program] - self._cpu[program] for program in cpu},
        )


async def burst(stage: Stage, client: Client, names: list[str], module: str, phase: str) -> dict[str, float]:
    """Create these jobs at once and wait until all were seen in the phase."""
    phases = Phases(client, NAMESPACE)
    await phases.start()
    created: dict[str, float] = {}
    path = JOBS_PATH.format(namespace=NAMESPACE)

    async def create(name: str) -> None:
        created[name] = time.monotonic()
        await client.call("POST", path, fixtures.job(name, module, stage.sessions_url))

    meter = Meter(stage)
    await meter.begin()
    try:
        await client.spread(create, names)
        all_created = time.monotonic()
        end = await phases.reached(phase, set(names))
        sample = await meter.until(end)
        waited = [phases.first[phase][name] - created[name] for name in names]
    finally:
        await phases.close()
    return {
        **_rates(sample, len(names), created=len(names)),
        "creations a second": len(names) / (all_created - meter.started),
        "p50": percentile(waited, 0.5),
        "p99": percentile(waited, 0.99),
    }


async def finish(stage: Stage, client: Client, names: list[str]) -> dict[str, float]:
    """Complete the sessions of these Running jobs, ask for their observation, and wait until all are Completed."""
    phases = Phases(client, NAMESPACE)
    await phases.start()
    path = JOBS_PATH.format(namespace=NAMESPACE)
    sessions: dict[str, str] = {}

    async def look(name: str) -> None:
        sessions[name] = (await client.call("GET", f"{path}/{name}"))["status"]["session"]["id"]

    await client.spread(look, names)  # and not all that are there, which may be very many
    annotate = {"metadata": {"annotations": {"curation.dev/observe-requested-at": "now"}}}
    async with aiohttp.ClientSession(stage.sessions_url) as http:

        async def complete(name: str) -> None:
            async with http.post(f"/sessions/{sessions[name]}/complete", json={"output": {"done": name}}) as answer:
                answer.raise_for_status()

        await client.spread(complete, names)
    meter = Meter(stage)
    await meter.begin()
    try:
        await client.spread(lambda name: _patch(client, f"{path}/{name}", annotate), names)
        sample = await meter.until(await phases.reached("Completed", set(names)))
    finally:
        await phases.close()
    return _rates(sample, len(names), created=len(names))


async def _patch(client: Client, path: str, body: object) -> None:
    await client.call("PATCH", path, body)


def _rates(sample: Sample, count: int, *, created: int) -> dict[str, float]:
    server = sum(sample.cpu[program] for program in SERVER)
    return {
        "jobs a second": count / sample.seconds,
        "writes a second": (sample.writes + created) / sample.seconds,
        "status writes per job": sample.status_writes / count,
        "other job writes per job": sample.job_writes / count,
        "events per job": sample.events / count,
        "GETs per job": sample.reads / count,
        "conflicts per job": sample.conflicts / count,
        "server CPU ms per write": 1000 * server / (sample.writes + created),
        **{f"{program} CPU ms per job": 1000 * used / count for program, used in sample.cpu.items()},
    }


async def one_round(stage: Stage, client: Client, number: int, count: int) -> dict[str, float]:
    """All numbers of one round, by name."""
    before = stage.cpu()
    baseline = await writes_per_second(client, BASELINE, f"r{number}", count, stage.sessions_url)
    after = stage.cpu()
    # One creation and three status writes for each job.
    server = sum(after[program] - before[program] for program in SERVER) / (4 * count)
    options.progress(f"round {number}: the baseline wrote {baseline:.0f} times a second")
    await stage.start_operator()
    found = {"baseline writes a second": baseline, "baseline: server CPU ms per write": 1000 * server}
    scenarios: dict[str, Callable[[list[str]], Awaitable[dict[str, float]]]] = {
        "session": lambda names: burst(stage, client, names, fixtures.WITH_SESSION, "Running"),
        "end": lambda names: finish(stage, client, names),
        "no session": lambda names: burst(stage, client, names, fixtures.WITHOUT_SESSION, "Completed"),
    }
    # What a process does once is not a job's: the imports of its children, the first connection, the first parse.
    for kind, module, phase in (("s", fixtures.WITH_SESSION, "Running"), ("p", fixtures.WITHOUT_SESSION, "Completed")):
        await burst(stage, client, [f"warm-{kind}-{number}-{index}" for index in range(WARM)], module, phase)
    unit = yardstick()
    for scenario, run in scenarios.items():
        kind = "plain" if scenario == "no session" else "session"
        rates = await run([f"{kind}-{number}-{index}" for index in range(count)])
        # Both sides of each ratio are slower on a busy machine. The work before and after the burst is the measure.
        unit, last = yardstick(), unit
        ours = rates["operator CPU ms per job"] / (1000 * (unit + last) / 2)
        per_write = rates["server CPU ms per write"] / (1000 * server)
        options.progress(
            f"round {number}: {scenario}: {rates['jobs a second']:.0f} jobs a second, {ours:.2f} yardsticks of our "
            f"processes a job; a write costs the server {per_write:.2f} of the baseline's"
        )
        found |= {f"{scenario}: {name}": value for name, value in rates.items()}
        found[f"{scenario}: all our processes, yardsticks per job"] = ours
        found[f"{scenario}: server CPU per write, of the baseline's"] = per_write
        found["yardstick: CPU ms"] = 1000 * unit
    await stage.stop_operator()
    return found


_GOALS = {
    "session: status writes per job": "2",
    "end: status writes per job": "1",
    "no session: status writes per job": "2",
    "session: other job writes per job": "0",
    "no session: other job writes per job": "0",
    "session: GETs per job": "0",
    "no session: GETs per job": "0",
}


async def measure(jobs: int, rounds: int) -> list[Result]:
    """Run it."""
    async with Stage() as stage, Client(stage.control_plane.kubeconfig()) as client:
        for namespace in (NAMESPACE, BASELINE):
            await fixtures.prepare(client, namespace)
            await fixtures.allow(client, namespace)
        # Once through everything first: the server's and the operator's first requests are slower than all others.
        await stage.start_operator()
        await burst(stage, client, [f"warm-{index}" for index in range(32)], fixtures.WITH_SESSION, "Running")
        await stage.stop_operator()
        samples = [await one_round(stage, client, number, jobs) for number in range(rounds)]
    return [
        Result(name, median(sample[name] for sample in samples), _unit(name), _GOALS.get(name, ""))
        for name in samples[0]
    ]


def _unit(name: str) -> str:
    if name.endswith(("p50", "p99")):
        return "s"
    if name.endswith("a second"):
        return "1/s"
    if " CPU ms " in name:
        return "ms"
    if name.endswith("yardsticks per job") or " CPU per write, of" in name:
        return "ratio"
    return "a job" if name.endswith("per job") else "ratio"


def main() -> None:
    """The command line."""
    parser = options.parser(__doc__)
    parser.add_argument("--jobs", type=int, default=200, help="jobs of one burst")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    title = f"throughput: bursts of {given.jobs} jobs, medians of {given.rounds} rounds"
    options.report(given, title, asyncio.run(measure(given.jobs, given.rounds)))


if __name__ == "__main__":
    main()
