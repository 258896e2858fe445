"""The stories of `test_killed_at_every_point`, with guests in pods: the same end whatever is killed, and wherever: the
operator, its workers, the door, the pods.

The writes are the job's, and those that only runs in pods have: the Job that is made and removed, the pod that is
bound, the review of its token.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from tests.faults.proxy import UPDATE
from tests.gauntlet.test_killed_at_every_point import STORIES, Point, tell_broken, tell_broken_in_requests
from tests.harness.pods import Pods, PodWorld
from tests.harness.processes import kill_listener, kill_workers
from tests.harness.world import SECONDS


def kill_pods(pods: Pods) -> Callable[[int], None]:
    """Kill whatever runs in pods; what is killed says no more than that it ended."""

    def kill(_: int) -> None:
        for process in tuple(pods.kubelet.processes.values()):
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    return kill


def kill_door(pods: Pods) -> Callable[[int], None]:
    """Kill the process that ends the pods' connections."""
    return lambda operator: kill_listener(operator, pods.world.door_port)


async def until_all_is_removed(pods: Pods) -> None:
    """The last operator may have been stopped before it had removed the last Job, and then the next one does."""
    await pods.world.start_operator()
    await pods.until_no_jobs(SECONDS)


KILLS: dict[str, Callable[[Pods], Callable[[int], None] | None]] = {
    "the operator": lambda _: None,
    "its workers": lambda _: kill_workers,
    "its door": kill_door,
    "the pods": kill_pods,
}


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("where", ["request", "answer"])
async def test_killed_in_every_write_of_a_job(
    world: PodWorld, pods: Pods, tmp_path: Path, story: str, where: str
) -> None:
    points = await tell_broken_in_requests(
        world, STORIES[story], lambda proxy, name, number: Point.in_write(proxy, name, number, where), tmp_path
    )
    assert points > STORIES[story].writes, "a pod is bound by a write too"
    await until_all_is_removed(pods)


def about_pods(method: str, path: str) -> bool:
    """Whether a request makes or removes the Job of a run, or has a pod's token reviewed."""
    of_job = method in ("POST", *UPDATE, "DELETE") and "/apis/batch/v1/" in path
    return of_job or (method == "POST" and "/tokenreviews" in path)


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("where", ["request", "answer"])
async def test_killed_in_every_request_about_its_pods(
    world: PodWorld, pods: Pods, tmp_path: Path, story: str, where: str
) -> None:
    points = await tell_broken_in_requests(
        world, STORIES[story], lambda proxy, _, number: Point.in_request(proxy, about_pods, number, where), tmp_path
    )
    assert points >= 3, "a Job is made, a token reviewed, the Job removed"
    await until_all_is_removed(pods)


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kills", KILLS)
async def test_killed_in_every_call_of_a_job(world: PodWorld, pods: Pods, story: str, when: str, kills: str) -> None:
    connection = world.cluster.connection
    points = await tell_broken(
        world,
        STORIES[story],
        lambda name, uid, number: Point.in_call(pods.world, uid, number, when),
        connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS),
        kill=KILLS[kills](pods),
    )
    assert points >= STORIES[story].calls
    await until_all_is_removed(pods)
