"""Workers in another container: started by a supervisor at a Unix socket, which may come late, end, and come back."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from curation.execution.seam import Lost
from curation.isolation.nursery import Nursery
from curation.isolation.supervisor import alive
from curation.lifecycle.outcome import Calls, Completed
from curation.workers.targets import TEMPLATE
from testing.operator_process import PROGRAM
from tests.guests.wat import Script
from tests.unit.execution.conftest import GENEROUS, NAMESPACE, Rig, ended, until
from tests.unit.execution.conftest import rig as in_process
from tests.unit.workers.rigs import descriptors, end_of, environment, guest_host, parent, with_workers, worker

__all__ = ["in_process"]
DONE = {"action": "Completed", "output": {}}


class Supervisor:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [PROGRAM, "workers", "--socket", str(self.path)], env={"PATH": os.environ["PATH"], "SECRET": "of-the-pod"}
        )

    async def started(self) -> None:
        self.start()
        async with asyncio.timeout(GENEROUS):
            while not await asyncio.to_thread(alive, self.path):  # noqa: ASYNC110 - another process's socket
                await asyncio.sleep(0.05)

    def check(self) -> int:
        return subprocess.call([PROGRAM, "workers", "--socket", str(self.path), "--check"])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def end(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        process.send_signal(number)
        return process.wait(GENEROUS)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path / "workers.sock")
    yield made
    made.end()


def own_descriptors() -> Iterator[str]:
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of the listing itself is gone
            yield str(each.readlink())


def hold(rig: Rig) -> Script:
    return Script().call({"method": "POST", "url": rig.peer.url("/hold"), "body": "{}"})


async def test_workers_of_a_supervisor_execute_and_have_nothing_of_its_environment(
    in_process: Rig, supervisor: Supervisor
) -> None:
    await supervisor.started()
    async with with_workers(in_process, nursery=Nursery(TEMPLATE, supervisor=supervisor.path)) as rig:
        heard = rig.start(hold(rig).ok(DONE))
        await rig.peer.reached("/hold")
        pid, guests = await worker(rig), await guest_host(rig)
        for each in (pid, parent(pid), guests, parent(guests), supervisor.pid):
            assert b"SECRET" not in environment(each)
        assert parent(pid) != parent(guests)
        assert parent(parent(pid)) == parent(parent(guests)) == supervisor.pid
        module = rig.modules.get(heard.request.module.digest)
        assert module is not None
        opened = {str(module.artifact.path), "/memfd:module (deleted)"} & descriptors(guests)
        assert len(opened) == 1, "the file itself, or a copy of its own where it may open none"
        assert not [name for name in own_descriptors() if name.startswith("/memfd:artifact")], "none of the operator's"
        rig.peer.go_on.set()
        assert (await ended(heard)).result == Completed({})
    assert supervisor.end() == 0
    await until(lambda: not Path(f"/proc/{pid}").exists())


async def test_what_is_executed_in_a_container_that_is_killed_is_lost_and_goes_on_in_the_next(
    in_process: Rig, supervisor: Supervisor
) -> None:
    await supervisor.started()
    async with with_workers(in_process, nursery=Nursery(TEMPLATE, supervisor=supervisor.path)) as rig:
        heard = rig.start(hold(rig).ok(DONE))
        await rig.peer.reached("/hold")
        supervisor.end(signal.SIGKILL)
        end = await end_of(heard)
        assert isinstance(end, Lost)
        assert end.calls == Calls(left=1, allowed=1)
        waiting = rig.start(Script().ok(DONE))
        await until(lambda: sum("no worker can be started" in str(word) for word in waiting.words) > 4)
        deaths, tried_again_at = rig.executor._deaths[NAMESPACE]
        assert deaths == 0, "it did not die of its own"
        assert tried_again_at - asyncio.get_running_loop().time() < 1, "however long the container is away"
        await supervisor.started()
        assert (await ended(waiting)).result == Completed({})


async def test_an_execution_waits_for_a_supervisor_that_is_still_to_come(
    in_process: Rig, supervisor: Supervisor
) -> None:
    async with with_workers(in_process, nursery=Nursery(TEMPLATE, supervisor=supervisor.path)) as rig:
        heard = rig.start(Script().ok(DONE))
        await until(lambda: any("no worker can be started" in str(word) for word in heard.words))
        await supervisor.started()
        assert (await ended(heard)).result == Completed({})


async def test_a_stop_ends_an_execution_that_waits_for_a_supervisor(in_process: Rig, supervisor: Supervisor) -> None:
    async with with_workers(in_process, nursery=Nursery(TEMPLATE, supervisor=supervisor.path)) as rig:
        heard = rig.start(Script().ok(DONE))
        await until(lambda: any("no worker can be started" in str(word) for word in heard.words))
        heard.stop("suspended")
        assert (await ended(heard)).dead


async def test_the_check_of_the_command_says_whether_workers_are_served(supervisor: Supervisor) -> None:
    assert await asyncio.to_thread(supervisor.check) == 1
    await supervisor.started()
    assert await asyncio.to_thread(supervisor.check) == 0
