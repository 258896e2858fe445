"""SIGKILL of the operator at every write of a job and at every call of its runs, whatever they are, one after another;
and of its workers and checkers alone at every call.

A story is what people do to a job. It is run again and again, each time with a new job, and each time the operator is
killed one point later: in the first write of that job, the second, and so on, until the story ends before the point
is reached. The write, or the call, has not arrived, or it was carried out and its answer has not. The next operator
finds what there is, and what was under way arrives while it works. Each story has the same end wherever it was broken.
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from testing.operator_process import OperatorProcess
from testing.sessions.faults import Rule
from tests.faults.proxy import UPDATE, FaultProxy, Predicate, ProxyFault, held_answer, held_request
from tests.harness import manifests
from tests.harness.processes import kill_guest_hosts, kill_workers
from tests.harness.world import JOBS, SECONDS, World

WALL_SECONDS = 8
NO_CONFIGURE = manifests.PERMIT_LOCAL.removesuffix(";") + ' unless { context.path like "*/configure" };'
RETRY = {"limit": 5, "initialDelaySeconds": 1, "maxDelaySeconds": 1}
MOST = 60
_POLL_SECONDS = 0.05


async def until_found(world: World, plural: str, name: str) -> None:
    """Wait until an object is there."""
    deadline = time.monotonic() + SECONDS
    while await world.cluster.find(plural, name) is None:
        assert time.monotonic() < deadline, f"there is no {plural} {name}\n{world.picture()}"
        await asyncio.sleep(_POLL_SECONDS)


async def until_cleaned(world: World, name: str) -> None:
    """Wait until no earlier run of the job is left to be cleaned."""
    await world.until(lambda: not world.status(name).get("abandonedRuns"), "the earlier runs are cleaned")


async def approved_and_completed(world: World, name: str) -> None:
    """Denied in its last call, approved, running, completed, deleted after its TTL."""
    await world.until_phase("AwaitingApproval", name)
    approval = world.status(name)["approval"]["name"]
    await until_found(world, "curationapprovals", approval)
    await world.cluster.patch("curationapprovals", approval, {"spec": {"decision": "Approved", "scope": "Host"}})
    await world.until_phase("Running", name)
    world.service.complete(world.status(name)["session"]["id"], {"done": True})
    await world.until_phase("Completed", name, output={"done": True})
    await until_cleaned(world, name)
    await world.edit(name, ttlSecondsAfterFinished=0)
    await world.until_gone(name)


async def retried_and_suspended(world: World, name: str) -> None:
    """Fails in its first attempt, is retried, suspended, resumed, and run again with another input."""
    await world.until_phase("Running", name)
    await until_cleaned(world, name)
    await world.edit(name, suspend=True)
    await world.until_phase("Queued", name, reason="Suspended")
    await until_cleaned(world, name)
    await world.edit(name, suspend=False)
    await world.until_phase("Running", name)
    (job,) = await world.edit(name, input={"message": "something else"})
    generation = job["metadata"]["generation"]
    await world.until(
        lambda: world.status(name)["run"]["generation"] == generation and world.status(name)["phase"] == "Running",
        "the new input runs",
    )
    await until_cleaned(world, name)


async def timed_out_and_deleted(world: World, name: str) -> None:
    """Running for too long, cancelled for it, asked for again, and deleted while it runs."""
    await world.until_phase("Running", name)
    await world.edit(name, timeouts={"runningSeconds": 1})
    await world.until_phase("Failed", name, reason="DeadlineExceeded")
    await until_cleaned(world, name)
    await world.edit(name, timeouts={"runningSeconds": None}, rerun="1")
    await world.until_phase("Running", name)
    await world.cluster.delete(JOBS, name)
    await world.until_gone(name)


class Story(NamedTuple):
    """What people do to a job, and the points that there are at the least."""

    run: Callable[[World, str], Awaitable[None]]
    writes: int
    calls: int
    policy: str = manifests.PERMIT_LOCAL


STORIES = {
    "approved and completed": Story(approved_and_completed, writes=9, calls=7, policy=NO_CONFIGURE),
    "retried and suspended": Story(retried_and_suspended, writes=10, calls=12),
    "timed out and deleted": Story(timed_out_and_deleted, writes=7, calls=8),
}


class Point:
    """Where the operator is killed: in the so manieth write of a job, or other request, or call of its runs."""

    def __init__(self, held: ProxyFault | Rule) -> None:
        self._held = held

    @classmethod
    def in_write(cls, proxy: FaultProxy, job: str, number: int, where: str) -> "Point":
        """Writes of the job, deletions among them, and the creation of approvals."""

        def counts(method: str, path: str) -> bool:
            of_job = method in (*UPDATE, "DELETE") and path.partition("?")[0].removesuffix("/status").endswith(
                f"/{job}"
            )
            return of_job or (method == "POST" and "/curationapprovals" in path)

        return cls.in_request(proxy, counts, number, where)

    @classmethod
    def in_request(cls, proxy: FaultProxy, counts: Predicate, number: int, where: str) -> "Point":
        """The so manieth of the requests that count."""
        count = itertools.count(1)
        fault = proxy.inject(held_request() if where == "request" else held_answer())
        fault.matches = lambda method, path: counts(method, path) and next(count) == number
        return cls(fault)

    @classmethod
    def in_call(cls, world: World, uid: str, number: int, when: Any) -> "Point":
        """Calls of the job's runs, of any trigger."""
        if number > 1:
            # A call follows one rule: these take what comes before, and change nothing.
            world.service.add_rule("delay", seconds=0.001, times=number - 1, job=uid)
        return cls(world.service.add_rule("hold", when, times=1, job=uid))

    @property
    def is_reached(self) -> bool:
        """Whether there was such a write or call."""
        return self._held.hits > 0

    async def reached(self, world: World) -> None:
        """Wait until the write or the call is held."""
        if isinstance(self._held, ProxyFault):
            await self._held.reached.wait()
            return
        held = self._held
        await world.service.wait_until(lambda: held.held > 0, seconds=3600)

    def release(self) -> None:
        """What is held goes on; nothing more is held."""
        self._held.release()


