"""A burst of jobs, against what a minimal client reaches with conditioned status patches on the same server.

Run: ``python -m bench.throughput [--jobs 200] [--rounds 3] [--json FILE] [--check]``. Each round measures the baseline,
the burst with sessions, its completion, and a burst without sessions, so that a busy machine disturbs all of them
alike; the numbers are medians over the rounds.
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

NAMESPACE = "bench"
BASELINE = "baseline"
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
    jobs = {item["metadata"]["name"]: item["status"] for item in (await client.call("GET", path))["items"]}
    annotate = {"metadata": {"annotations": {"curation.dev/observe-requested-at": "now"}}}
    async with aiohttp.ClientSession(stage.sessions_url) as http:

        async def complete(name: str) -> None:
            session = jobs[name]["session"]["id"]
            async with http.post(f"/sessions/{session}/complete", json={"output": {"done": name}}) as answer:
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
    return {
        "jobs a second": count / sample.seconds,
        "writes a second": (sample.writes + created) / sample.seconds,
        "status writes per job": sample.status_writes / count,
        "other job writes per job": sample.job_writes / count,
        "events per job": sample.events / count,
        "GETs per job": sample.reads / count,
        "conflicts per job": sample.conflicts / count,
        **{f"{program} CPU ms per job": 1000 * used / count for program, used in sample.cpu.items()},
    }


async def one_round(stage: Stage, client: Client, number: int, count: int) -> dict[str, float]:
    """All numbers of one round, by name."""
    before = stage.cpu()
    baseline = await writes_per_second(client, BASELINE, f"r{number}", count, stage.sessions_url)
    after = stage.cpu()
    # One creation and three patches for each job.
    server = sum(after[program] - before[program] for program in ("kube-apiserver", "etcd")) / (4 * count)
    options.progress(f"round {number}: the baseline wrote {baseline:.0f} times a second")
    await stage.start_operator()
    found = {"baseline writes a second": baseline, "baseline: server CPU ms per write": 1000 * server}
    scenarios: dict[str, Callable[[list[str]], Awaitable[dict[str, float]]]] = {
        "session": lambda names: burst(stage, client, names, fixtures.WITH_SESSION, "Running"),
        "end": lambda names: finish(stage, client, names),
        "no session": lambda names: burst(stage, client, names, fixtures.WITHOUT_SESSION, "Completed"),
    }
    for scenario, run in scenarios.items():
        kind = "plain" if scenario == "no session" else "session"
        rates = await run([f"{kind}-{number}-{index}" for index in range(count)])
        share = rates["writes a second"] / baseline
        # Both are slower on a busy machine, their ratio hardly.
        found[f"{scenario}: operator CPU per job, in server CPU per write"] = (
            rates["operator CPU ms per job"] / 1000 / server
        )
        options.progress(f"round {number}: {scenario}: {rates['jobs a second']:.0f} jobs a second, {share:.2f} of it")
        found |= {f"{scenario}: {name}": value for name, value in rates.items()}
        found[f"{scenario}: share of baseline"] = share
    await stage.stop_operator()
    return found


_GOALS = {
    "session: share of baseline": ">= 0.8",
    "no session: share of baseline": ">= 0.8",
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
