"""The limits of a guest hold in a pod as they do in a worker, and what it dies of is told."""

import os
import signal
from dataclasses import replace

import pytest

from curation.execution.seam import Lost
from curation.lifecycle.outcome import Calls, Failed, FailureClass
from curation.wasm.limits import Limits
from tests.guests import hostile
from tests.guests.wat import Script
from tests.harness.processes import children
from tests.unit.execution.conformance import DONE, held, post
from tests.unit.execution.conftest import ended
from tests.unit.pods.rigs import PodRig
from tests.unit.workers.rigs import end_of


@pytest.mark.parametrize(
    ("limits", "wasm", "failed", "says"),
    [
        (Limits(cpu_seconds=0.2, wall_seconds=60), hostile.spins(), FailureClass.LIMIT_EXCEEDED, "cpuSeconds"),
        (Limits(cpu_seconds=60, wall_seconds=1), hostile.spins(), FailureClass.TIMEOUT, "wallSeconds"),
        (Limits(output_size=10), Script().ok({"action": "Completed"}), FailureClass.LIMIT_EXCEEDED, "outputSize"),
        (Limits(), Script().ends_with("unreachable"), FailureClass.TRAP, "unreachable"),
    ],
    ids=["processor", "wall", "output", "trap"],
)
async def test_a_limit_that_is_hit_is_named(
    rig: PodRig, limits: Limits, wasm: bytes, failed: FailureClass, says: str
) -> None:
    report = await rig.run(wasm, limits=limits)
    assert isinstance(report.result, Failed)
    assert report.result.failure_class is failed
    assert says in report.result.message


async def test_a_call_that_waits_for_longer_than_the_wall_limit_is_a_timeout(rig: PodRig) -> None:
    report = await ended(rig.start(held(rig).ok(DONE), limits=Limits(cpu_seconds=60, wall_seconds=1)))
    assert isinstance(report.result, Failed)
    assert report.result.failure_class is FailureClass.TIMEOUT
    assert report.calls == Calls(left=1, answered=0, allowed=1)


async def test_calls_over_the_limit_are_refused_in_the_pod(rig: PodRig) -> None:
    report = await rig.run(Script().call(post(rig, "/"), times=4).error({"message": "no"}), limits=Limits(http_calls=2))
    assert isinstance(report.result, Failed)
    assert report.result.failure_class is FailureClass.LIMIT_EXCEEDED
    assert rig.peer.count("/") == 2


async def test_a_guest_host_that_is_killed_is_a_run_of_which_its_calls_are_known(rig: PodRig) -> None:
    heard = rig.start(held(rig).ok(DONE))
    await rig.peer.reached("/hold")
    process = rig.pod(heard).process
    assert process is not None
    (guest_host,) = children(process.pid)
    os.kill(guest_host, signal.SIGKILL)
    end = await end_of(heard)
    assert isinstance(end, Lost)
    assert "signal 9" in end.cause
    assert end.calls == Calls(left=1, allowed=1)
    rig.executor.settled(heard.request.execution)
    assert await rig.pod(heard).exited() == 0, "that is settled too"
    rig.peer.go_on.set()


@pytest.mark.parametrize("over_limit", [True, False])
async def test_a_pod_that_is_gone_is_a_run_that_is_lost_for_its_reason(rig: PodRig, over_limit: bool) -> None:
    heard = rig.start(held(rig).ok(DONE))
    await rig.peer.reached("/hold")
    rig.pod(heard).kill()
    rig.executor.lose(heard.request.execution, "its pod was ended (OOMKilled)", over_limit=over_limit)
    end = await end_of(heard)
    assert end == Lost("its pod was ended (OOMKilled)", Calls(left=1, allowed=1), over_limit)
    rig.executor.lose(heard.request.execution, "again")
    rig.executor.lose("uid-9.g1.a1/Submit/1", "nobody knows it")
    assert heard.words[-1] == end
    rig.peer.go_on.set()


async def test_a_pod_that_is_gone_before_it_came_is_a_run_that_is_lost(rig: PodRig) -> None:
    rig.cluster.runs = False
    heard = rig.start(Script().ok(DONE))
    rig.executor.waits(heard.request.execution, "its pod waits for a node")
    rig.executor.lose(heard.request.execution, "its Job was deleted")
    end = await end_of(heard)
    assert isinstance(end, Lost)
    assert end.cause == "its Job was deleted"
    assert end.calls == Calls()
    assert "its pod waits for a node" in [getattr(word, "reason", "") for word in heard.words]


async def test_what_a_run_in_a_pod_takes_of_the_workers_memory_is_not_its_guests(rig: PodRig) -> None:
    heard = rig.start(held(rig).ok(DONE), limits=replace(Limits(), memory=1 << 30))
    await rig.peer.reached("/hold")
    assert rig.executor._account.used < 256 << 20
    rig.peer.go_on.set()
    await ended(heard)
