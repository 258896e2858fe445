"""Verdicts that are looked up, asked for in the background, and count while they are the present ones."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from curation.api.names import Trigger
from curation.authz.decision import CallContext
from curation.checking.checkers import CheckerLost
from curation.checking.questions import MAX_QUESTIONS
from curation.checking.verdict import Asked, Question, Verdict
from curation.reconciler.runtime.verdicts import Verdicts
from tests.unit.reconciler.disconnected import NAMESPACE, Rig, disconnected, judged_here, key
from tests.unit.reconciler.test_grants import SUBMIT
from tests.unit.reconciler.virtual_time import in_virtual_time

PERMIT = "permit (principal, action, resource);"
QUESTION = Question(SUBMIT, CallContext("job"))


class Judged:
    """A judge that can be held, or be lost."""

    def __init__(self) -> None:
        self.asked: list[Sequence[Question]] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.lost = 0

    async def __call__(self, namespace: str, ask: Callable[[], Asked]) -> list[Verdict]:
        if self.lost:
            self.lost -= 1
            raise CheckerLost("no checker can be started")
        verdicts = await judged_here(namespace, lambda: self._note(ask()))
        await self.go_on.wait()
        return verdicts

    def _note(self, asked: Asked) -> Asked:
        self.asked.append(asked.questions)
        return asked


def made(rig: Rig, judge: Judged) -> Verdicts:
    return Verdicts(rig.book, rig.context.clock, rig.queue, judge)


@in_virtual_time
async def test_a_verdict_wakes_its_job_and_counts_until_something_changes(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        judge = Judged()
        verdicts = made(rig, judge)
        assert verdicts.ask(key(), QUESTION) is None
        await asyncio.sleep(1)
        assert rig.taken() == [key()]
        found = verdicts.ask(key(), QUESTION)
        assert found is not None
        assert not found.allowed
        rig.book.put_policy(NAMESPACE, "p", PERMIT)
        assert verdicts.of(key(), QUESTION) is None
        verdicts.ask(key(), QUESTION)
        await asyncio.sleep(1)
        found = verdicts.of(key(), QUESTION)
        assert found is not None
        assert found.allowed
        assert len(judge.asked) == 2
        await verdicts.close()


@in_virtual_time
async def test_an_answer_that_is_overtaken_by_a_change_is_asked_again_and_wakes_nobody_before(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        judge = Judged()
        verdicts = made(rig, judge)
        judge.go_on.clear()
        verdicts.ask(key(), QUESTION)
        await asyncio.sleep(1)
        rig.book.put_policy(NAMESPACE, "p", PERMIT)
        judge.go_on.set()
        await asyncio.sleep(1)
        found = verdicts.of(key(), QUESTION)
        assert found is not None
        assert found.allowed
        assert len(judge.asked) == 2
        assert rig.taken() == [key()]
        await verdicts.close()


@pytest.mark.parametrize("how", ["forgotten", "another question"])
@in_virtual_time
async def test_an_answer_to_what_is_asked_no_more_is_dropped(tmp_path: Path, how: str) -> None:
    async with disconnected(tmp_path) as rig:
        judge = Judged()
        verdicts = made(rig, judge)
        judge.go_on.clear()
        verdicts.ask(key(), QUESTION)
        await asyncio.sleep(1)
        other = Question(SUBMIT.model_copy(update={"trigger": Trigger.OBSERVE}), QUESTION.context)
        if how == "forgotten":
            verdicts.forget(key())
        else:
            verdicts.ask(key(), other)
        judge.go_on.set()
        await asyncio.sleep(1)
        assert verdicts.of(key(), QUESTION) is None
        assert (verdicts.of(key(), other) is None) == (how == "forgotten")
        assert rig.taken() == ([] if how == "forgotten" else [key()])
        await verdicts.close()


@in_virtual_time
async def test_a_checker_that_is_lost_is_asked_again(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        judge = Judged()
        verdicts = made(rig, judge)
        judge.lost = 3
        verdicts.ask(key(), QUESTION)
        await asyncio.sleep(60)
        assert verdicts.of(key(), QUESTION) is not None
        await verdicts.close()


@in_virtual_time
async def test_many_are_asked_about_together_and_all_are_answered(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        judge = Judged()
        verdicts = made(rig, judge)
        keys = [key(str(n)) for n in range(5 * MAX_QUESTIONS + 1)]
        for each in keys:
            verdicts.ask(each, QUESTION)
        await asyncio.sleep(60)
        assert all(verdicts.of(each, QUESTION) is not None for each in keys)
        assert [len(asked) for asked in judge.asked] == [*[MAX_QUESTIONS] * 5, 1]
        await verdicts.close()
        assert verdicts.ask(key("later"), QUESTION) is None
        await asyncio.sleep(1)
        assert len(judge.asked) == 6
