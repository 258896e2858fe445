"""5,000 of one namespace wait, at each place where namespaces share something: one of another is served at once.

Counted in turns and not in seconds: so many of the first one's end before the other one has its own.
"""

import ast
import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import curation
from curation.admission.listener import _Line, _Listener
from curation.api.job import CurationJob
from curation.api.names import Trigger
from curation.checking.checkers import Checkers
from curation.cluster.events import CAPACITY, _SeriesQueue
from curation.cluster.resources import APPROVALS, JOBS
from curation.notifying.notifier import Notifier, ReceiverSettings
from curation.reconciler.approvals.asking import Approvals
from curation.reconciler.approvals.grants import Grants
from curation.reconciler.approvals.making import MAX_PENDING
from curation.reconciler.jobs.cleanup import Cleanup
from curation.reconciler.jobs.observation import Observation
from curation.reconciler.runtime.job_index import JobIndex
from curation.reconciler.runtime.key import Key, namespace_of
from curation.reconciler.runtime.queue import WorkQueue
from curation.reconciler.sources.job_sources import JobSources
from curation.turns import AwaitedTurns, Rotation, Turns, _Ticket
from curation.workers.account import MemoryAccount
from curation.workers.need import Need
from tests.unit.lifecycle.builders import request
from tests.unit.notifying.test_notifier import notice
from tests.unit.reconciler.disconnected import Rig, disconnected, document, run_status
from tests.unit.reconciler.test_approvals import asks_for
from tests.unit.reconciler.virtual_time import in_virtual_time

FLOOD: Final = 5000
PROGRAM: Final = Path(curation.__file__).parent

Shared = Turns[Key] | AwaitedTurns | Rotation[Any] | asyncio.Queue[Any]
Make = Callable[[Rig], Shared]


def events(rig: Rig) -> Shared:
    return rig.context.events._queue


def notices(rig: Rig) -> Shared:
    folder = rig.modules._store.folder
    key = folder / "key"
    key.write_bytes(b"long enough for a key of a test")
    return Notifier(ReceiverSettings("http://127.0.0.1:9/", key), lambda *_: None)._waiting


def addresses(_: Rig) -> Shared:
    nobody: Any = None  # it is not run
    return _Listener(nobody)._turns


def config_maps(rig: Rig) -> Shared:
    context = rig.context
    return JobSources(context.api, context.wake, context.wake_after, context.clock.monotonic)._turns


def work_queue(rig: Rig) -> Shared:
    queue: WorkQueue[Key] = WorkQueue(namespace_of=namespace_of)
    return queue._ready


USES: Final[dict[str, dict[str, Make]]] = {
    "reconciler/runtime/queue.py": {"work": work_queue},
    "reconciler/jobs/runs.py": {"Submit": lambda rig: rig.runs._submit_turns},
    "reconciler/jobs/observation.py": {
        "Observe": lambda rig: Observation(rig.context, rig.memories, rig.runs)._turns,
    },
    "reconciler/jobs/cleanup.py": {
        "Cancel": lambda rig: Cleanup(rig.context, rig.memories, rig.runs, rig.modules)._turns,
    },
    "reconciler/sources/modules.py": {"loads of modules": lambda rig: rig.modules._turns},
    "reconciler/sources/job_sources.py": {"ConfigMaps of jobs": config_maps},
    "reconciler/sources/module_pulls.py": {"pulls": lambda rig: rig.modules._loading._pulls._turns},
    "wasm/store.py": {"compilations": lambda rig: rig.modules._store._turns},
    "workers/account.py": {"memory": lambda rig: rig.context.memory._lines[Trigger.SUBMIT]},
    "checking/checkers.py": {"checkers": lambda rig: Checkers()._turns},
    "admission/listener.py": {
        "reviews of one address": lambda rig: _Line().turns,
        "addresses": addresses,
    },
    "cluster/events.py": {"Events": events},
    "notifying/notifier.py": {"notices": notices},
}
"""Each file that makes a waiting line which namespaces share, and how one of it is made."""


def ends_before_another_is_served(shared: Shared) -> int:
    """How many of a flood end, after one of another namespace has come, before that has its turn."""
    if isinstance(shared, Rotation):
        return _taken_before(shared)
    if isinstance(shared, asyncio.Queue):
        raise TypeError("a queue is asked by its own test")
    if isinstance(shared, AwaitedTurns):
        inner: Turns[Any] = shared._turns
        return _ended_before(inner, [_Ticket("noisy") for _ in range(FLOOD)], _Ticket("quiet"))
    keys = [Key(JOBS, "noisy", str(number)) for number in range(FLOOD)]
    return _ended_before(shared, keys, Key(JOBS, "quiet", "one"))


def _taken_before(line: Rotation[Any]) -> int:
    for number in range(FLOOD):
        line.add("noisy", number)
    line.add("quiet", "one")
    for taken in range(FLOOD + 1):
        if line.pop() == ("quiet", "one"):
            return taken
    raise AssertionError("it is never served")


