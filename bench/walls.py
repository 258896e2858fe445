"""What the walls between namespaces cost, and what holds when one falls.

Run: ``python -m bench.walls [--part run|takeover|lost|observed ...] [--json FILE]``; without a part, all of them.

- run: the operator's processor time between the start and the settlement of a run with three calls, reconciling left
  out; and how much later than a warm one the first run of an idle namespace ends. No API server: the executor alone,
  with a worker, a real module, and the session service in a process of its own.
- takeover: the leader gets SIGTERM while so many namespaces each have a run in flight: seconds until the other replica
  has claimed all of them anew, and until each of these runs has made its first call.
- lost: the container of the workers is killed as the kernel does it, all its processes at once, and is started again:
  seconds until jobs of other namespaces run again, and whether the lease was kept.
- observed: so many namespaces with one Running job each, default settings: the longest time between two observations
  of a job, of the interval that was due, and the share of one core that all processes take.
"""

import argparse
import asyncio
import itertools
import os
import signal
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
import uvloop

from bench import fixtures, options
from bench.client import Client
from bench.failover import Rounds
from bench.phases import Phases
from bench.processes import tree
from bench.results import Result, percentile
from bench.stage import Stage
from curation.api.job import Observe
from curation.authz.check_result import PolicyCheck
from curation.authz.register import PolicyRegister
from curation.egress.reach import Reach
from curation.execution.origin_credentials import OriginCredential
from curation.execution.seam import Ended, ExecutionRequest, ModuleBuild, Word
from curation.isolation.supervisor import alive
from curation.lifecycle.outcome import RunKey, SessionSpawned, Trigger
from curation.wasm.limits import Limits
from curation.wasm.module_bytes import builtin_bytes, digest_of
from curation.wasm.store import ModuleStore
from curation.workers.cell import Settings
from curation.workers.executor import WorkersExecutor
from testing.operator_process import PROGRAM
from testing.supervised import Supervised

NAMESPACE: Final = "walls"
CALLS: Final = 3
"""Of the shipped module's Submit: a workspace, a session, and what it is told."""
_WARM: Final = 20
_RUNNING: Final = ("curation_jobs", 'phase="Running"')


class Executor:
    """An executor with workers, and what it needs, without an API server."""

    def __init__(self, executor: WorkersExecutor, sessions_url: str, wasm: bytes) -> None:
        self._executor = executor
        self._url = sessions_url
        self._digest = digest_of(wasm)
        self._numbers = itertools.count(1)

    async def run(self) -> float:
        """One run, from its start to its settlement; the seconds until its end was heard."""
        attempt = next(self._numbers)
        request = ExecutionRequest(
            trigger=Trigger.SUBMIT,
            run=RunKey("uid", f"uid.g1.a{attempt}", 1, attempt, "v1:0"),
            namespace=NAMESPACE,
            job="job",
            module=ModuleBuild(fixtures.WITH_SESSION, self._digest, Limits()),
            input={"message": "Look into it and say what you find.", "title": "it"},
            config={"api_url": self._url},
        )
        ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

        def hear(_: str, word: Word) -> None:
            if isinstance(word, Ended):
                ended.set_result(word)

        began = time.perf_counter()
        self._executor.start(request, hear)
        report = (await ended).report
        took = time.perf_counter() - began
        if not isinstance(report.result, SessionSpawned) or report.calls.answered != CALLS:
            raise ValueError(f"the run came to {report}")
        self._executor.settled(request.execution)
        return took

    async def idle(self) -> None:
        """End its worker, as a namespace that is idle for long has none."""
        self._executor._end_idle(NAMESPACE)
        while self._executor._ending:
            await asyncio.gather(*self._executor._ending)


class _Supplies:
    def __init__(self, wasm: bytes) -> None:
        self._wasm = wasm

    async def wasm(self, request: ExecutionRequest) -> bytes:
        return self._wasm

    async def credentials(self, request: ExecutionRequest) -> tuple[OriginCredential, ...]:
        return ()


