"""A CurationJob without a session beside a batch/v1 Job, in one control plane, in turns; beside Argo Workflows too.

Run: ``python -m bench.batch_job [--jobs 100] [--rounds 5] [--argo] [--json FILE] [--check]``. In each round as many
Jobs are created as CurationJobs, one kind after the other, and the order changes. The real kube-controller-manager
serves the Jobs, and `kubelet`, which runs nothing, their pods; the operator serves the CurationJobs, with the guest
that runs. With `--argo` as many Workflows of one container follow, served by Argo's real controller (`testing.argo`).

Measured is the processor time of the whole system for a job: API server, etcd, and of the one kind the controller
manager or Argo's controller, of the other all processes of the operator. Not counted are the clients, the node with
whatever a container costs, and what the programs take with nothing to do: a turn of Argo's is long, since its
controller looks at a workflow again after ten seconds only. Writes are those that the API server's own metrics count,
creations by the client too.
"""

import asyncio
import re
import signal
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Final

from bench import fixtures, options
from bench.client import Client
from bench.others import ARGO, OTHERS, THEIRS, Other
from bench.results import Result, compared
from bench.stage import Stage
from bench.throughput import NAMESPACE, SERVER, burst

OURS: Final = "CurationJob"
WARM: Final = 16
_WAIT_SECONDS: Final = 300.0
_SETTLE_SECONDS: Final = 5.0
"""After the jobs that warm up: what is written late is none of the first turn's."""
_IDLE_SECONDS: Final = 15.0
_WRITE: Final = re.compile(
    r'^apiserver_request_total(?=[^}]*code="2\d\d")(?=[^}]*verb="(?:POST|PUT|PATCH|APPLY|DELETE)")'
    r'(?=[^}]*[,{]resource="(\w+)")[^}]*\} (\S+)$',
    re.MULTILINE,
)
_NO_JOBS: Final = frozenset({"leases", "tokenreviews", "subjectaccessreviews", "selfsubjectaccessreviews"})
"""What a component writes whether there are jobs or not."""

Sample = dict[str, float]


class Bench:
    """All kinds on one stage."""

    def __init__(self, stage: Stage, client: Client) -> None:
        self._stage, self._client = stage, client
        self._idle: dict[str, float] = {}

    async def ours(self, names: list[str]) -> float:
        """So many CurationJobs until each is Completed; returns the seconds."""
        rates = await burst(self._stage, self._client, names, fixtures.WITHOUT_SESSION, "Completed")
        return len(names) / rates["jobs a second"]

    async def theirs(self, names: list[str], kind: str = THEIRS) -> float:
        """So many of another kind until each has ended well, by a watch; returns the seconds."""
        other = OTHERS[kind]
        listed = await self._client.call("GET", f"{other.path}?limit=1")
        watching = asyncio.create_task(self._ended(other, listed["metadata"]["resourceVersion"], set(names)))
        began = time.monotonic()

        async def create(name: str) -> None:
            await self._client.call("POST", other.path, other.document(name))

        await self._client.spread(create, names)
        async with asyncio.timeout(_WAIT_SECONDS):
            await watching
        return time.monotonic() - began

    async def _ended(self, other: Other, version: str, left: set[str]) -> None:
        watch = f"{other.path}?watch=1&resourceVersion={version}"
        async with self._client.send("GET", watch, seconds=None) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                # Searched, not parsed: that would take processor time from what is measured.
                if other.done in line:
                    found = re.search(rb'"name":"([^"]+)"', line)
                    assert found is not None
                    left.discard(found[1].decode())
                if not left:
                    return

    async def writes(self) -> float:
        """Writes that have succeeded, as the API server counts them."""
        async with self._client.send("GET", "/metrics") as answer:
            text = await answer.text()
        return sum(float(value) for resource, value in _WRITE.findall(text) if resource not in _NO_JOBS)

    async def some(self, kind: str, names: list[str]) -> float:
        """So many of a kind; returns the seconds."""
        return await (self.ours(names) if kind == OURS else self.theirs(names, kind))

    async def rest(self) -> None:
        """Find out what each program takes while there is nothing to do, in seconds a second: it is no job's."""
        await asyncio.sleep(_SETTLE_SECONDS)
        cpu = self._stage.cpu()
        await asyncio.sleep(_IDLE_SECONDS)
        self._idle = {name: (now - cpu[name]) / _IDLE_SECONDS for name, now in self._stage.cpu().items()}
        told = ", ".join(f"{name} {1000 * used:.3g}" for name, used in self._idle.items())
        options.progress(f"with nothing to do, ms a second: {told}")

    async def turn(self, kind: str, names: list[str]) -> Sample:
        """One kind, measured."""
        program, late = ("operator", 2.0) if kind == OURS else (OTHERS[kind].program, OTHERS[kind].late)
        programs = (*SERVER, program)
        writes, cpu, began = await self.writes(), self._stage.cpu(), time.monotonic()
        seconds = await self.some(kind, names)
        # What is written late is a job's too: Events, and the last word on a pod.
        await asyncio.sleep(late)
        later, passed, count = self._stage.cpu(), time.monotonic() - began, len(names)
        used = {
            f"{name}: CPU ms per job": 1000 * (later[name] - cpu[name] - self._idle[name] * passed) / count
            for name in programs
        }
        return {
            **used,
            "whole system: CPU ms per job": sum(used.values()),
            "writes per job": (await self.writes() - writes) / count,
            "jobs a second": count / seconds,
        }


