"""Runs in pods beside bare batch/v1 Jobs: what a run in a pod costs whom.

Run: ``python -m bench.guest_pods [--jobs 500] [--pods 16] [--json FILE]``. So many CurationJobs without a session are
created at once, whose guests run in pods; then as many bare Jobs of one pod. The Job controller is the real one. The
guests' pods are served by `testing.pod_kubelet`, which runs their carriers and guest hosts as processes of this
machine, so many at a time; those of bare Jobs by `bench.kubelet`, which runs nothing. What the containers themselves
take, and the nodes, is left out on both sides.
"""

import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

import yaml

from bench import fixtures, options
from bench.batch_job import Bench
from bench.client import Client
from bench.phases import Phases
from bench.results import Result
from bench.stage import Stage
from bench.throughput import NAMESPACE, SERVER
from testing.controlplane.connection import Connection
from testing.controlplane.ports import free_port
from testing.pod_kubelet import PodKubelet

GUESTS: Final = "curation-guests"
SYSTEM: Final = "curation-system"
WARM: Final = 4
_COMPONENT: Final = Path(__file__).parents[1] / "manifests" / "components" / "guest-pods"
_WAIT_SECONDS: Final = 1800.0
_PROGRAMS: Final = (*SERVER, "kube-controller-manager", "operator", "operator process")


class Node(PodKubelet):
    """Runs so many pods at a time."""

    def __init__(self, connection: Connection, at_once: int) -> None:
        super().__init__(connection, GUESTS)
        self._room = asyncio.Semaphore(at_once)

    async def _run(self, pod: dict[str, Any]) -> None:
        async with self._room:
            await super()._run(pod)


def flags() -> tuple[str, ...]:
    """The operator's options."""
    port = free_port()
    return (
        *("--guest-pods", f"--lease-namespace={SYSTEM}", f"--guest-namespace={GUESTS}", "--guest-image=operator:bench"),
        *(f"--door-bind=127.0.0.1:{port}", f"--door-address=localhost:{port}"),
    )


async def install(client: Client) -> None:
    """The component's objects, but for those of a network that is not there."""
    for name in ("namespace", "service-account", "role", "secret"):
        for document in yaml.safe_load_all((_COMPONENT / f"{name}.yaml").read_text(encoding="utf-8")):
            group, place = document["apiVersion"], document["metadata"].get("namespace")
            root = f"/apis/{group}" if "/" in group else f"/api/{group}"
            path = f"{root}/namespaces/{place}" if place else root
            await client.call("POST", f"{path}/{document['kind'].lower()}s", document)


async def in_pods(stage: Stage, client: Client, names: list[str]) -> float:
    """So many CurationJobs until each is Completed; the seconds."""
    phases = Phases(client, NAMESPACE)
    await phases.start()
    try:
        began = time.monotonic()
        where = {"executor": {"type": "Job"}}
        jobs = [fixtures.job(name, fixtures.WITHOUT_SESSION, stage.sessions_url, **where) for name in names]
        await fixtures.create(client, NAMESPACE, jobs)
        async with asyncio.timeout(_WAIT_SECONDS):
            return await phases.reached("Completed", set(names)) - began
    finally:
        await phases.close()


async def turn(stage: Stage, bench: Bench, kind: str, count: int, work: Any) -> list[Result]:
    """One kind, measured."""
    writes, cpu = await bench.writes(), stage.cpu()
    seconds = await work
    await asyncio.sleep(5)  # what is written late is a job's too
    later = stage.cpu()
    found = [Result(f"{kind}: until all have ended", seconds, "s")]
    found.append(Result(f"{kind}: writes", (await bench.writes() - writes) / count, "a job"))
    for name in _PROGRAMS:
        found.append(Result(f"{kind}: {name}", 1000 * (later[name] - cpu[name]) / count, "ms a job"))
    return found


async def measure(jobs: int, pods: int) -> list[Result]:
    """Both, one after the other."""
    async with (
        Stage(*flags(), controllers=("job-controller",)) as stage,
        Client(stage.control_plane.kubeconfig()) as client,
    ):
        await install(client)
        await fixtures.prepare(client, NAMESPACE)
        await fixtures.allow(client, NAMESPACE)
        await stage.start_operator()
        command = (sys.executable, "-m", "bench.kubelet", str(stage.control_plane.kubeconfig()))
        fake = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            assert fake.stdout is not None
            await asyncio.wait_for(fake.stdout.readline(), 60)
            bench = Bench(stage, client)
            async with Node(stage.control_plane.connection, pods):
                await in_pods(stage, client, [f"warm-{number}" for number in range(WARM)])
                options.progress("warm")
                ours = in_pods(stage, client, [f"pod-{number}" for number in range(jobs)])
                found = await turn(stage, bench, "in a pod", jobs, ours)
            options.progress("the runs in pods have ended")
            await bench.theirs([f"warm-{number}" for number in range(WARM)])
            theirs = bench.theirs([f"bare-{number}" for number in range(jobs)])
            return found + await turn(stage, bench, "bare Job", jobs, theirs)
        finally:
            if fake.returncode is None:
                fake.send_signal(signal.SIGTERM)
            await fake.wait()


def main() -> None:
    """The command line."""
    parser = options.parser(__doc__)
    parser.add_argument("--jobs", type=int, default=500, help="of each kind, at once")
    parser.add_argument("--pods", type=int, default=16, help="that run at a time")
    given = parser.parse_args()
    title = f"{given.jobs} of each kind, {given.pods} guests at a time"
    options.report(given, title, asyncio.run(measure(given.jobs, given.pods)))


if __name__ == "__main__":
    main()
