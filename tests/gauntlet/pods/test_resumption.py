"""More of what comes in between when a run in a pod goes on: see `tests/unit/pods/test_resumption.py`."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from curation.execution.origin_credentials import OriginCredential
from curation.execution.seam import ExecutionRequest, Lost, Unsupplied, Waiting
from curation.lifecycle.outcome import Calls, Completed
from tests.guests.wat import Script
from tests.unit.execution.conformance import DONE, held, post
from tests.unit.execution.conftest import NAMESPACE, Rig, ended, until
from tests.unit.pods.rigs import Cluster, cluster, operator
from tests.unit.workers.rigs import end_of, send


@pytest.fixture
async def pods(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path) as made:
        yield made


async def test_a_run_whose_workers_die_again_and_again_is_lost(in_process: Rig, pods: Cluster) -> None:
    async with operator(in_process, pods) as rig:
        script = Script()
        for number in range(5):
            script.call(post(rig, f"/hold/{number}"))
        heard = rig.start(script.ok(DONE))
        for number in range(4):
            await rig.peer.reached(f"/hold/{number}")
            await send(rig, signal.SIGKILL)
        end = await end_of(heard)
        assert isinstance(end, Lost)
        assert end.calls is not None
        assert end.calls.left == 4
        assert rig.pod(heard).process is not None
        rig.executor.settled(heard.request.execution)
        assert rig.pod(heard).ended
        for event in rig.peer.may_go_on.values():
            event.set()


async def test_the_stop_of_an_operator_waits_for_a_call_on_the_wire_and_hands_its_answer_over(
    in_process: Rig, pods: Cluster
) -> None:
    async with operator(in_process, pods) as rig:
        heard = rig.start(held(rig).call(post(rig, "/more")).ok(DONE))
        await rig.peer.reached("/hold")
        draining = asyncio.create_task(rig.executor.drain(60))
        await asyncio.sleep(0)
        assert rig.executor.workers.get(NAMESPACE)
        rig.peer.go_on.set()
        await draining
    async with operator(in_process, pods) as rig:
        report = await ended(rig.attach(heard))
        assert report.result == Completed({})
        assert report.calls.left == 2, "the second one may have been made before the worker heard of the stop"
        assert [rig.peer.count(path) for path in ("/hold", "/more")] == [1, 1]


async def test_a_pod_that_no_operator_has_started_yet_is_started_by_the_next_one(
    in_process: Rig, pods: Cluster
) -> None:
    pods.runs = False
    async with operator(in_process, pods) as rig:
        heard = rig.start(Script().call(post(rig, "/")).ok(DONE))
        await until(lambda: heard.request.execution in pods.pods)
    pods.runs = True
    async with operator(in_process, pods) as rig:
        again = rig.attach(heard)
        pods.make(heard.request.execution)
        report = await ended(again)
        assert (report.result, report.calls) == (Completed({}), Calls(left=1, answered=1, allowed=1))


async def test_an_answer_that_came_while_its_pod_was_away_is_kept_for_it(in_process: Rig, pods: Cluster) -> None:
    async with operator(in_process, pods) as rig:
        heard = rig.start(held(rig).ok(DONE))
        await rig.peer.reached("/hold")
        stopped = rig.pod(heard).process
        assert stopped is not None
        stopped.send_signal(signal.SIGSTOP)
        os.kill(rig.door.pid, signal.SIGKILL)
        rig.peer.go_on.set()
        await until(lambda: ("allowed", "200") in rig.notes.calls)
        stopped.send_signal(signal.SIGCONT)
        assert (await ended(heard)).calls == Calls(left=1, answered=1, allowed=1)
        assert rig.peer.count("/hold") == 1


async def test_a_pod_whose_run_can_never_be_prepared_is_lost_and_may_be_stopped_before(
    in_process: Rig, pods: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operator(in_process, pods, grace=0) as rig:
        credential = OriginCredential("http", "127.0.0.1", rig.peer.port, "x-key", "a-secret")
        heard = rig.start(held(rig).ok(DONE), credentials=(credential,))
        await rig.peer.reached("/hold")
    absent = False

    async def fails(request: ExecutionRequest) -> tuple[OriginCredential, ...]:
        raise Unsupplied("there is no such Secret", absent=absent)

    monkeypatch.setattr(in_process.stock, "credentials", fails)
    async with operator(in_process, pods) as rig:
        again = rig.attach(heard)
        await until(lambda: any(isinstance(word, Waiting) and "Secret" in word.reason for word in again.words))
        again.stop("the template changed")
        end = await end_of(again)
        assert isinstance(end, Lost)
    absent = True
    async with operator(in_process, pods) as rig:
        end = await end_of(rig.attach(heard))
        assert isinstance(end, Lost)
        assert end.calls is None
