"""How soon the last request of a run leaves after its end was asked for: a guest beside its worker, and one in a pod.

Run: ``python -m bench.stops [--rounds 20] [--json FILE]``. In turns, a run of either kind makes one call after another,
and in the midst of them its job is suspended, or the policy that permits its calls is deleted. The time is that from
the sending of that request to the arrival of the run's last call at the service; the calls are those that arrived after
the API server had answered. The Job controller is the real one, and the guest's pod is a process of this machine.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median
from typing import Final

from aiohttp import web

from bench import fixtures, options
from bench.client import JOBS_PATH, Client
from bench.guest_pods import Node, flags, install
from bench.phases import Phases
from bench.results import Result
from bench.stage import Stage
from bench.throughput import NAMESPACE
from tests.guests.wat import Script

CALLS: Final = 1000
"""As many as a module may make."""
BEFORE: Final = 40
"""Of them, until the change."""
WARM: Final = 2
KINDS: Final[dict[str, dict[str, object]]] = {"beside its worker": {}, "in a pod": {"executor": {"type": "Job"}}}
WAYS: Final = {"suspended": "Queued", "permission withdrawn": "Completed"}
"""And the phase in which its job is after that: the guest minds no denial."""
_MODULE: Final = "calls"
_JOBS: Final = JOBS_PATH.format(namespace=NAMESPACE)
_POLICIES: Final = f"{fixtures.GROUP}/{NAMESPACE}/curationpolicies"
_WAIT_SECONDS: Final = 120.0


class Service:
    """Answers at once, and notes when each call has come, by the monotonic clock."""

    def __init__(self) -> None:
        self.calls: list[float] = []
        self._midway = asyncio.Event()
        self.url = ""

    async def answer(self, _: web.Request) -> web.Response:
        """One call."""
        self.calls.append(time.monotonic())
        if len(self.calls) == BEFORE:
            self._midway.set()
        return web.Response(text="{}")

    def begin(self) -> None:
        """A run is to come."""
        self.calls = []
        self._midway.clear()

    async def midway(self) -> None:
        """Wait until the run is in the midst of its calls."""
        await asyncio.wait_for(self._midway.wait(), _WAIT_SECONDS)


@asynccontextmanager
async def served() -> AsyncIterator[Service]:
    """A service on a free port."""
    service, app = Service(), web.Application()
    app.router.add_get("/", service.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        service.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        yield service
    finally:
        await runner.cleanup()


async def turn(client: Client, phases: Phases, service: Service, name: str, kind: str, way: str) -> tuple[float, int]:
    """One run: the seconds, and the calls that came after the answer."""
    policy = {"apiVersion": fixtures.API_VERSION, "kind": "CurationPolicy", "metadata": {"name": name}}
    await client.call("POST", _POLICIES, {**policy, "spec": {"cedar": fixtures.POLICY}})
    service.begin()
    job = fixtures.job(name, _MODULE, service.url, **KINDS[kind])
    await client.call("POST", _JOBS, job)
    await service.midway()
    asked = time.monotonic()
    if way == "suspended":
        await client.call("PATCH", f"{_JOBS}/{name}", {"spec": {"suspend": True}})
    else:
        await client.call("DELETE", f"{_POLICIES}/{name}")
    answered = time.monotonic()
    async with asyncio.timeout(_WAIT_SECONDS):
        while phases.now[name] != WAYS[way]:  # noqa: ASYNC110 - a watch that others follow
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.5)  # a call that should not have left would come
    calls = list(service.calls)
    if len(calls) == CALLS:
        raise RuntimeError(f"{name} had made all its calls before it was {way}")
    await client.call("DELETE", f"{_JOBS}/{name}")
    if way == "suspended":
        await client.call("DELETE", f"{_POLICIES}/{name}")
    return calls[-1] - asked, sum(call > answered for call in calls)


async def measure(rounds: int) -> list[Result]:
    """All kinds and ways, in turns."""
    found: dict[tuple[str, str], list[tuple[float, int]]] = {(kind, way): [] for way in WAYS for kind in KINDS}
    async with (
        Stage(*flags(), controllers=("job-controller",)) as stage,
        Client(stage.control_plane.kubeconfig()) as client,
        served() as service,
    ):
        await install(client)
        await fixtures.prepare(client, NAMESPACE)
        guest = Script()
        guest.on("Cancel", guest.returning({"action": "Cancelled"}))
        guest.call({"method": "GET", "url": service.url}, times=CALLS)
        answer = guest.ok({"action": "Completed", "output": {}})
        await fixtures.add_module(client, NAMESPACE, _MODULE, answer, httpCalls=CALLS)
        await stage.start_operator()
        phases = Phases(client, NAMESPACE)
        await phases.start()
        try:
            async with Node(stage.control_plane.connection, 4):
                for number in range(WARM + rounds):
                    for index, (kind, way) in enumerate(found):
                        took = await turn(client, phases, service, f"run-{number}-{index}", kind, way)
                        if number >= WARM:
                            found[kind, way].append(took)
                    options.progress(f"round {number + 1 - WARM}" if number >= WARM else "warm")
        finally:
            await phases.close()
    results = list[Result]()
    for (kind, way), turns in found.items():
        seconds, late = [each[0] for each in turns], [each[1] for each in turns]
        results += [
            Result(f"{way}, {kind}: to the last request, median", 1000 * median(seconds), "ms"),
            Result(f"{way}, {kind}: longest", 1000 * max(seconds), "ms"),
            Result(f"{way}, {kind}: requests after the answer, median", median(late), ""),
        ]
    return results


def main() -> None:
    """The command line."""
    parser = options.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    options.report(given, f"{given.rounds} rounds", asyncio.run(measure(given.rounds)))


if __name__ == "__main__":
    main()
