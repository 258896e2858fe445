"""What a reconcile asks for is a value; the runtime alone acts on it."""

import re
from pathlib import Path

import pytest

import curation.reconciler
from curation.api.names import EventReason
from curation.lifecycle.event import Event
from curation.reconciler.runtime.result import AT_ONCE, NOTHING, RETRY, Result, Say, carry_out
from tests.unit.reconciler.disconnected import disconnected, key
from tests.unit.reconciler.virtual_time import in_virtual_time, now

SAY = Say({"kind": "CurationJob"}, Event(EventReason.COMPLETED, "done"), {})
ROOMS = ("process", "jobs", "approvals", "sources")


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ((NOTHING, NOTHING), NOTHING),
        ((Result(after=5), Result(after=3)), Result(after=3)),
        ((Result(after=5), NOTHING, AT_ONCE), AT_ONCE),
        ((Result(after=5), RETRY), Result(after=5, retry=True)),
        ((Result(gone=True), NOTHING), Result(gone=True)),
        ((Result(effects=(SAY,)), Result(effects=(SAY,))), Result(effects=(SAY, SAY))),
    ],
)
def test_the_parts_of_a_reconcile_add_up(parts: tuple[Result, ...], whole: Result) -> None:
    assert sum(parts, NOTHING) == whole


@pytest.mark.parametrize(
    ("result", "between"),
    [(AT_ONCE, (0.0, 0.0)), (Result(after=7.0), (7.0, 7.0)), (RETRY, (0.02, 0.06)), (Result(7.0, True), (0.02, 0.06))],
)
@in_virtual_time
async def test_the_key_is_worked_on_again_when_it_asks_for_that(
    tmp_path: Path, result: Result, between: tuple[float, float]
) -> None:
    async with disconnected(tmp_path) as rig:
        began = now()
        carry_out(rig.context, key(), result)
        assert await rig.queue.get() == key()
        assert between[0] <= now() - began <= between[1]


@in_virtual_time
async def test_of_an_object_that_is_gone_nothing_is_left_to_come(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        carry_out(rig.context, key(), Result(after=7.0, retry=True))
        assert rig.queue.delayed
        carry_out(rig.context, key(), Result(gone=True))
        carry_out(rig.context, key(), NOTHING)
        assert rig.queue._due.first() is None


@in_virtual_time
async def test_events_are_recorded_when_the_result_is_carried_out_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        said: list[Event] = []
        monkeypatch.setattr(rig.context, "record_event", lambda _about, event, _fields: said.append(event))
        result = Result(effects=(SAY,))
        assert said == []
        carry_out(rig.context, key(), result)
        assert said == [SAY.event]


@pytest.mark.parametrize("room", ROOMS)
def test_only_the_runtime_calls_the_queue(room: str) -> None:
    folder = Path(curation.reconciler.__file__).parent / room
    calls = re.compile(r"queue\.(add|add_after|add_rate_limited|drop|forget|get|done)\b")
    found = [f"{path.name}: {line}" for path in folder.glob("*.py") for line in calls.findall(path.read_text())]
    assert found == []
    assert list(folder.glob("*.py"))