async def runs(given: argparse.Namespace) -> list[Result]:
    """See "run" above."""
    programs = Supervised("curation-bench-", 120)
    wasm = builtin_bytes("build-session-message-v1")
    with tempfile.TemporaryDirectory(prefix="curation-bench-") as folder:
        store, book = ModuleStore(Path(folder)), PolicyRegister()
        book.put_checked(NAMESPACE, "allow", fixtures.POLICY, PolicyCheck(True, 1, "Valid", ""))
        executor = WorkersExecutor(store, book, _Supplies(wasm), Settings(Reach(allow=("127.0.0.0/8",))))
        try:
            url = await programs.start_sessions()
            bench = Executor(executor, url, wasm)
            for _ in range(_WARM):
                await bench.run()
            costs = list[float]()
            for _ in range(given.rounds):
                began = time.process_time()
                for _ in range(given.runs):
                    await bench.run()
                costs.append((time.process_time() - began) / given.runs)
            later = list[float]()
            for _ in range(given.idle):
                await bench.idle()
                first = await bench.run()
                later.append(first - statistics.median([await bench.run() for _ in range(3)]))
        finally:
            await executor.drain(1)
            await store.close()
            programs.stop()
    shown = ", ".join(f"{1000 * each:.2f}" for each in costs)
    options.progress(f"processor time of the operator for a run: {shown} ms")
    return [
        Result(
            "processor time of the operator for a run with three calls", 1000 * statistics.median(costs), "ms", "<= 1"
        ),
        Result("the first run of an idle namespace, later than a warm one: p50", 1000 * percentile(later, 0.5), "ms"),
        Result("the same: worst", 1000 * max(later), "ms", "<= 150"),
    ]


class _Takeover(Rounds):
    """Two replicas; each namespace has one job, whose run is in flight when the leader ends."""

    def __init__(self, stage: Stage, client: Client, places: Sequence[str]) -> None:
        super().__init__(stage, client, len(places))
        self._places = places

    async def measured(self, number: int) -> tuple[float, float]:
        """Seconds until all runs were claimed anew, and until each has made its first call."""
        name = f"job-{number}"
        standby = await self._start()
        phases = [Phases(self._client, place) for place in self._places]
        await asyncio.gather(*(each.start() for each in phases))
        try:
            async with aiohttp.ClientSession(self._stage.sessions_url) as http:
                held = await hold(http)

                async def create(place: str) -> None:
                    job = fixtures.job(name, fixtures.WITH_SESSION, self._stage.sessions_url)
                    await fixtures.create(self._client, place, [job])

                await self._client.spread(create, self._places)
                waits = {"held": str(len(self._places)), "seconds": "120"}
                async with http.get(f"/control/rules/{held}", params=waits) as answer:
                    answer.raise_for_status()
                clock = time.time()  # the session service's clock too
                ended = time.monotonic()
                self._stage.signal(self._leader, signal.SIGTERM)
                claimed = max(await asyncio.gather(*(each.reached("Submitted/2", {name}) for each in phases)))
                await asyncio.gather(*(each.reached("Running", {name}) for each in phases))
                first = dict[str, float]()
                for entry in await journal(http):
                    if entry["attempt"] == 2 and entry["trigger"] == "Submit" and entry["time"] > clock:
                        first.setdefault(entry["job"], entry["time"])
                async with http.post(f"/control/rules/{held}/release", json={}) as answer:
                    answer.raise_for_status()
                async with http.delete(f"/control/rules/{held}") as answer:
                    await answer.read()
        finally:
            await asyncio.gather(*(each.close() for each in phases))
        self._leader = standby
        calls = sorted(first.values())[-1] - clock if len(first) >= len(self._places) else float("inf")
        return claimed - ended, calls


