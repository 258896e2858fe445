"""Two builds of the operator, in turns: processor time for each job, of the operator, the API server and etcd.

Run: ``make bench BENCH=compare OTHER=<commit>``, or ``python -m bench.compare --other COMMIT [--rounds 5] [--jobs 100]
[--json FILE]``. Each build has a control plane of its own, with its own CRDs, roles and admission policies. In each
round both do the same jobs, one after the other, and the one that comes first in a round comes second in the next: with
a session until they are Running, their end until they are Completed, and without a session until they are Completed.

What counts are the ratios, this build to the other one, of the two turns of a round: what else the machine does
disturbs both alike. A ratio that is further from 1 than the spread over the rounds is a difference.
"""

import asyncio
import sys
from collections.abc import Sequence
from statistics import median
from typing import Final

from bench import fixtures, options
from bench.builds import OWN, Build, of_commit
from bench.client import Client
from bench.results import Result, compared
from bench.stage import Stage
from bench.throughput import NAMESPACE, burst, finish

PROGRAMS: Final = ("operator", "kube-apiserver", "etcd")
ALL: Final = "all three"
WARM: Final = 8
"""Jobs of each kind that each operator does before those that are measured."""
KINDS: Final = ("session", "no session")

Sample = dict[str, float]
"""Milliseconds of processor time for each job of one turn, by kind of job and program."""


class Side:
    """One build at work in a control plane of its own."""

    def __init__(self, stage: Stage, client: Client) -> None:
        self._stage, self._client = stage, client

    async def prepare(self) -> None:
        """Everything once: the first requests are slower than all others."""
        await fixtures.prepare(self._client, NAMESPACE)
        await fixtures.allow(self._client, NAMESPACE)
        await self.turn("warm", 16)

    async def _warm(self, prefix: str) -> None:
        names = [f"{prefix}-session-{index}" for index in range(WARM)]
        await burst(self._stage, self._client, names, fixtures.WITH_SESSION, "Running")
        await finish(self._stage, self._client, names)
        names = [f"{prefix}-plain-{index}" for index in range(WARM)]
        await burst(self._stage, self._client, names, fixtures.WITHOUT_SESSION, "Completed")

    async def turn(self, prefix: str, count: int) -> Sample:
        """So many jobs of each kind, by an operator that runs for this turn alone."""
        await self._stage.start_operator()
        # What a process does once is not a job's: the imports of its children, the first connection, the first parse.
        await self._warm(f"{prefix}-warm")
        with_session = [f"{prefix}-session-{index}" for index in range(count)]
        spawned = await burst(self._stage, self._client, with_session, fixtures.WITH_SESSION, "Running")
        ended = await finish(self._stage, self._client, with_session)
        plain = [f"{prefix}-plain-{index}" for index in range(count)]
        done = await burst(self._stage, self._client, plain, fixtures.WITHOUT_SESSION, "Completed")
        await self._stage.stop_operator()
        found: Sample = {}
        for program in PROGRAMS:
            name = f"{program} CPU ms per job"
            found[f"session: {program}"] = spawned[name] + ended[name]
            found[f"no session: {program}"] = done[name]
        return found


async def measure(own: Build, other: Build, jobs: int, rounds: int) -> list[Result]:
    """Both builds, in turns."""
    async with (
        Stage(build=own) as first,
        Stage(build=other) as second,
        Client(first.control_plane.kubeconfig()) as first_client,
        Client(second.control_plane.kubeconfig()) as second_client,
    ):
        sides = (Side(first, first_client), Side(second, second_client))
        for side in sides:
            await side.prepare()
        samples: list[tuple[Sample, Sample]] = []
        for number in range(rounds):
            found: dict[int, Sample] = {}
            for index in (0, 1) if number % 2 == 0 else (1, 0):
                found[index] = await sides[index].turn(f"r{number}", jobs)
            samples.append((with_sums(found[0]), with_sums(found[1])))
            told = [
                f"{kind} {samples[-1][0][f'{kind}: {ALL}'] / samples[-1][1][f'{kind}: {ALL}']:.3f}" for kind in KINDS
            ]
            options.progress(f"round {number + 1}: this build takes, of the other's processor time: {', '.join(told)}")
    return results(samples)


def with_sums(sample: Sample) -> Sample:
    """The same, and of each kind of job what all programs took together."""
    sums = {f"{kind}: {ALL}": sum(sample[f"{kind}: {program}"] for program in PROGRAMS) for kind in KINDS}
    return {**sample, **sums}


def results(samples: Sequence[tuple[Sample, Sample]]) -> list[Result]:
    """Of (this build, the other one) of each round: the ratios with their spread, and what they are ratios of.

    The ratio is the median of those of the rounds, and not a ratio of medians: the two turns of a round lie next to
    each other, whatever the machine did in between. Raises ValueError for a time that is too short to be measured.
    """
    found = []
    for name in samples[0][0]:
        pairs = [(own[name], other[name]) for own, other in samples]
        if any(other <= 0 for _, other in pairs):
            raise ValueError(f"{name} took no processor time that can be measured: give more --jobs")
        ratios = [own / other for own, other in pairs]
        found += [
            *compared(f"{name}, of the other build", ratios, spread_of=name),
            Result(f"{name}: this build", median(own for own, _ in pairs), "ms a job"),
            Result(f"{name}: the other build", median(other for _, other in pairs), "ms a job"),
        ]
    return found


def main() -> None:
    """The command line."""
    parser = options.parser(__doc__)
    parser.add_argument("--other", required=True, help="the commit to compare with")
    parser.add_argument("--jobs", type=int, default=100, help="jobs of each kind in a turn")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    try:
        with of_commit(given.other) as other:
            title = f"this build and {other.name}: {given.rounds} rounds of {given.jobs} jobs of each kind"
            options.report(given, title, asyncio.run(measure(OWN, other, given.jobs, given.rounds)))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
