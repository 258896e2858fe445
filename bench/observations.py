"""What an observation of a session that does not change costs; with another build, both in turns.

Run: ``python -m bench.observations [--jobs 200] [--namespaces 4] [--interval 2] [--rounds 3] [--settle 5]
[--seconds 20] [--other COMMIT] [--json FILE]``. In each turn an operator is started that finds so many Running jobs.
Once it observes them, the processor time of its processes is measured for some seconds, and that of the API server and
etcd, and divided by the observations that ended meanwhile. With ``--interval 0`` the jobs say no interval: then the
share of one core that they take is the figure, and an observation is rare.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, nullcontext
from statistics import median

from bench import fixtures, options
from bench.builds import OWN, Build, of_commit
from bench.client import JOBS_PATH, Client
from bench.results import Result, compared
from bench.stage import Stage

_WARM = 2
"""Observations of each job before anything is measured; with defaults, which are rare, none."""

_POLL_SECONDS = 0.5

Turn = dict[str, float]
Metrics = dict[tuple[str, str], float]


class Side:
    """One build, with its Running jobs in a control plane of its own."""

    def __init__(self, stage: Stage, client: Client, given: argparse.Namespace) -> None:
        self._stage, self._client, self._given = stage, client, given

    async def prepare(self) -> None:
        """Bring the jobs to Running."""
        given = self._given
        places = [f"observed-{number}" for number in range(given.namespaces)]
        for place in places:
            await fixtures.prepare(self._client, place)
            await fixtures.allow(self._client, place)
        await self._stage.start_operator()
        spec = {"observeIntervalSeconds": given.interval} if given.interval else {}

        async def create(number: int) -> None:
            job = fixtures.job(f"job-{number}", fixtures.WITH_SESSION, self._stage.sessions_url, **spec)
            await self._client.call("POST", JOBS_PATH.format(namespace=places[number % len(places)]), job)

        await self._client.spread(create, range(given.jobs))
        async with asyncio.timeout(600):
            await self._until(lambda metrics: metrics.get(("curation_jobs", 'phase="Running"'), 0) >= given.jobs)
        await self._stage.stop_operator()

    async def turn(self) -> Turn:
        """An operator that finds all these jobs, measured while it observes them."""
        stage, given = self._stage, self._given
        await stage.start_operator()
        warm = _WARM * given.jobs if given.interval else 0
        async with asyncio.timeout(600):
            await self._until(lambda metrics: _observed(metrics) >= warm)
        await asyncio.sleep(given.settle)
        loop = asyncio.get_running_loop()
        count, cpu, began = _observed(await stage.metrics()), stage.cpu(), loop.time()
        await asyncio.sleep(given.seconds)
        after, ended, later = _observed(await stage.metrics()), loop.time(), stage.cpu()
        await stage.stop_operator()
        done, seconds = after - count, ended - began
        if done < given.jobs / 10:
            raise ValueError(f"only {done:.0f} observations ended: give more --seconds")
        used = {name: later[name] - cpu[name] for name in later}
        return {
            "observations a second": done / seconds,
            "all our processes: CPU ms per observation": 1000 * used["operator"] / done,
            "the operator's process: CPU ms per observation": 1000 * used["operator process"] / done,
            "kube-apiserver and etcd: CPU ms per observation": 1000 * (used["kube-apiserver"] + used["etcd"]) / done,
            "all our processes: share of a core": used["operator"] / seconds,
        }

    async def _until(self, reached: Callable[[Metrics], bool]) -> None:
        while True:
            if reached(await self._stage.metrics()):
                return
            await asyncio.sleep(_POLL_SECONDS)


def _observed(metrics: Metrics) -> float:
    """The observations that have ended."""
    return sum(
        value
        for (name, labels), value in metrics.items()
        if name == "curation_run_duration_seconds_count" and 'trigger="Observe"' in labels
    )


async def measure(builds: Sequence[Build], given: argparse.Namespace) -> list[Result]:
    """All builds, in turns; the first is this one."""
    async with AsyncExitStack() as stack:
        sides = []
        for build in builds:
            stage = await stack.enter_async_context(Stage(build=build))
            client = await stack.enter_async_context(Client(stage.control_plane.kubeconfig()))
            sides.append(Side(stage, client, given))
            await sides[-1].prepare()
        samples: list[list[Turn]] = [[] for _ in sides]
        for number in range(given.rounds):
            order = list(range(len(sides)))
            for index in order if number % 2 == 0 else reversed(order):
                samples[index].append(await sides[index].turn())
                told = ", ".join(f"{name} {value:.3g}" for name, value in samples[index][-1].items())
                options.progress(f"round {number + 1}: {builds[index].name}: {told}")
    return results(samples)


def results(samples: Sequence[Sequence[Turn]]) -> list[Result]:
    """Medians over the rounds; with a second build, the ratios of the two turns of each round and their spread too."""
    own, *others = samples
    found = []
    for name in own[0]:
        unit = "ms" if " ms " in name else "1/s" if name.endswith("a second") else "cores"
        found.append(Result(name, median(turn[name] for turn in own), unit))
        for other in others:
            ratios = [mine[name] / theirs[name] for mine, theirs in zip(own, other, strict=True)]
            found += [
                Result(f"{name}: the other build", median(turn[name] for turn in other), unit),
                *compared(f"{name}, of the other build", ratios, spread_of=name),
            ]
    return found


def main() -> None:
    """The command line."""
    parser = options.parser(__doc__)
    parser.add_argument("--jobs", type=int, default=200, help="Running jobs")
    parser.add_argument("--namespaces", type=int, default=4, help="namespaces that they are in")
    parser.add_argument("--interval", type=int, default=2, help="observeIntervalSeconds of each; 0: none is said")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settle", type=float, default=5, help="seconds before that: an interval grows to its maximum")
    parser.add_argument("--seconds", type=float, default=20, help="how long a turn is measured")
    parser.add_argument("--other", help="the commit of another build, to be measured in turns with this one")
    given = parser.parse_args()
    try:
        with of_commit(given.other) if given.other else nullcontext() as other:
            builds = [OWN] if other is None else [OWN, other]
            title = f"{given.jobs} Running jobs in {given.namespaces} namespaces, {given.rounds} rounds"
            options.report(given, title, asyncio.run(measure(builds, given)))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
