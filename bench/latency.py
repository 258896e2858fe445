"""How long a change takes to have its effect while jobs keep arriving.

Run: ``python -m bench.latency [--rate 30] [--seconds 10] [--json FILE] [--check]``. Three times, in seconds:
a job's creation to Running; an approval's update to its job's next attempt being shown; an edit of a job's template to
the last request of its old run at the session service (zero if none left after the edit was answered).
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import aiohttp

from bench import fixtures, options
from bench.client import JOBS_PATH, Client
from bench.phases import Phases
from bench.results import Result, percentile
from bench.stage import Stage
from curation.reconciler.approvals.making import MAX_PENDING
from tests.guests.wat import Script

OPEN = "arrivals"
CLOSED = "approvals"
CALLS_ON = "calls-on"
CALLS = 1000
_APPROVALS = "/apis/curation.dev/v1alpha1/namespaces/approvals/curationapprovals"


async def arrivals(stage: Stage, client: Client, rate: float, seconds: float) -> list[float]:
    """Creation to Running of jobs that arrive evenly."""
    path = JOBS_PATH.format(namespace=OPEN)
    phases = Phases(client, OPEN)
    await phases.start()
    created: dict[str, float] = {}

    async def create(name: str) -> None:
        created[name] = time.monotonic()
        await client.call("POST", path, fixtures.job(name, fixtures.WITH_SESSION, stage.sessions_url))

    try:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                group.create_task(create(f"arrival-{number}"))
        await phases.reached("Running", set(created))
        return [phases.first["Running"][name] - at for name, at in created.items()]
    finally:
        await phases.close()


async def approvals(stage: Stage, client: Client, count: int) -> list[float]:
    """An approval's update to the next attempt of its job. Each job waits for an approval of its own (its host's)."""
    waited: list[float] = []
    for first in range(0, count, MAX_PENDING):
        waited += await _approved(stage, client, range(first, min(count, first + MAX_PENDING)))
    return waited


async def _approved(stage: Stage, client: Client, numbers: range) -> list[float]:
    """The same of as many as may be Pending in a namespace."""
    phases = Phases(client, CLOSED)
    await phases.start()
    port = stage.sessions_url.rpartition(":")[2]
    # Loopback addresses of their own, so that each job misses another permission.
    hosts = {f"waiting-{n}": f"http://127.0.1.{n + 1}:{port}" for n in numbers}
    jobs = [fixtures.job(name, fixtures.WITH_SESSION, url) for name, url in hosts.items()]
    try:
        await fixtures.create(client, CLOSED, jobs)
        await phases.reached("AwaitingApproval", set(hosts))
        await _until_all(client, numbers.stop)
        jobs_now = (await client.call("GET", JOBS_PATH.format(namespace=CLOSED)))["items"]
        waited = []
        for item in (item for item in jobs_now if item["metadata"]["name"] in hosts):
            name, approval = item["metadata"]["name"], item["status"]["approval"]["name"]
            expires = datetime.now(UTC) + timedelta(hours=1)
            decision = {"decision": "Approved", "scope": "Host", "expiresAt": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}
            began = time.monotonic()
            await client.call("PATCH", f"{_APPROVALS}/{approval}", {"spec": decision})
            await phases.reached("Submitted/2", {name})
            waited.append(phases.first["Submitted/2"][name] - began)
        return waited
    finally:
        await phases.close()


async def _until_all(client: Client, count: int) -> None:
    """Wait until there are so many approvals, the decided ones included."""
    async with asyncio.timeout(60):
        while True:
            if len((await client.call("GET", _APPROVALS))["items"]) >= count:
                return
            await asyncio.sleep(0.02)


async def edits(stage: Stage, client: Client, count: int) -> list[float]:
    """An edit's answer to the old run's last request. Each run is held in its first call, and has many more to make.

    So what is measured is how long the fence took to die, not how soon the run had nothing left to send.
    """
    path = JOBS_PATH.format(namespace=OPEN)
    await fixtures.add_module(client, OPEN, CALLS_ON, _calls_on(stage.sessions_url), httpCalls=CALLS)
    last: list[float] = []
    async with aiohttp.ClientSession(stage.sessions_url) as http:
        for number in range(count):
            name = f"edited-{number}"
            rule = {"action": "hold", "method": "GET", "path": "/sessions", "times": 1}
            async with http.post("/control/rules", json=rule) as answer:
                held = (await answer.json())["id"]
            job = await client.call("POST", path, fixtures.job(name, CALLS_ON, stage.sessions_url))
            async with http.get(f"/control/rules/{held}", params={"held": "1", "seconds": "30"}) as answer:
                answer.raise_for_status()
            await client.call("PATCH", f"{path}/{name}", {"spec": {"moduleRef": {"name": fixtures.WITHOUT_SESSION}}})
            edited = time.time()
            # The answer comes at once: what the old run sends now left before its fence had seen the edit.
            async with http.delete(f"/control/rules/{held}") as answer:
                answer.raise_for_status()
            await _ended(client, f"{path}/{name}")
            async with http.get("/log", params={"run": f"{job['metadata']['uid']}.g1.a1"}) as answer:
                calls = await answer.json()
            assert len(calls) < CALLS, "the run ended by itself"
            last.append(max(0.0, *(call["time"] - edited for call in calls)))
    return last


def _calls_on(url: str) -> bytes:
    """A guest that makes one call after another, as many as a module may."""
    script = Script()
    script.on("Cancel", script.returning({"action": "Cancelled"}))
    return script.call({"method": "GET", "url": f"{url}/sessions"}, times=CALLS).ok(
        {"action": "Completed", "output": {}}
    )


async def _ended(client: Client, path: str) -> None:
    """Wait until the new run is over and the old one is cleaned, which it is only after its end."""
    async with asyncio.timeout(60):
        while True:
            status = (await client.call("GET", path)).get("status") or {}
            if status.get("phase") == "Completed" and not status.get("abandonedRuns"):
                return
            await asyncio.sleep(0.05)


async def measure(rate: float, seconds: float, count: int) -> list[Result]:
    """Run it."""
    async with Stage() as stage, Client(stage.control_plane.kubeconfig()) as client:
        for namespace in (OPEN, CLOSED):
            await fixtures.prepare(client, namespace)
        await fixtures.allow(client, OPEN)
        await stage.start_operator()
        found = {}
        for name, work in (
            (f"create to Running at {rate:g} a second", arrivals(stage, client, rate, seconds)),
            ("approve to attempt running", approvals(stage, client, count)),
            ("edit to the old run's last request", edits(stage, client, count)),
        ):
            found[name] = await work
            options.progress(f"{name}: {len(found[name])} samples")
        await stage.stop_operator()
    goals = {"create": ("<= 0.1", "<= 0.5"), "approve": ("", "<= 0.3"), "edit": ("", "<= 0.3")}
    results = []
    for name, times in found.items():
        for share, goal in zip((0.5, 0.99), goals[name.split()[0]], strict=True):
            results.append(Result(f"{name}: p{share * 100:g}", percentile(times, share), "s", goal))
    return results


def main() -> None:
    """The command line."""
    parser = options.parser(__doc__)
    parser.add_argument("--rate", type=float, default=30, help="arrivals a second")
    parser.add_argument("--seconds", type=float, default=10, help="how long they arrive")
    parser.add_argument("--samples", type=int, default=50, help="approvals and edits")
    given = parser.parse_args()
    options.report(given, "latency", asyncio.run(measure(given.rate, given.seconds, given.samples)))


if __name__ == "__main__":
    main()
