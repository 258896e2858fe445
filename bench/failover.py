"""How long the jobs are without a leader when one of two replicas ends, with runs in flight.

Run: ``python -m bench.failover [--rounds 5] [--jobs 5] [--json FILE] [--check]``. Each round holds the first run of
each job at the session service, ends the leader by SIGTERM, or by SIGKILL, and takes three times from the signal: until
the other replica says that it works, until it has claimed the next attempt of every job, until all of them are Running.
The shares are of the lease's duration, which is what a takeover after SIGKILL has to wait for.
"""

import asyncio
import re
import signal
import time
from collections.abc import Sequence

import aiohttp

from bench import fixtures, options
from bench.client import Client
from bench.phases import Phases
from bench.results import Result, percentile
from bench.stage import Stage
from curation.cluster.lease import DURATION

NAMESPACE = "failover"
_LEADS = re.compile(r"working as ")
_POLL_SECONDS = 0.005
_WAIT_SECONDS = 60.0


class Rounds:
    """Two replicas, of which the second follows the first in each round."""

    def __init__(self, stage: Stage, client: Client, jobs: int) -> None:
        self._stage = stage
        self._client = client
        self._jobs = jobs
        self._count = 0
        self._leader = 0

    async def begin(self) -> None:
        """Start the first leader."""
        self._leader = await self._start()
        await self._until_leading(self._leader)

    async def measure(self, number: signal.Signals) -> tuple[float, float, float]:
        """End the leader by this signal: seconds until the other works, has claimed, has its jobs Running."""
        self._count += 1
        standby = await self._start()
        names = {f"{number.name.lower()}-{self._count}-{job}" for job in range(self._jobs)}
        phases = Phases(self._client, NAMESPACE)
        await phases.start()
        try:
            async with aiohttp.ClientSession(self._stage.sessions_url) as http:
                rule = {"action": "hold", "when": "after", "method": "POST", "path": "/sessions", "attempt": 1}
                async with http.post("/control/rules", json=rule) as answer:
                    held = (await answer.json())["id"]
                jobs = [fixtures.job(name, fixtures.WITH_SESSION, self._stage.sessions_url) for name in names]
                await fixtures.create(self._client, NAMESPACE, jobs)
                waits = {"held": str(self._jobs), "seconds": "30"}
                async with http.get(f"/control/rules/{held}", params=waits) as answer:
                    answer.raise_for_status()
                ended = time.monotonic()
                self._stage.signal(self._leader, number)
                leads = await self._until_leading(standby) - ended
                claimed = await phases.reached("Submitted/2", names) - ended
                running = await phases.reached("Running", names) - ended
                async with http.post(f"/control/rules/{held}/release", json={}) as answer:
                    answer.raise_for_status()
                async with http.delete(f"/control/rules/{held}") as answer:
                    await answer.read()
        finally:
            await phases.close()
        self._leader = standby
        return leads, claimed, running

    async def _start(self) -> int:
        await self._stage.start_operator()
        return self._stage.operators

    async def _until_leading(self, operator: int) -> float:
        async with asyncio.timeout(_WAIT_SECONDS):
            while True:
                if _LEADS.search(self._stage.log_of(operator).read_text()):
                    return time.monotonic()
                await asyncio.sleep(_POLL_SECONDS)


async def measure(rounds: int, jobs: int) -> list[Result]:
    """Run it."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    async with Stage("--lease-namespace=curation-system") as stage, Client(stage.control_plane.kubeconfig()) as client:
        await fixtures.prepare(client, NAMESPACE)
        await fixtures.allow(client, NAMESPACE)
        each = Rounds(stage, client, jobs)
        await each.begin()
        for number in (signal.SIGTERM, signal.SIGKILL):
            found[number.name] = [await each.measure(number) for _ in range(rounds)]
            options.progress(f"{number.name}: {', '.join(f'{leads:.2f}' for leads, _, _ in found[number.name])} s")
        await stage.stop_operator()
    return [*_results("SIGTERM", found["SIGTERM"], 2.0), *_results("SIGKILL", found["SIGKILL"], DURATION + 2.0)]


def _results(name: str, times: Sequence[tuple[float, float, float]], goal: float) -> list[Result]:
    leads, claimed, running = zip(*times, strict=True)
    return [
        Result(f"{name} to the other leading: p50", percentile(leads, 0.5), "s"),
        Result(f"{name} to the other leading: worst", max(leads), "s", f"<= {goal:g}"),
        Result(
            f"{name} to the other leading: worst, of the lease", max(leads) / DURATION, "", f"<= {goal / DURATION:.3g}"
        ),
        Result(f"{name} to all runs claimed anew: worst", max(claimed), "s"),
        Result(f"{name} to all jobs Running: worst", max(running), "s"),
    ]


def main() -> None:
    """The command line."""
    parser = options.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="failovers of each kind")
    parser.add_argument("--jobs", type=int, default=5, help="jobs with a run in flight")
    given = parser.parse_args()
    options.report(given, "failover", asyncio.run(measure(given.rounds, given.jobs)))


if __name__ == "__main__":
    main()