async def hold(http: aiohttp.ClientSession) -> str:
    """Hold the session of each first attempt."""
    rule = {"action": "hold", "when": "after", "method": "POST", "path": "/sessions", "attempt": 1}
    async with http.post("/control/rules", json=rule) as answer:
        answer.raise_for_status()
        return str((await answer.json())["id"])


async def journal(http: aiohttp.ClientSession) -> list[dict[str, Any]]:
    """All calls that the session service has seen."""
    async with http.get("/log") as answer:
        answer.raise_for_status()
        found = await answer.json()
    entries: list[dict[str, Any]] = found if isinstance(found, list) else found["entries"]
    return entries


async def places(client: Client, count: int, prefix: str) -> list[str]:
    """Namespaces with the shipped module and a policy."""
    found = [f"{prefix}-{number}" for number in range(count)]

    async def prepare(place: str) -> None:
        await fixtures.prepare(client, place)
        await fixtures.allow(client, place)

    await client.spread(prepare, found)
    return found


async def takeover(given: argparse.Namespace) -> list[Result]:
    """See above."""
    took = list[tuple[float, float]]()
    async with Stage("--lease-namespace=curation-system") as stage, Client(stage.control_plane.kubeconfig()) as client:
        busy = _Takeover(stage, client, await places(client, given.busy, "busy"))
        await busy.begin()
        for number in range(given.takeovers):
            took.append(await busy.measured(number))
            options.progress(f"claimed after {took[-1][0]:.2f} s, first calls after {took[-1][1]:.2f} s")
        await stage.stop_operator()
    claimed, called = zip(*took, strict=True)
    return [
        Result(f"SIGTERM with {given.busy} busy namespaces to all claims: worst", max(claimed), "s", "<= 2"),
        Result(f"SIGTERM with {given.busy} busy namespaces to the first call of each: worst", max(called), "s", "<= 4"),
    ]


class Container:
    """The workers' container: a supervisor at a socket, all of whose processes can be killed at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns once it answers."""
        command = (str(PROGRAM), "workers", "--socket", str(self.path))
        self._process = await asyncio.create_subprocess_exec(*command, start_new_session=True)
        while not await asyncio.to_thread(alive, self.path):  # noqa: ASYNC110 - it is another process's socket
            await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """What the kernel does to a container that has no memory left."""
        assert self._process is not None
        for pid in tree(self._process.pid):
            os.kill(pid, signal.SIGKILL)
        await self._process.wait()


async def lost(given: argparse.Namespace) -> list[Result]:
    """See above."""
    took = list[float]()
    with tempfile.TemporaryDirectory(prefix="curation-bench-") as folder:
        container = Container(Path(folder) / "workers.sock")
        await container.start()
        stage_options = ("--lease-namespace=curation-system", f"--workers-socket={container.path}")
        async with Stage(*stage_options) as stage, Client(stage.control_plane.kubeconfig()) as client:
            busy = await places(client, given.containers, "lost")
            await stage.start_operator()
            leading = stage.log_of(1)
            for number in range(given.losses):
                took.append(await _lost(stage, client, container, busy, f"job-{number}"))
                options.progress(f"all Running {took[-1]:.2f} s after the container was killed")
            kept = "the lease" not in leading.read_text().partition("working as ")[2]
            await stage.stop_operator()
        await container.kill()
    return [
        Result("container of the workers killed to all jobs Running: worst", max(took), "s", "<= 5"),
        Result("the lease was kept (1: yes)", float(kept), "", "1"),
    ]


