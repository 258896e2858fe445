"""A checker that is killed or stopped at each frame that it hears or says: before, in the midst of it, and after.

The frames are taken from the wire itself, so that a new one without a story here fails.
"""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from curation.api.approval import EvaluatedRequest, Scope
from curation.api.names import Trigger
from curation.authz.book import PolicyBook
from curation.authz.decision import CallContext
from curation.authz.grant import Grant
from curation.authz.grant_text import grant_text
from curation.checking import checkers as under_test
from curation.checking import questions
from curation.checking.checkers import CheckerLost, Checkers
from curation.checking.policy_judgement import judge_policy
from curation.checking.questions import FROM_CHECKER, TO_CHECKER
from curation.checking.verdict import Asked, Question, set_to_wire
from curation.isolation.frames import Frame
from curation.isolation.hardening import Hardening
from curation.isolation.nursery import Nursery
from curation.isolation.spawn import Process
from curation.workers.targets import TEMPLATE
from tests.harness.processes import children, descriptors
from tests.peers.points import at

GENEROUS = 240
NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
ALL = "permit (principal, action, resource);"
REQUEST = EvaluatedRequest(
    module="m",
    module_digest="sha256:" + "0" * 64,
    trigger=Trigger.SUBMIT,
    method="POST",
    scheme="https",
    host="api.example",
    port=443,
    path="/",
    query="",
)
GRANT = Grant("ns", "g", REQUEST, Scope.REQUEST, None)


async def judges(checkers: Checkers) -> None:
    assert await checkers.judge_policy(ALL, namespace="ns") == judge_policy(ALL, cluster=False)


async def authorizes(checkers: Checkers) -> None:
    book = PolicyBook()
    book.put_grant(GRANT)
    asked = Asked(set_to_wire(book, "ns"), (Question(REQUEST, CallContext("job", {}, 1, 1)),), 1, NOW.timestamp())
    (verdict,) = await checkers.authorize("ns", lambda: asked)
    assert verdict.allowed


async def writes(checkers: Checkers) -> None:
    assert await checkers.write_grant(GRANT) == grant_text(GRANT)


STORIES: dict[type[Frame], Callable[[Checkers], Awaitable[None]]] = {
    questions.JudgePolicy: judges,
    questions.PolicyJudged: judges,
    questions.Authorize: authorizes,
    questions.Authorized: authorizes,
    questions.WriteGrant: writes,
    questions.GrantWritten: writes,
}
"""What makes each of them go, and that the answer is right."""


def test_each_frame_has_a_story() -> None:
    assert STORIES.keys() == {*TO_CHECKER.kinds, *FROM_CHECKER.kinds}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda number: number.name)
async def test_what_a_checker_was_asked_when_it_ends_or_stops_at_any_frame_is_answered_by_another(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(under_test, "WALL_SECONDS", 3.0)
    nursery, ready = Nursery(TEMPLATE), asyncio.Event()
    nursery.hear_memory(lambda _: ready.set())
    nursery.warm()
    async with asyncio.timeout(GENEROUS):
        await ready.wait()
    before = descriptors()

    async def told(kind: type[Frame], when: str) -> None:
        first = [at("checker", kind.NAME, when, number)]

        def start(target: str, hardening: Hardening) -> Process:
            return nursery.start(first.pop() if first else target, hardening)

        checkers = Checkers(start=start)
        try:
            await answered(STORIES[kind], checkers)
            assert not first
            await answered(STORIES[kind], checkers)  # whatever became of the first one
        finally:
            await checkers.close()

    stories = [
        told(kind, when)
        for kind in STORIES
        for when in (("before",) if kind in TO_CHECKER.kinds else ("before", "half", "after"))
    ]
    async with asyncio.timeout(GENEROUS):
        await asyncio.gather(*stories)
        while children(nursery.template_pid or 0) or descriptors() != before:  # noqa: ASYNC110 - not announced
            await asyncio.sleep(0.01)
        await nursery.close()


async def answered(story: Callable[[Checkers], Awaitable[None]], checkers: Checkers) -> None:
    """Ask until there is an answer, as everybody does: a machine with much to do may stop the second one too."""
    while True:
        with contextlib.suppress(CheckerLost):
            await story(checkers)
            return
