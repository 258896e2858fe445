"""What a new job costs while many others are there.

Run: ``python -m bench.growth [--counts 1000 10000 50000] [--jobs 50] [--rounds 3] [--json FILE] [--check]``. Each count
has a control plane of its own with so many finished jobs, half of them in the namespace of the new ones, and an
operator that has found them. In each round the new jobs are made in one after the other, with a session until they are
Completed and without one, and the order changes from round to round. Processor time is that of all three: the
operator's processes, the API server and etcd. The ratio is each count's to the first one's in the same round.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from statistics import median
from typing import Final

from bench import fixtures, options
from bench.client import Client
from bench.compare import ALL, KINDS, PROGRAMS, Sample, with_sums
from bench.loader import finished_jobs
from bench.results import Result, compared
from bench.scale import START_SECONDS
from bench.stage import Stage
from bench.throughput import NAMESPACE, burst, finish

ELSEWHERE: Final = "elsewhere"
WARM: Final = 8
_POLL_SECONDS: Final = 0.5


class Side:
    """An operator among so many finished jobs."""

    def __init__(self, stage: Stage, client: Client, count: int) -> None:
        self._stage, self._client, self.count = stage, client, count

    async def prepare(self) -> None:
        """Put the finished jobs there, start the operator, and have each kind of job done once."""
        folder = self._stage.control_plane.folder
        for namespace in (NAMESPACE, ELSEWHERE):
            await fixtures.prepare(self._client, namespace)
            await fixtures.allow(self._client, namespace)
            await finished_jobs(self._client, folder, namespace, 0, self.count // 2)
        await self._stage.start_operator()
        async with asyncio.timeout(START_SECONDS):
            await self._settled()
        await self.turn("warm", WARM)

    async def _settled(self) -> None:
        while True:
            metrics = await self._stage.metrics()
            known = metrics.get(("curation_jobs", 'phase="Completed"'), 0)
            if known >= 2 * (self.count // 2) and metrics[("curation_queue_depth", "")] == 0:
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def turn(self, prefix: str, count: int) -> Sample:
        """So many new jobs of each kind."""
        names = [f"{prefix}-session-{index}" for index in range(count)]
        spawned = await burst(self._stage, self._client, names, fixtures.WITH_SESSION, "Running")
        ended = await finish(self._stage, self._client, names)
        plain = [f"{prefix}-plain-{index}" for index in range(count)]
        done = await burst(self._stage, self._client, plain, fixtures.WITHOUT_SESSION, "Completed")
        found: Sample = {}
        for program in PROGRAMS:
            name = f"{program} CPU ms per job"
            found[f"session: {program}"] = spawned[name] + ended[name]
            found[f"no session: {program}"] = done[name]
        return with_sums(found)


async def measure(counts: Sequence[int], jobs: int, rounds: int) -> list[Result]:
    """All counts, in turns."""
    async with AsyncExitStack() as stack:
        sides = []
        for count in counts:
            stage = await stack.enter_async_context(Stage(seconds=START_SECONDS))
            client = await stack.enter_async_context(Client(stage.control_plane.kubeconfig()))
            sides.append(Side(stage, client, count))
            await sides[-1].prepare()
            options.progress(f"{count} jobs are there")
        samples: list[list[Sample]] = []
        for number in range(rounds):
            found: dict[int, Sample] = {}
            order = range(len(sides))
            for index in order if number % 2 == 0 else reversed(order):
                found[index] = await sides[index].turn(f"r{number}", jobs)
                told = ", ".join(f"{kind} {found[index][f'{kind}: {ALL}']:.1f} ms" for kind in KINDS)
                options.progress(f"round {number + 1}: among {counts[index]} jobs: {told}")
            samples.append([found[index] for index in order])
    return results(counts, samples)


def results(counts: Sequence[int], samples: Sequence[Sequence[Sample]]) -> list[Result]:
    """Medians over the rounds, and the ratios to the first count with their spread."""
    found = []
    for kind in KINDS:
        for index, count in enumerate(counts):
            for program in (*PROGRAMS, ALL):
                name = f"{kind}: {program}"
                value = median(sample[index][name] for sample in samples)
                found.append(Result(f"{name}, among {count} jobs", value, "ms a job"))
            if index:
                name = f"{kind}: {ALL}"
                ratios = [sample[index][name] / sample[0][name] for sample in samples]
                goal = "<= 1.2" if index == len(counts) - 1 else ""
                shown = f"{kind}: among {count} jobs, of among {counts[0]}"
                found += compared(shown, ratios, goal)
    return found


def main() -> None:
    """The command line."""
    parser = options.parser(__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000, 50_000], help="finished jobs")
    parser.add_argument("--jobs", type=int, default=50, help="new jobs of each kind in a turn")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    title = f"{given.rounds} rounds of {given.jobs} new jobs of each kind among {given.counts}"
    options.report(given, title, asyncio.run(measure(given.counts, given.jobs, given.rounds)))


if __name__ == "__main__":
    main()