async def _lost(stage: Stage, client: Client, container: Container, busy: Sequence[str], name: str) -> float:
    phases = [Phases(client, place) for place in busy]
    await asyncio.gather(*(each.start() for each in phases))
    try:
        async with aiohttp.ClientSession(stage.sessions_url) as http:
            held = await hold(http)
            for place in busy:
                await fixtures.create(client, place, [fixtures.job(name, fixtures.WITH_SESSION, stage.sessions_url)])
            waits = {"held": str(len(busy)), "seconds": "60"}
            async with http.get(f"/control/rules/{held}", params=waits) as answer:
                answer.raise_for_status()
            killed = time.monotonic()
            await container.kill()
            await container.start()
            running = max(await asyncio.gather(*(each.reached("Running", {name}) for each in phases)))
            async with http.post(f"/control/rules/{held}/release", json={}) as answer:
                answer.raise_for_status()
            async with http.delete(f"/control/rules/{held}") as answer:
                await answer.read()
    finally:
        await asyncio.gather(*(each.close() for each in phases))
    return running - killed


async def observed(given: argparse.Namespace) -> list[Result]:
    """See above."""
    longest = Observe().max_interval_seconds
    async with Stage("--lease-namespace=curation-system") as stage, Client(stage.control_plane.kubeconfig()) as client:
        found = await places(client, given.namespaces, "observed")
        await stage.start_operator()

        async def create(place: str) -> None:
            await fixtures.create(client, place, [fixtures.job("job", fixtures.WITH_SESSION, stage.sessions_url)])

        await client.spread(create, found)
        async with asyncio.timeout(1200):
            while (await stage.metrics()).get(_RUNNING, 0) < len(found):  # noqa: ASYNC110 - metrics are asked for
                await asyncio.sleep(1)
        options.progress("all are Running; their intervals grow to the longest")
        await asyncio.sleep(2 * longest)
        began, cpu, clock = time.monotonic(), stage.cpu(), time.time()
        await asyncio.sleep(given.seconds)
        seconds, used = time.monotonic() - began, stage.cpu()
        async with aiohttp.ClientSession(stage.sessions_url) as http:
            entries = await journal(http)
        await stage.stop_operator()
    seen: dict[str, list[float]] = defaultdict(list)
    for entry in entries:
        if entry["trigger"] == "Observe" and entry["time"] > clock - 2 * longest:
            seen[entry["job"]].append(entry["time"])
    gaps = [later - earlier for times in seen.values() for earlier, later in itertools.pairwise(sorted(times))]
    return [
        Result("namespaces whose job was observed", len(seen), "", str(len(found))),
        Result("longest time between two observations, of the interval", max(gaps) / longest, "", "<= 2"),
        Result("p50 of the same", percentile(gaps, 0.5) / longest, ""),
        Result("all our processes", (used["operator"] - cpu["operator"]) / seconds, "cores", "<= 1"),
        Result("the operator's process", (used["operator process"] - cpu["operator process"]) / seconds, "cores"),
    ]


PARTS: Final[dict[str, Callable[[argparse.Namespace], Awaitable[list[Result]]]]] = {
    "run": runs,
    "takeover": takeover,
    "lost": lost,
    "observed": observed,
}


def main() -> None:
    """The command line."""
    parser = options.parser(__doc__)
    parser.add_argument("--part", action="append", choices=PARTS, help="measure this alone")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of runs")
    parser.add_argument("--runs", type=int, default=200, help="runs of a round")
    parser.add_argument("--idle", type=int, default=20, help="times that the namespace is idle")
    parser.add_argument("--busy", type=int, default=64, help="busy namespaces of a takeover")
    parser.add_argument("--takeovers", type=int, default=3)
    parser.add_argument("--containers", type=int, default=8, help="namespaces that lose their workers at once")
    parser.add_argument("--losses", type=int, default=3)
    parser.add_argument("--namespaces", type=int, default=1000, help="namespaces that are observed")
    parser.add_argument("--seconds", type=float, default=180, help="for how long they are")
    given = parser.parse_args()

    async def measure() -> list[Result]:
        results = list[Result]()
        for name in given.part or PARTS:
            options.progress(f"{name}; load {os.getloadavg()[0]:.1f}")
            results += await PARTS[name](given)
        return results

    options.report(given, "walls", uvloop.run(measure()))


if __name__ == "__main__":
    main()
