"""No byte leaves after a stop or a withdrawn permission, whatever the worker does in that moment."""

import asyncio
import os
import signal
from functools import partial
from pathlib import Path

from curation.execution.seam import Answered
from curation.isolation.frames import Frame
from curation.lifecycle.outcome import Calls
from curation.workers.cell import Cell
from curation.workers.frames import Revision
from tests.guests.wat import Script
from tests.unit.execution.conftest import NAMESPACE, PERMIT, Rig, ended, until
from tests.unit.workers.rigs import send, worker

DONE = {"action": "Completed", "output": {}}
# A path that is nearly found everywhere: with 20 such policies one decision takes a good part of a second.
HEAVY = f'forbid (principal, action, resource) when {{ context.path like "*{"a" * 1900}b" }};'
LONG = "/" + "a" * 7000


def post(rig: Rig, path: str) -> dict[str, object]:
    return {"method": "POST", "url": rig.peer.url(path), "body": "{}"}


async def test_a_worker_that_is_stopped_between_two_calls_sends_no_more_after_it_is_continued(rig: Rig) -> None:
    heard = rig.start(Script().call(post(rig, "/hold")).call(post(rig, "/more")).ok(DONE))
    await rig.peer.reached("/hold")
    pid = await send(rig, signal.SIGSTOP)
    heard.stop("the template changed")
    rig.peer.go_on.set()
    os.kill(pid, signal.SIGCONT)
    report = await ended(heard)
    assert report.dead
    assert report.calls == Calls(left=1, answered=1, allowed=1)
    assert rig.peer.count("/more") == 0


async def test_the_page_alone_stops_a_worker_that_has_not_heard_of_the_stop(rig: Rig) -> None:
    """As where the frame that says it is still in a full socket."""
    heard = rig.start(Script().call(post(rig, "/hold")).call(post(rig, "/more")).ok(DONE))
    await rig.peer.reached("/hold")
    rig.executor._cells[NAMESPACE]._send = lambda *_, **__: None
    heard.stop("suspended")
    rig.peer.go_on.set()
    report = await ended(heard)
    assert rig.peer.count("/more") == 0
    assert report.calls.left == 1


async def test_a_permission_that_is_withdrawn_while_the_worker_is_stopped_lets_nothing_leave(rig: Rig) -> None:
    heard = rig.start(Script().call(post(rig, "/hold")).call(post(rig, "/more")).ok(DONE))
    await rig.peer.reached("/hold")
    pid = await send(rig, signal.SIGSTOP)
    rig.book.remove_policy(NAMESPACE, "p")
    rig.peer.go_on.set()
    os.kill(pid, signal.SIGCONT)
    report = await ended(heard)
    assert rig.peer.count("/more") == 0
    assert report.calls.left == 1
    assert report.calls.last_denied is not None


async def test_while_the_frames_about_a_withdrawn_permission_are_on_their_way_nothing_leaves(rig: Rig) -> None:
    """As where a socket is full: the page says that the worker is behind, and it waits for what it lacks."""
    heard = rig.start(Script().call(post(rig, "/hold")).call(post(rig, "/more")).ok(DONE))
    await rig.peer.reached("/hold")
    cell = rig.executor._cells[NAMESPACE]
    send, held = cell._send, list[Frame]()
    cell._send = lambda frame, **_: held.append(frame)
    applied = cell._replica.revision
    rig.book.remove_policy(NAMESPACE, "p")
    assert held
    rig.peer.go_on.set()
    await until(lambda: Answered(1) in heard.words)
    for _ in range(20):  # its loop turns, and it could have sent the next call by now
        asked = asyncio.get_running_loop().time()
        send(Revision(number=applied))
        await until(partial(heard_since, cell, asked))
    assert rig.peer.count("/more") == 0
    for frame in held:
        send(frame)
    report = await ended(heard)
    assert rig.peer.count("/more") == 0
    assert report.calls.last_denied is not None


def heard_since(cell: Cell, when: float) -> bool:
    return cell._heard_at is not None and cell._heard_at > when


async def test_what_is_decided_slowly_is_decided_anew_when_a_permission_is_withdrawn_meanwhile(rig: Rig) -> None:
    for number in range(20):
        assert rig.book.put_policy(NAMESPACE, f"heavy-{number}", HEAVY).valid
    heard = rig.start(Script().call(post(rig, LONG)).ok(DONE))
    pid = await worker(rig)
    begun = processor_ticks(pid)
    await until(lambda: processor_ticks(pid) > begun + 5)
    rig.book.remove_policy(NAMESPACE, "p")
    report = await ended(heard)
    assert report.calls.last_denied is not None
    assert report.calls.left == 0
    assert rig.peer.seen == []


def processor_ticks(pid: int) -> int:
    """Of 10 ms, in user mode."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11])


async def test_a_permission_that_comes_counts_for_the_next_call(rig: Rig) -> None:
    rig.book.remove_policy(NAMESPACE, "p")
    report = await rig.run(Script().call(post(rig, "/")).ok(DONE))
    assert report.calls.left == 0
    rig.permit(PERMIT)
    await rig.run(Script().call(post(rig, "/")).ok(DONE))
    assert rig.peer.count("/") == 1
