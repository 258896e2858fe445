"""Stories of a worker that is killed or stopped at a frame: before, in the midst of it, and after."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from curation.api.approval import EvaluatedRequest, Scope
from curation.authz.grant import Grant
from curation.execution.origin_credentials import OriginCredential
from curation.execution.seam import Ended, Lost
from curation.isolation.frames import Frame
from curation.isolation.hardening import Hardening
from curation.isolation.nursery import Nursery
from curation.isolation.spawn import Process
from curation.lifecycle.outcome import Completed, Trigger
from curation.wasm.limits import Limits
from curation.workers import cell as cells
from curation.workers import executor as executors
from curation.workers import frames
from curation.workers.cell import Cell
from curation.workers.frames import TO_WORKER
from curation.workers.targets import TEMPLATE, WORKER
from tests.guests.wat import Script
from tests.harness.processes import children, descriptors, state
from tests.peers.points import at
from tests.unit.execution.conftest import GENEROUS, Heard, Rig, ended, until
from tests.unit.workers.rigs import end_of, with_workers

DONE = {"action": "Completed", "output": {}}
ROOMY = Limits(cpu_seconds=60, wall_seconds=3600)
NARROW = Limits(cpu_seconds=60, wall_seconds=3600, response_size=1000)
GET = EvaluatedRequest.model_validate(
    {
        "trigger": "Submit",
        "module": "build-session",
        "moduleDigest": "sha256:" + "0" * 64,
        "method": "GET",
        "scheme": "http",
        "host": "127.0.0.1",
        "port": 80,
        "path": "/",
        "query": "",
    }
)


@dataclass
class Scene:
    """One namespace, whose worker gets the signal, and what is executed there."""

    rig: Rig
    namespace: str
    heard: list[Heard]

    @property
    def hold(self) -> str:
        """A path that is answered when `release` is called."""
        return f"/hold/{self.namespace}"

    def ask(self, wasm: bytes, trigger: Trigger = Trigger.SUBMIT, **more: Any) -> Heard:
        """Execute it in this namespace."""
        request = replace(self.rig.request(wasm, trigger, **{"limits": ROOMY, **more}), namespace=self.namespace)
        heard = self.rig.ask(request)
        self.heard.append(heard)
        return heard

    async def run(self) -> Heard:
        """A run that is in the midst of its second call, with a credential."""
        url = self.rig.peer.url
        script = Script().call({"method": "POST", "url": url("/"), "body": "{}"})
        script.call({"method": "POST", "url": url(self.hold), "body": "{}"})
        secret = OriginCredential("http", "127.0.0.1", self.rig.peer.port, "x-key", "a-long-secret")
        heard = self.ask(script.ok(DONE), credentials=(secret,))
        await self.rig.peer.reached(self.hold)
        return heard

    def release(self) -> None:
        """What is held is answered."""
        self.rig.peer.may_go_on[self.hold].set()

    async def completed(self) -> Heard:
        """A run that has ended, and is not settled."""
        heard = await self.run()
        self.release()
        await ended(heard)
        return heard

    def permit(self) -> None:
        """By two policies."""
        for name in ("p", "other"):
            assert self.rig.book.put_policy(self.namespace, name, "permit (principal, action, resource);").valid

    def forbid(self) -> None:
        """What `permit` has permitted."""
        for name in ("p", "other"):
            self.rig.book.remove_policy(self.namespace, name)

    @property
    def cell(self) -> Cell:
        """The operator's side of it."""
        cell: Cell = self.rig.executor._cells[self.namespace]
        return cell


async def begins(scene: Scene) -> None:
    await scene.run()


async def ends(scene: Scene) -> None:
    await scene.completed()


async def a_policy_goes(scene: Scene) -> None:
    await scene.run()
    scene.rig.book.remove_policy(scene.namespace, "other")


async def a_policy_gets_a_flaw(scene: Scene) -> None:
    await scene.run()
    scene.rig.book.note_flaw(scene.namespace, "other", "does not count as it is written")
    scene.ask(Script().ok(DONE))  # what is said before it begins


async def a_grant_comes(scene: Scene) -> None:
    await scene.run()
    scene.rig.book.put_grant(Grant(scene.namespace, "g", GET, Scope.HOST, None))


