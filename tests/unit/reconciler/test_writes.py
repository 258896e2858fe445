"""What becomes of a write: settled by what its answer means, and by the object where only that can tell."""

from pathlib import Path
from typing import Any

import pytest

from curation.cluster.answers import Conflict, Gone, Refused, Throttled, Unknown, Written
from curation.cluster.cache import Stored
from curation.cluster.meaning import Answer
from curation.cluster.resources import JOBS
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.result import carry_out
from curation.reconciler.runtime.writes import STATUS, Outcome, settle
from tests.unit.reconciler.disconnected import NAMESPACE, Rig, disconnected, document, key
from tests.unit.reconciler.virtual_time import in_virtual_time

OBJECTION = Refused(403, "Forbidden", "quota")
SHOWN: dict[str, Any] = {"metadata": {"labels": {"shown": "yes"}, "resourceVersion": "6"}}


def shows(stored: Stored) -> bool:
    return "labels" in stored.document()["metadata"]


async def settled(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, answer: Answer, *, found: Any, read: bool = True
) -> Outcome:
    """Settle a write; the object as a read would find it, if it can be read."""
    cache = rig.context.caches[JOBS]
    cache.put(document())

    async def refresh(_: Key) -> bool:
        if read and found is None:
            cache.forget(NAMESPACE, "job", "uid-job")
        elif read:
            cache.put(found)
        return read

    monkeypatch.setattr(rig.context, "refresh", refresh)
    return await settle(rig.context, key(), answer, STATUS, shows)


@pytest.mark.parametrize("landed", [True, False])
@pytest.mark.parametrize("answer", [Conflict(), Unknown("reset")])
@in_virtual_time
async def test_where_the_answer_leaves_it_open_the_object_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, landed: bool
) -> None:
    async with disconnected(tmp_path) as rig:
        found = document(version=6, **(SHOWN if landed else {}))
        outcome = await settled(rig, monkeypatch, answer, found=found)
        assert outcome == Outcome(landed)
        assert outcome.at_once
        again = await settled(rig, monkeypatch, answer, found=None)
        assert again == Outcome(False), "it is gone"


@pytest.mark.parametrize("answer", [Gone(), OBJECTION, Throttled(7.0)])
@in_virtual_time
async def test_where_the_answer_says_no_the_object_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    async with disconnected(tmp_path) as rig:
        outcome = await settled(rig, monkeypatch, answer, found=document(version=6, **SHOWN))
        assert not outcome.landed
        assert outcome.at_once == isinstance(answer, Gone)
        assert outcome.wait == (7.0 if isinstance(answer, Throttled) else None)
        assert bool(rig.context.refusals.said(key(), STATUS)) == (answer == OBJECTION)


@in_virtual_time
async def test_what_cannot_be_read_anew_is_not_tried_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        outcome = await settled(rig, monkeypatch, Unknown("reset"), found=document(version=6, **SHOWN), read=False)
        assert outcome == Outcome(False, known=False)
        assert not outcome.at_once


@in_virtual_time
async def test_the_object_of_an_answer_is_known_at_once_and_ends_the_report_of_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        await settled(rig, monkeypatch, OBJECTION, found=document())
        outcome = await settled(rig, monkeypatch, Written(document(version=9)), found=document())
        assert outcome == Outcome(True)
        stored = rig.context.caches[JOBS].get(NAMESPACE, "job")
        assert stored is not None
        assert stored.resource_version == 9
        assert not rig.context.refusals.said(key(), STATUS)


@pytest.mark.parametrize(
    ("outcome", "delayed"),
    [
        (Outcome(True), 0),
        (Outcome(False, objection=OBJECTION, final=True), 0),
        (Outcome(False), 1),
        (Outcome(False, wait=5.0), 1),
    ],
)
@in_virtual_time
async def test_what_has_not_landed_is_tried_again_unless_its_refusal_is_final(
    tmp_path: Path, outcome: Outcome, delayed: int
) -> None:
    async with disconnected(tmp_path) as rig:
        carry_out(rig.context, key(), outcome.result)
        assert rig.queue.delayed == delayed