async def measure(jobs: int, rounds: int, *, argo: bool = False, requeue: str = "") -> list[Result]:
    """All kinds, in turns."""
    kinds = (OURS, THEIRS, ARGO) if argo else (OURS, THEIRS)
    async with (
        Stage(controllers=("job-controller",)) as stage,
        Client(stage.control_plane.kubeconfig()) as client,
    ):
        await fixtures.prepare(client, NAMESPACE)
        await fixtures.allow(client, NAMESPACE)
        await stage.start_operator()
        if argo:
            await stage.start_argo(requeue)
        node = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.kubelet", str(stage.control_plane.kubeconfig())),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert node.stdout is not None
            await asyncio.wait_for(node.stdout.readline(), _WAIT_SECONDS)
            bench = Bench(stage, client)
            for kind in kinds:
                await bench.some(kind, [f"warm-{index}" for index in range(WARM)])
            await bench.rest()
            samples: list[dict[str, Sample]] = []
            for number in range(rounds):
                found: dict[str, Sample] = {}
                first = number % len(kinds)
                for kind in kinds[first:] + kinds[:first]:
                    found[kind] = await bench.turn(kind, [f"r{number}-{index}" for index in range(jobs)])
                    told = ", ".join(f"{name} {value:.3g}" for name, value in found[kind].items())
                    options.progress(f"round {number + 1}: {kind}: {told}")
                samples.append(found)
        finally:
            if node.returncode is None:
                node.send_signal(signal.SIGTERM)
            await node.wait()
    return results(samples)


def results(samples: Sequence[dict[str, Sample]]) -> list[Result]:
    """Medians of each kind, and the ratios of our turn of each round to those of the others with their spread."""
    found = []
    for kind in samples[0]:
        for name in samples[0][kind]:
            unit = "ms" if " ms " in name else "1/s" if name.endswith("a second") else "a job"
            found.append(Result(f"{kind}: {name}", median(sample[kind][name] for sample in samples), unit))
    goals = {"whole system: CPU ms per job": "<= 0.7", "writes per job": "<= 0.5", "jobs a second": ""}
    for kind in (each for each in OTHERS if each in samples[0]):
        for name, goal in goals.items():
            ratios = [sample[OURS][name] / sample[kind][name] for sample in samples]
            shown = name.replace("CPU ms", "CPU")
            goal, spread_of = (goal, shown) if kind == THEIRS else ("", None)
            found += compared(f"{shown}, of {OTHERS[kind].of}", ratios, goal, spread_of=spread_of)
    return found


def main() -> None:
    """The command line."""
    parser = options.parser(__doc__)
    parser.add_argument("--jobs", type=int, default=100, help="jobs of each kind in a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--argo", action="store_true", help="Workflows too; builds Argo's controller, once")
    parser.add_argument(
        "--requeue", default="", help="how soon Argo looks at a workflow again, as 1s; its default: 10s"
    )
    given = parser.parse_args()
    title = f"{given.rounds} rounds of {given.jobs} jobs of each kind"
    options.report(given, title, asyncio.run(measure(given.jobs, given.rounds, argo=given.argo, requeue=given.requeue)))


if __name__ == "__main__":
    main()
