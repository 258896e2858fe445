"""A run whose guest is in a pod goes on when its worker, its door or its operator ends, and no call is made twice."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from curation.execution.origin_credentials import OriginCredential
from curation.execution.seam import Ended, ExecutionRequest, Held, Left, Lost, Unsupplied
from curation.lifecycle.outcome import Calls, Completed, Failed, FailureClass, Liveness
from curation.wasm.module_errors import ModuleUnreadable
from curation.workers import executor as executors
from tests.guests.wat import Script
from tests.unit.execution.conformance import DONE, held, post
from tests.unit.execution.conftest import Rig, ended, until
from tests.unit.execution.conftest import rig as in_process
from tests.unit.pods.rigs import Cluster, cluster, operator
from tests.unit.workers.rigs import end_of, send, worker

__all__ = ["in_process"]


@pytest.fixture
async def pods(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path) as made:
        yield made


async def test_a_call_that_was_on_the_wire_when_its_operator_died_is_answered_unavailable_and_made_once(
    in_process: Rig, pods: Cluster
) -> None:
    async with operator(in_process, pods, grace=0) as rig:
        heard = rig.start(
            Script().call(post(rig, "/first")).call(post(rig, "/hold")).log_answer().error({"message": "no"})
        )
        await rig.peer.reached("/hold")
    assert heard.words[-1] == Left(2), "an operator that stops says nothing of it"
    async with operator(in_process, pods) as rig:
        again = rig.attach(heard)
        report = await ended(again)
        assert [rig.peer.count(path) for path in ("/first", "/hold")] == [1, 1]
        assert isinstance(report.result, Failed)
        assert report.result.failure_class is FailureClass.HTTP_UNAVAILABLE
        assert "whether the request was carried out is not known" in report.log
        assert report.calls == Calls(left=2, answered=0, allowed=2), "what was answered before is not known"
        assert not [word for word in again.words if isinstance(word, Left)]


async def test_the_calls_after_a_change_of_operators_go_on_where_those_before_have_ended(
    in_process: Rig, pods: Cluster
) -> None:
    async with operator(in_process, pods, grace=0) as rig:
        heard = rig.start(Script().call(post(rig, "/first")).call(post(rig, "/hold")).call(post(rig, "/more")).ok(DONE))
        await rig.peer.reached("/hold")
    async with operator(in_process, pods) as rig:
        again = rig.attach(heard)
        report = await ended(again)
        assert report.result == Completed({})
        assert report.calls == Calls(left=3, answered=1, allowed=3)
        assert [word.number for word in again.words if isinstance(word, Left)] == [3]
        keys = [seen.headers["Idempotency-Key"].rpartition("/")[2] for seen in rig.peer.seen]
        assert keys == ["1", "2", "3"]


async def test_an_end_that_nobody_has_settled_is_said_to_the_next_operator_and_then_its_pod_ends(
    in_process: Rig, pods: Cluster
) -> None:
    async with operator(in_process, pods) as rig:
        heard = rig.start(Script().call(post(rig, "/")).ok(DONE))
        await ended(heard)
    async with operator(in_process, pods) as rig:
        again = rig.attach(heard)
        report = await ended(again)
        assert report.result == Completed({})
        assert report.calls == Calls(left=1, answered=0, allowed=1)
        assert rig.pod(heard).process is not None
        assert not rig.pod(heard).ended
        rig.executor.settled(heard.request.execution)
        assert rig.pod(heard).ended
        assert await rig.pod(heard).exited() == 0
        assert rig.peer.count("/") == 1


async def test_a_worker_that_is_killed_in_a_call_is_followed_by_one_that_does_not_make_it_again(
    in_process: Rig, pods: Cluster
) -> None:
    async with operator(in_process, pods) as rig:
        heard = rig.start(Script().call(post(rig, "/first")).call(post(rig, "/hold")).call(post(rig, "/more")).ok(DONE))
        await rig.peer.reached("/hold")
        first = await send(rig, signal.SIGKILL)
        report = await ended(heard)
        assert report.result == Completed({})
        assert report.calls == Calls(left=3, answered=2, allowed=3), "this process has heard of the first one"
        assert [rig.peer.count(path) for path in ("/first", "/hold", "/more")] == [1, 1, 1]
        assert await worker(rig) != first
        assert ("allowed", "lost") in rig.notes.calls


async def test_a_door_that_is_killed_in_a_call_is_followed_by_another_one_and_the_answer_is_not_lost(
    in_process: Rig, pods: Cluster
) -> None:
    async with operator(in_process, pods) as rig:
        heard = rig.start(held(rig).call(post(rig, "/more")).ok(DONE))
        await rig.peer.reached("/hold")
        first = rig.door.pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: rig.door.pid not in (0, first))
        rig.peer.go_on.set()
        report = await ended(heard)
        assert (report.result, report.calls) == (Completed({}), Calls(left=2, answered=2, allowed=2))
        assert [rig.peer.count(path) for path in ("/hold", "/more")] == [1, 1]


async def test_a_run_that_was_stopped_while_nobody_listened_lets_nothing_leave_and_its_calls_are_unknown(
    in_process: Rig, pods: Cluster
) -> None:
    async with operator(in_process, pods, grace=0) as rig:
        heard = rig.start(held(rig).call(post(rig, "/more")).ok(DONE))
        await rig.peer.reached("/hold")
    async with operator(in_process, pods) as rig:
        rig.executor.stop(heard.request.execution, "the template changed")
        end = await end_of(rig.attach(heard))
        assert isinstance(end, Lost)
        assert end.calls is None
        rig.executor.settled(heard.request.execution)
        assert rig.pod(heard).ended
        assert rig.peer.count("/more") == 0


async def test_it_is_alive_as_long_as_its_pod_is_whoever_has_started_it(in_process: Rig, pods: Cluster) -> None:
    async with operator(in_process, pods, grace=0) as rig:
        heard = rig.start(held(rig).ok(DONE))
        await rig.peer.reached("/hold")
    async with operator(in_process, pods) as rig:
        asked = Held(heard.request.execution, own=False, inherited=True, unchanged=1000.0, longest=1.0, in_pod=True)
        assert rig.executor.liveness(asked) is Liveness.ALIVE
        pods.ended(heard.request.execution)
        assert rig.executor.liveness(asked) is Liveness.GONE
        words = rig.attach(heard).words
        assert isinstance(words[-1], Lost)
        assert not isinstance(words[-1], Ended)


@pytest.mark.parametrize("what", ["credentials", "wasm"])
async def test_a_pod_whose_run_cannot_be_prepared_for_a_moment_is_not_given_up(
    in_process: Rig, pods: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """As where the API server is away in the moment of a takeover."""
    monkeypatch.setattr(executors, "_SUPPLY_DELAYS", (0.01, 0.02))
    async with operator(in_process, pods, grace=0) as rig:
        credential = OriginCredential("http", "127.0.0.1", rig.peer.port, "x-key", "a-secret")
        heard = rig.start(held(rig).call(post(rig, "/more")).ok(DONE), credentials=(credential,))
        await rig.peer.reached("/hold")
    supply, failures = getattr(in_process.stock, what), [3]

    async def fails(request: ExecutionRequest) -> object:
        failures[0] -= 1
        if failures[0] >= 0:
            raise Unsupplied("the Secret cannot be read now") if what == "credentials" else ModuleUnreadable("not now")
        return await supply(request)

    monkeypatch.setattr(in_process.stock, what, fails)
    if what == "wasm":
        monkeypatch.setattr(in_process.modules, "has", lambda _: False)
        load = in_process.modules.load

        async def loads(digest: str, fetch: Callable[[], Awaitable[bytes]], namespace: str) -> object:
            await fetch()
            return await load(digest, fetch, namespace)

        monkeypatch.setattr(in_process.modules, "load", loads)
    async with operator(in_process, pods) as rig:
        assert (await ended(rig.attach(heard))).result == Completed({})
        assert failures[0] < 0
        assert rig.peer.seen[-1].headers["x-key"] == "a-secret"
    assert caplog.text.count("goes on in its pod, which nobody hears") == 1