async def tell_broken(
    world: World,
    story: Story,
    arm: Callable[[str, str, int], Point],
    kubeconfig: Path,
    *,
    kill: Callable[[int], None] | None = None,
) -> int:
    """Run a story until no point of it is left; how many there were. The operator is killed, or what `kill` kills of
    its children.
    """
    await world.cluster.create(manifests.policy(story.policy))
    operator = await world.start_operator(kubeconfig=kubeconfig)

    async def kill_at(point: Point, operator: OperatorProcess) -> OperatorProcess:
        await point.reached(world)
        if kill is not None:
            assert operator.pid is not None
            await asyncio.to_thread(kill, operator.pid)
            point.release()
            return operator
        await operator.kill()
        next_operator = await world.start_operator(kubeconfig=kubeconfig)
        point.release()  # what was under way when the other died arrives after all
        return next_operator

    for number in range(1, MOST):
        name = f"job-{number}"
        # A module of its own: an approval for one job is not one for the next.
        await world.cluster.create(manifests.module(name, wall_seconds=WALL_SECONDS))
        job = await world.create_job(
            name,
            moduleRef={"name": name},
            suspend=True,
            retry=RETRY,
            observeIntervalSeconds=1,
            onDenied="AwaitApproval",
        )
        await world.until_phase("Queued", name, reason="Suspended")
        uid = job["metadata"]["uid"]
        if story.run is retried_and_suspended:
            world.service.add_rule("fail", path="/sessions/*/configure", job=uid, attempt=1, times=1)
        point = arm(name, uid, number)
        killer = asyncio.create_task(kill_at(point, operator))
        await world.edit(name, suspend=False)
        await story.run(world, name)
        if not point.is_reached:
            killer.cancel()
            await asyncio.gather(killer, return_exceptions=True)
            point.release()
            break
        operator = await killer
    await world.settled()
    calls = [(entry.caller.run_id, entry.idempotency_key) for entry in world.service.log() if entry.idempotency_key]
    assert len(calls) == len(set(calls)), "a run was executed twice"
    await world.stop_operators()
    return number - 1


async def tell_broken_in_requests(
    world: World, story: Story, arm: Callable[[FaultProxy, str, int], Point], folder: Path
) -> int:
    """The same, where the points are requests to the API server of the job with this name."""
    async with FaultProxy(world.cluster.connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)) as proxy:
        return await tell_broken(
            world, story, lambda name, uid, number: arm(proxy, name, number), proxy.kubeconfig(folder)
        )


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("where", ["request", "answer"])
async def test_killed_in_every_write_of_a_job(world: World, tmp_path: Path, story: str, where: str) -> None:
    points = await tell_broken_in_requests(
        world, STORIES[story], lambda proxy, name, number: Point.in_write(proxy, name, number, where), tmp_path
    )
    assert points >= STORIES[story].writes


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "kill", [None, kill_workers, kill_guest_hosts], ids=["the operator", "its workers", "its guest hosts"]
)
async def test_killed_in_every_call_of_a_job(
    world: World, story: str, when: str, kill: Callable[[int], None] | None
) -> None:
    connection = world.cluster.connection
    points = await tell_broken(
        world,
        STORIES[story],
        lambda name, uid, number: Point.in_call(world, uid, number, when),
        connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS),
        kill=kill,
    )
    assert points >= STORIES[story].calls
