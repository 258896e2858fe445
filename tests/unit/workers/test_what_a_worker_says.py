"""Whoever gets into a worker can say what they like on its channel: it concerns that cell alone, within bounds."""

import logging

import pytest

from curation.execution.seam import Answered, Left, Lost
from curation.execution.wire import word_to_wire
from curation.isolation.frames import Frame, FrameRefused
from curation.workers.cell import MAX_LOG_LINES, Cell
from curation.workers.frames import Called, Logged, Said
from tests.guests.wat import Script
from tests.unit.execution.conftest import NAMESPACE, Heard, Rig
from tests.unit.workers.rigs import end_of


async def held(rig: Rig) -> tuple[Heard, Cell]:
    heard = rig.start(Script().call({"method": "POST", "url": rig.peer.url("/hold"), "body": "{}"}).ok({}))
    await rig.peer.reached("/hold")
    return heard, rig.executor._cells[NAMESPACE]


@pytest.mark.parametrize(
    "frame",
    [
        Said(execution="{own}", payload=b"{}"),
        Said(execution="{own}", payload=b'{"version": 1, "kind": "Ended"}'),
        Said(execution="{own}", payload=word_to_wire(Left(65))),
        Said(execution="{own}", payload=word_to_wire(Answered(10**12))),
        Called(execution="{own}", decision="a-label-of-its-own", code="200", seconds=0.1),
        Called(execution="{own}", decision="allowed", code="a-label-of-its-own", seconds=0.1),
        Called(execution="{own}", decision="allowed", code="2000", seconds=0.1),
        Logged(level=20, logger="x", payload=b"no JSON"),
        Logged(level=20, logger="x", payload=b'{"message": "m"}'),
    ],
)
async def test_what_is_of_no_form_ends_the_worker_and_its_executions_are_lost(rig: Rig, frame: Frame) -> None:
    heard, cell = await held(rig)
    own = heard.request.execution
    if isinstance(frame, Said):
        frame = Said(execution=own, payload=frame.payload)
    elif isinstance(frame, Called):
        frame = Called(execution=own, decision=frame.decision, code=frame.code, seconds=0.1)
    with pytest.raises((FrameRefused, ValueError, KeyError)):
        cell._hear(frame)  # the channel ends a worker whose frame raises: see tests/unit/isolation
    cell.kill("its frame was refused")
    assert isinstance(await end_of(heard), Lost)


async def test_what_it_says_of_executions_that_are_not_its_own_is_nothing(rig: Rig) -> None:
    heard, cell = await held(rig)
    cell._hear(Said(execution="uid-9.g1.a1/Submit/1", payload=word_to_wire(Lost("not true"))))
    cell._hear(Called(execution="uid-9.g1.a1/Submit/1", decision="none", code="200", seconds=0.1))
    assert not isinstance(heard.words[-1], Lost)
    assert rig.notes.calls == []


async def test_its_log_is_bounded_in_lines_and_in_names(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    _, cell = await held(rig)
    caplog.set_level(logging.INFO)
    caplog.clear()
    for number in range(3 * MAX_LOG_LINES):
        payload = b'{"message": "flood", "fields": {"name": "forged", "namespace": "other"}}'
        cell._hear(Logged(level=20, logger=f"curation.forged.{number}", payload=payload))
    lines = [each for each in caplog.records if each.message == "flood"]
    assert 0 < len(lines) <= 2 * MAX_LOG_LINES, "the second may have turned meanwhile"
    assert {each.name for each in lines} == {"curation.workers.cell"}
    assert {vars(each)["namespace"] for each in lines} == {NAMESPACE}
