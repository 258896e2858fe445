"""Stories of a worker that is killed at a frame that only runs in pods have, and of what follows."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from curation.execution.seam import Lost
from curation.isolation.frames import Frame
from curation.lifecycle.outcome import Calls, Completed
from curation.workers import frames
from curation.workers.targets import TEMPLATE
from tests.guests.wat import Script
from tests.peers.points import at
from tests.unit.execution.conformance import DONE, held, post
from tests.unit.execution.conftest import GENEROUS, Rig, ended, until
from tests.unit.execution.conftest import rig as in_process
from tests.unit.pods.rigs import Cluster, PodRig, cluster, operator
from tests.unit.workers.frame_stories import Pointed
from tests.unit.workers.rigs import end_of

__all__ = ["in_process"]


@asynccontextmanager
async def killed_at(around: Rig, pods: Cluster, kind: type[Frame], when: str) -> AsyncIterator[PodRig]:
    """An operator whose first worker is killed there."""
    nursery = Pointed(TEMPLATE)
    async with operator(around, pods, nursery=nursery) as rig:
        await until(lambda: rig.door.pid > 0)  # else that process would be the first one
        nursery.next = at("worker", kind.NAME, when, signal.SIGKILL)
        yield rig
        assert nursery.next is None


async def joined(in_process: Rig, tmp_path: Path, when: str) -> None:
    async with cluster(tmp_path) as pods, killed_at(in_process, pods, frames.Joined, when) as rig:
        report = await ended(rig.start(Script().call(post(rig, "/"), times=2).ok(DONE)))
        assert report.result == Completed({})
        assert report.calls == Calls(left=2, answered=2, allowed=2)
        assert rig.peer.count("/") == 2


async def told_of_a_loss(in_process: Rig, tmp_path: Path, when: str) -> None:
    async with cluster(tmp_path) as pods, killed_at(in_process, pods, frames.Lose, when) as rig:
        heard = rig.start(held(rig).ok(DONE))
        await rig.peer.reached("/hold")
        rig.pod(heard).kill()
        rig.executor.lose(heard.request.execution, "its pod was evicted", over_limit=True)
        end = await end_of(heard)
        assert isinstance(end, Lost)
        assert end.cause == "its pod was evicted"
        assert (end.calls, end.over_limit) == (Calls(left=1, allowed=1), True)
        rig.peer.go_on.set()


async def parted(in_process: Rig, tmp_path: Path, when: str) -> None:
    async with cluster(tmp_path) as pods:
        async with killed_at(in_process, pods, frames.Parted, when) as rig:
            heard = rig.start(held(rig).call(post(rig, "/more")).ok(DONE))
            await rig.peer.reached("/hold")
            draining = asyncio.create_task(rig.executor.drain(GENEROUS))
            rig.peer.go_on.set()
            await draining
        async with operator(in_process, pods) as rig:
            assert await rig.resumed(heard) == Completed({})
            assert [rig.peer.count(path) for path in ("/hold", "/more")] == [1, 1]