def _ended_before(turns: Turns[Any], flood: list[Any], quiet: Any) -> int:
    called: deque[Any] = deque()
    turns._call = called.append
    held = deque(each for each in flood if turns.take(each))
    if turns.take(quiet):
        return 0
    for ended in range(1, FLOOD + 1):
        turns.release(held.popleft())
        while called:
            following = called.popleft()
            assert turns.take(following), "who is called has its turn"
            if following is quiet:
                return ended
            held.append(following)
    raise AssertionError("it is never served")


@pytest.mark.parametrize(
    "make", [pytest.param(make, id=what) for uses in USES.values() for what, make in uses.items() if what != "Events"]
)
@in_virtual_time
async def test_behind_5000_of_one_namespace_another_one_waits_for_two_turns_at_most(tmp_path: Path, make: Make) -> None:
    """That of whoever has the last one now, and that of the first who waits already."""
    async with disconnected(tmp_path) as rig:
        assert ends_before_another_is_served(make(rig)) <= 2


@in_virtual_time
async def test_behind_5000_events_of_one_namespace_another_has_room_and_is_the_next(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        recorder = rig.context.events

        def record(namespace: str, name: str) -> None:
            found = document(name, metadata={"namespace": namespace, "uid": f"{namespace}-{name}"})
            recorder.record(found, "Denied", "it is denied", action="Denied")

        for number in range(FLOOD):
            record("noisy", str(number))
        assert recorder.dropped == FLOOD - CAPACITY // 2
        record("quiet", "one")
        assert recorder.dropped == FLOOD - CAPACITY // 2
        queue = recorder._queue
        assert isinstance(queue, _SeriesQueue)
        assert "quiet" in [queue.get_nowait().namespace for _ in range(2)]


@in_virtual_time
async def test_behind_5000_notices_of_one_namespace_another_has_room(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"long enough for a key of a test")
    dropped: list[str] = []
    notifier = Notifier(
        ReceiverSettings("http://127.0.0.1:9/", key), lambda told, result: dropped.append(f"{told.namespace} {result}")
    )
    for number in range(FLOOD):
        notifier.tell(notice(f"n{number}", "noisy"))
    notifier.tell(notice("one", "quiet"))
    assert set(dropped) == {"noisy dropped"}
    taken = [notifier._waiting.pop() for _ in range(2)]
    assert "quiet" in [namespace for namespace, _ in filter(None, taken)]


@in_virtual_time
async def test_500_jobs_of_one_namespace_that_wait_for_room_for_an_approval_take_none_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is shared there: the room is of each namespace."""
    async with disconnected(tmp_path) as rig:
        context = rig.context
        approvals = Approvals(context, Grants(context, JobIndex(context.metrics)))
        made: list[str] = []

        async def create(_kind: object, namespace: str, body: dict[str, Any]) -> object:
            made.append(namespace)
            raise OSError("it is only counted")

        monkeypatch.setattr(context.api, "create", create)

        def waiting(namespace: str, path: str) -> tuple[Key, CurationJob]:
            status = {**run_status("AwaitingApproval"), "approval": asks_for(request(path=path))}
            found = document(path.strip("/"), status=status, metadata={"namespace": namespace})
            return Key(JOBS, namespace, path.strip("/")), CurationJob.model_validate(found)

        for number in range(MAX_PENDING):
            asked = request(path=f"/{number}")
            name = asks_for(asked)["name"]
            metadata = {"name": name, "namespace": "noisy", "uid": name, "resourceVersion": str(number + 1)}
            spec = {"request": asked.to_wire(), "requestDigest": asks_for(asked)["requestDigest"]}
            context.caches[APPROVALS].put({"metadata": {**metadata, "generation": 1}, "spec": spec})
        for number in range(FLOOD // 10):
            key, job = waiting("noisy", f"/job-{number}")
            await approvals.advance(key, job)
        problem = approvals.facts(key, job).problem
        assert problem is not None
        assert problem.reason == "TooManyApprovals"
        with pytest.raises(OSError, match="only counted"):
            await approvals.advance(*waiting("quiet", "/one"))
        assert made == ["quiet"]


def test_behind_5000_runs_of_one_namespace_that_wait_for_memory_another_has_room() -> None:
    account, need = MemoryAccount(1 << 30), Need(run_bytes=1 << 20)
    admitted = sum(
        account.take(f"noisy-{number}", "noisy", Trigger.SUBMIT, need, lambda: None) for number in range(FLOOD)
    )
    assert 0 < admitted < FLOOD
    assert account.take("quiet", "quiet", Trigger.SUBMIT, need, lambda: None)


def lines_made(path: Path) -> Iterator[str]:
    """The waiting lines that a file makes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if name in ("Turns", "AwaitedTurns", "Rotation"):
                yield name


def test_each_waiting_line_of_the_program_is_among_those_that_are_flooded_here() -> None:
    found = {
        str(path.relative_to(PROGRAM)): list(lines_made(path))
        for path in sorted(PROGRAM.rglob("*.py"))
        if path.name != "turns.py"
    }
    assert {name: len(lines) for name, lines in found.items() if lines} == {
        name: len(uses) for name, uses in USES.items()
    }