async def a_grant_goes(scene: Scene) -> None:
    await a_grant_comes(scene)
    scene.rig.book.remove_grant(scene.namespace, Grant(scene.namespace, "g", GET, Scope.HOST, None).key)


async def a_module_makes_room(scene: Scene) -> None:
    heard = await scene.completed()
    scene.rig.executor.settled(heard.request.execution)
    await ended(scene.ask(Script().log("another module").ok(DONE)))


async def a_run_is_stopped(scene: Scene) -> None:
    heard = await scene.run()
    heard.stop("suspended")


async def a_run_is_settled(scene: Scene) -> None:
    heard = await scene.completed()
    scene.rig.executor.settled(heard.request.execution)


async def the_operator_stops(scene: Scene) -> None:
    await scene.run()
    scene.cell.drain(60)


async def authorities_change(scene: Scene) -> None:
    await scene.run()
    scene.rig.executor.renew_trust()


async def something_is_logged(scene: Scene) -> None:
    await scene.run()
    delete = {"method": "DELETE", "url": scene.rig.peer.url("/large?size=4000")}
    cancel = Script().call(delete).ok({"action": "Cancelled"})
    await ended(scene.ask(cancel, Trigger.CANCEL, limits=NARROW))


STORIES: dict[type[Frame], Callable[[Scene], Coroutine[None, None, None]]] = {
    frames.Hello: begins,
    frames.Policy: begins,
    frames.PolicyGone: a_policy_goes,
    frames.Flaw: a_policy_gets_a_flaw,
    frames.PutGrant: a_grant_comes,
    frames.GrantGone: a_grant_goes,
    frames.Revision: begins,
    frames.PutArtifact: begins,
    frames.ArtifactGone: a_module_makes_room,
    frames.PutCredential: begins,
    frames.Start: begins,
    frames.Stop: a_run_is_stopped,
    frames.Settled: a_run_is_settled,
    frames.Drain: the_operator_stops,
    frames.RenewTrust: authorities_change,
    frames.Applied: begins,
    frames.Said: ends,
    frames.Called: ends,
    frames.Logged: something_is_logged,
}
"""What makes each of them go."""
OF_PODS: set[type[Frame]] = {frames.Joined, frames.Lose, frames.Parted}
"""Their stories are in `tests/unit/pods/frame_stories.py`."""
TIMES: dict[type[Frame], int] = {frames.Policy: 2, frames.Said: 5, frames.Called: 2}
"""How many of a kind a story has, where each is another matter: of Said two calls that leave, two answers, the end."""
HEARD, SAID = ("unsent", "before", "after"), ("before", "half", "after")
KILLED, STOPPED, CONTINUED = "killed", "stopped", "stopped and continued"


Point = tuple[type[Frame], str, int]
POINTS: list[Point] = [
    (kind, when, which)
    for kind in STORIES
    for when in (HEARD if kind in TO_WORKER.kinds else SAID)
    for which in range(1, TIMES.get(kind, 1) + 1)
    if (when, kind) != ("unsent", frames.Hello)  # there is no process yet
]


class Pointed(Nursery):
    """Starts the next worker with a point, if that is asked for."""

    next: str | None = None

    def start(self, target: str, hardening: Hardening) -> Process:
        pointed, self.next = self.next, None
        return super().start(pointed if pointed is not None and target == WORKER else target, hardening)


