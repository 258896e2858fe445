"""What is heard of an execution whose worker ends, at each step of it; and the worker that comes after."""

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from curation.execution.seam import Ended, Left, Lost
from curation.lifecycle.outcome import Calls, Completed
from curation.workers import cell as cells
from tests.guests.wat import Script
from tests.unit.execution.conftest import NAMESPACE, Heard, Rig, ended, until
from tests.unit.execution.conftest import rig as in_process
from tests.unit.workers.rigs import end_of, send, with_workers, worker

__all__ = ["in_process"]
DONE = {"action": "Completed", "output": {}}


def post(rig: Rig, path: str) -> dict[str, object]:
    return {"method": "POST", "url": rig.peer.url(path), "body": "{}"}


async def lost(heard: Heard) -> Lost:
    end = await end_of(heard)
    assert isinstance(end, Lost), end
    return end


async def test_of_a_worker_that_is_killed_in_a_call_it_is_known_that_the_call_has_left(rig: Rig) -> None:
    heard = rig.start(Script().call(post(rig, "/")).call(post(rig, "/hold")).ok(DONE))
    await rig.peer.reached("/hold")
    await send(rig, signal.SIGKILL)
    end = await lost(heard)
    assert end.calls == Calls(left=2, answered=1, allowed=2)
    assert "signal 9" in end.cause
    assert not end.over_limit
    assert rig.notes.calls == [("allowed", "200"), ("allowed", "lost")]


async def test_of_a_worker_that_is_killed_before_any_call_it_is_known_that_none_has_left(rig: Rig) -> None:
    heard = rig.start(Script().ends_with("(loop (br 0)) unreachable"))
    pid = await worker(rig)
    await until(lambda: bool(rig.executor._cells[NAMESPACE].executions))
    os.kill(pid, signal.SIGKILL)
    assert (await lost(heard)).calls == Calls()


async def test_what_was_said_before_it_was_killed_is_heard_though_it_was_not_read_yet(rig: Rig) -> None:
    """The bytes of a call are never on the wire before it is known here that they leave."""
    heard = rig.start(Script().call(post(rig, "/hold")).ok(DONE))
    await rig.peer.reached("/hold")
    assert Left(1) in heard.words
    await send(rig, signal.SIGKILL)
    assert (await lost(heard)).calls == Calls(left=1, allowed=1)


async def test_after_a_death_the_next_execution_has_a_new_worker_and_the_end_is_said_again(rig: Rig) -> None:
    heard = rig.start(Script().call(post(rig, "/hold")).ok(DONE))
    await rig.peer.reached("/hold")
    first = await send(rig, signal.SIGKILL)
    end = await lost(heard)
    rig.executor.attach(heard.request, heard.hear)
    assert heard.words[-2:] == [end, end]
    assert (await rig.run(Script().ok(DONE))).result == Completed({})
    assert await worker(rig) != first


async def test_another_namespace_does_not_notice(rig: Rig) -> None:
    theirs = rig.start(Script().call(post(rig, "/hold")).ok(DONE))
    await rig.peer.reached("/hold")
    assert rig.book.put_policy("other", "p", "permit (principal, action, resource);").valid
    ours = rig.ask(replace(rig.request(Script().call(post(rig, "/hold")).ok(DONE)), namespace="other"))
    await rig.peer.reached("/hold", 2)
    assert await worker(rig) != await worker(rig, "other")
    await send(rig, signal.SIGKILL)
    await lost(theirs)
    rig.peer.go_on.set()
    assert (await ended(ours)).result == Completed({})


async def test_a_worker_that_answers_nothing_any_more_is_killed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = rig.start(Script().call(post(rig, "/hold")).ok(DONE))
    await rig.peer.reached("/hold")
    await send(rig, signal.SIGSTOP)
    monkeypatch.setattr(cells, "ASK_SECONDS", 0.1)
    monkeypatch.setattr(cells, "SILENT_SECONDS", 0.5)
    assert (await lost(heard)).calls == Calls(left=1, allowed=1)


async def test_a_worker_that_takes_nothing_while_something_waits_for_it_is_killed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = rig.start(Script().call(post(rig, "/hold")).ok(DONE))
    await rig.peer.reached("/hold")
    await send(rig, signal.SIGSTOP)
    monkeypatch.setattr(cells, "STALLED_SECONDS", 0.2)
    for number in range(16):  # more than a socket holds
        text = f"permit (principal, action, resource); // {'x' * 60_000}"
        assert rig.book.put_policy(NAMESPACE, f"large-{number}", text).valid
    assert (await lost(heard)).calls == Calls(left=1, allowed=1)


async def test_the_template_ends_and_its_workers_with_it_and_a_new_one_is_started(rig: Rig) -> None:
    heard = rig.start(Script().call(post(rig, "/hold")).ok(DONE))
    await rig.peer.reached("/hold")
    template = rig.executor._nursery.template_pid
    os.kill(template, signal.SIGKILL)
    await lost(heard)
    assert (await rig.run(Script().ok(DONE))).result == Completed({})
    assert rig.executor._nursery.template_pid != template


async def test_an_idle_worker_ends_and_the_next_execution_starts_one(in_process: Rig) -> None:
    async with with_workers(in_process, idle_seconds=0.1) as rig:
        heard = rig.start(Script().ok(DONE))
        await ended(heard)
        rig.executor.settled(heard.request.execution)
        await until(lambda: not rig.executor.workers)
        assert isinstance(await end_of(rig.start(Script().ok(DONE))), Ended)


async def test_one_that_is_not_settled_keeps_its_worker(in_process: Rig) -> None:
    async with with_workers(in_process, idle_seconds=0.1) as rig:
        await rig.run(Script().ok(DONE))
        await asyncio.sleep(1.5)
        assert rig.executor.workers


async def test_a_worker_keeps_as_many_artifacts_as_it_may_and_then_gives_the_oldest_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "MAX_ARTIFACTS", 5)
    digests = []
    for number in range(7):
        heard = rig.start(Script().log(f"{number}").ok(DONE))
        await ended(heard)
        rig.executor.settled(heard.request.execution)
        digests.append(heard.request.module.digest)
        assert list(rig.executor._cells[NAMESPACE]._artifacts) == digests[-5:]
