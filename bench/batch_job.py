"""A CurationJob without a session beside a batch/v1 Job, in one control plane, in turns.

Run: ``python -m bench.batch_job [--jobs 100] [--rounds 5] [--json FILE] [--check]``. In each round as many Jobs are
created as CurationJobs, one kind after the other, and the order changes. The real kube-controller-manager serves the
Jobs, and `kubelet`, which runs nothing, their pods; the operator serves the CurationJobs, with the guest that runs.

Measured is the processor time of the whole system for a job: API server, etcd, and of the one kind the controller
manager, of the other all processes of the operator. Not counted are the clients, and the node with whatever a
container costs. Writes are those that the API server's own metrics count, creations by the client too.
"""

import asyncio
import re
import signal
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any, Final

from bench import fixtures, options
from bench.client import Client
from bench.kubelet import NODE
from bench.results import Result, compared
from bench.stage import Stage
from bench.throughput import NAMESPACE, SERVER, burst

OURS: Final = "CurationJob"
THEIRS: Final = "batch/v1 Job"
WARM: Final = 16
_WAIT_SECONDS: Final = 300.0
_JOBS: Final = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
_WRITE: Final = re.compile(
    r'^apiserver_request_total(?=[^}]*code="2\d\d")(?=[^}]*verb="(?:POST|PUT|PATCH|APPLY|DELETE)")'
    r'(?=[^}]*[,{]resource="(\w+)")[^}]*\} (\S+)$',
    re.MULTILINE,
)
_NO_JOBS: Final = frozenset({"leases", "tokenreviews", "subjectaccessreviews", "selfsubjectaccessreviews"})
"""What a component writes whether there are jobs or not."""

Sample = dict[str, float]


def batch_job(name: str) -> dict[str, Any]:
    """A Job of one pod, which is bound to the node."""
    container = {"name": "work", "image": "example.org/work:1", "command": ["true"]}
    pod = {"nodeName": NODE, "restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [container]}
    spec = {"backoffLimit": 0, "template": {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


class Bench:
    """Both kinds on one stage."""

    def __init__(self, stage: Stage, client: Client) -> None:
        self._stage, self._client = stage, client

    async def ours(self, names: list[str]) -> float:
        """So many CurationJobs until each is Completed; returns the seconds."""
        rates = await burst(self._stage, self._client, names, fixtures.WITHOUT_SESSION, "Completed")
        return len(names) / rates["jobs a second"]

    async def theirs(self, names: list[str]) -> float:
        """So many Jobs until each is Complete, by a watch; returns the seconds."""
        listed = await self._client.call("GET", f"{_JOBS}?limit=1")
        watching = asyncio.create_task(self._complete(listed["metadata"]["resourceVersion"], set(names)))
        began = time.monotonic()

        async def create(name: str) -> None:
            await self._client.call("POST", _JOBS, batch_job(name))

        await self._client.spread(create, names)
        async with asyncio.timeout(_WAIT_SECONDS):
            await watching
        return time.monotonic() - began

    async def _complete(self, version: str, left: set[str]) -> None:
        watch = f"{_JOBS}?watch=1&resourceVersion={version}"
        async with self._client.send("GET", watch, seconds=None) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                # Searched, not parsed: that would take processor time from what is measured.
                if b'"type":"Complete","status":"True"' in line:
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

    async def turn(self, kind: str, names: list[str]) -> Sample:
        """One kind, measured."""
        programs = (*SERVER, "operator" if kind == OURS else "kube-controller-manager")
        writes, cpu = await self.writes(), self._stage.cpu()
        seconds = await (self.ours(names) if kind == OURS else self.theirs(names))
        # What is written late is a job's too: Events, and the last word on a pod.
        await asyncio.sleep(2)
        later, count = self._stage.cpu(), len(names)
        used = {f"{name}: CPU ms per job": 1000 * (later[name] - cpu[name]) / count for name in programs}
        return {
            **used,
            "whole system: CPU ms per job": sum(used.values()),
            "writes per job": (await self.writes() - writes) / count,
            "jobs a second": count / seconds,
        }


async def measure(jobs: int, rounds: int) -> list[Result]:
    """Both, in turns."""
    async with (
        Stage(controllers=("job-controller",)) as stage,
        Client(stage.control_plane.kubeconfig()) as client,
    ):
        await fixtures.prepare(client, NAMESPACE)
        await fixtures.allow(client, NAMESPACE)
        await stage.start_operator()
        node = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.kubelet", str(stage.control_plane.kubeconfig())),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert node.stdout is not None
            await asyncio.wait_for(node.stdout.readline(), _WAIT_SECONDS)
            bench = Bench(stage, client)
            await bench.ours([f"warm-{index}" for index in range(WARM)])
            await bench.theirs([f"warm-{index}" for index in range(WARM)])
            samples: list[dict[str, Sample]] = []
            for number in range(rounds):
                found: dict[str, Sample] = {}
                for kind in (OURS, THEIRS) if number % 2 == 0 else (THEIRS, OURS):
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
    """Medians of both, and the ratios of the two turns of each round with their spread."""
    found = []
    for kind in (OURS, THEIRS):
        for name in samples[0][kind]:
            unit = "ms" if " ms " in name else "1/s" if name.endswith("a second") else "a job"
            found.append(Result(f"{kind}: {name}", median(sample[kind][name] for sample in samples), unit))
    for name, goal in (("whole system: CPU ms per job", "<= 0.7"), ("writes per job", "<= 0.5"), ("jobs a second", "")):
        ratios = [sample[OURS][name] / sample[THEIRS][name] for sample in samples]
        shown = name.replace("CPU ms", "CPU")
        found += compared(f"{shown}, of a batch/v1 Job's", ratios, goal, spread_of=shown)
    return found


def main() -> None:
    """The command line."""
    parser = options.parser(__doc__)
    parser.add_argument("--jobs", type=int, default=100, help="jobs of each kind in a turn")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    title = f"{given.rounds} rounds of {given.jobs} jobs of each kind"
    options.report(given, title, asyncio.run(measure(given.jobs, given.rounds)))


if __name__ == "__main__":
    main()