def be_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers have room for one module, are started again at once, and log what they do."""
    monkeypatch.setattr(cells, "MAX_ARTIFACTS", 1)
    monkeypatch.setattr(executors, "_FIRST_DELAY", 0.0)
    monkeypatch.setattr(logging.getLogger("curation"), "level", logging.INFO)


async def all_end_well(around: Rig, how: str, points: Iterable[Point]) -> None:
    """Tell the story of each point, while a namespace beside it has a run in flight that must not notice."""
    nursery = Pointed(TEMPLATE)
    async with with_workers(around, nursery=nursery) as rig:
        beside = Scene(rig, "beside", [])
        beside.permit()
        theirs = await beside.run()
        their_worker = rig.executor.workers["beside"]
        assert nursery.template_pid is not None
        left_open = descriptors()
        for number, (kind, when, which) in enumerate(points):
            async with asyncio.timeout(GENEROUS):
                try:
                    await told(Scene(rig, f"n-{number}", []), kind, when, which, how)
                except BaseException as error:
                    error.add_note(f"{how} {when} {kind.NAME} {which}")
                    raise
        await until(lambda: children(nursery.template_pid or 0) == {their_worker})
        await until(lambda: descriptors() == left_open)
        assert not theirs.ended.done()
        assert rig.executor.workers == {"beside": their_worker}
        beside.release()
        assert (await ended(theirs)).result == Completed({})


async def told(scene: Scene, kind: type[Frame], when: str, which: int, how: str) -> None:
    """The story, up to the point; and that all ends well."""
    executor = scene.rig.executor
    number = signal.SIGKILL if how == KILLED else signal.SIGSTOP
    struck = asyncio.Event()
    if when == "unsent":
        await ended(scene.ask(Script().ok(DONE)))
        strike_before(scene.cell, kind, which, number, struck)
    else:
        executor._nursery.next = at("worker", kind.NAME, when, number, which)
    scene.permit()
    asking = asyncio.create_task(STORIES[kind](scene))
    await until(lambda: scene.namespace in executor._cells)
    cell = scene.cell
    await until(lambda: struck.is_set() or cell.gone or (cell.pid > 0 and state(cell.pid) in "TZX"))
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    seen = calls(scene)
    its_own = [each for each in cell.executions.values() if each.end is None]
    if how == CONTINUED:
        for heard in scene.heard:
            heard.stop("the template changed")
        scene.forbid()
        os.kill(cell.pid, signal.SIGCONT)
    elif how == STOPPED:
        asleep(cell)
    scene.release()
    for heard in scene.heard:
        end = await end_of(heard)
        assert calls_left(end) >= calls(scene).get(heard.request.run.id, 0), (end, heard.words)
    if how == CONTINUED:
        assert calls(scene) == seen, "nothing leaves after a stop"
    else:
        await until(lambda: cell.gone)
        assert all(each.end is not None for each in its_own)
        causes = [each.end.cause for each in its_own if isinstance(each.end, Lost)]
        assert all("signal 9" in cause for cause in causes), causes
    scene.permit()
    if kind is frames.Drain and not cell.gone:
        cell.kill("it executes nothing more")  # as what follows when the operator stops
        await until(lambda: cell.gone)
    assert (await ended(scene.ask(Script().ok(DONE)))).result == Completed({}), "it is tried again"
    for heard in scene.heard:
        executor.settled(heard.request.execution)
    assert executor._end_idle(scene.namespace)
    scene.forbid()


def strike_before(cell: Cell, kind: type[Frame], which: int, number: signal.Signals, point: asyncio.Event) -> None:
    """The signal comes before the operator sends the frame."""
    send, left = cell._child.send, which

    def sending(frame: Frame, **options: Any) -> None:
        nonlocal left
        left -= isinstance(frame, kind)
        if isinstance(frame, kind) and left == 0:
            os.kill(cell.pid, number)
            last = time.monotonic() + 10
            while state(cell.pid) not in "TZX" and time.monotonic() < last:
                time.sleep(0.001)
            point.set()
        send(frame, **options)

    vars(cell._child)["send"] = sending


def asleep(cell: Cell) -> None:
    """The clock of this one is put forward by as long as a worker may be silent."""
    long_ago = cell._loop.time() - cells.START_SECONDS - 1
    cell._asked_at = long_ago
    if cell._heard_at is not None:
        cell._heard_at = long_ago - 1
    cell.look()


def calls(scene: Scene) -> dict[str, int]:
    """How many calls of each run of the scene the peer has seen."""
    found = dict[str, int]()
    own = {heard.request.run.id for heard in scene.heard}
    for seen in scene.rig.peer.seen:
        run = seen.headers["Curation-Run-Id"]
        if run in own:
            found[run] = found.get(run, 0) + 1
    return found


def calls_left(end: object) -> int:
    """How many calls are said to have left."""
    counts = end.report.calls if isinstance(end, Ended) else end.calls if isinstance(end, Lost) else None
    assert counts is not None
    return counts.left
