"""Requests that wait, judged by a real checker: as the gate would judge them here, and within bounds."""

import asyncio
from collections.abc import AsyncIterator
from copy import copy
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from curation.api.approval import EvaluatedRequest, Scope
from curation.api.names import Trigger
from curation.authz.book import PolicyBook
from curation.authz.decision import CallContext
from curation.authz.gate import Gate
from curation.authz.grant import Grant
from curation.authz.grant_text import grant_text
from curation.checking import checkers as under_test
from curation.checking.checkers import Checkers
from curation.checking.questions import MAX_SET_BYTES
from curation.checking.verdict import Asked, Question, Verdict, set_to_wire

NOW = datetime(2030, 1, 2, 3, 4, 5, 678900, UTC)
REQUEST = EvaluatedRequest(
    module="m",
    module_digest="sha256:" + "0" * 64,
    trigger=Trigger.SUBMIT,
    method="POST",
    scheme="https",
    host="api.example",
    port=443,
    path='/a"b\\c',
    query="q=é",
)
OTHER = REQUEST.model_copy(update={"path": "/other"})
GRANT = Grant("ns", "m-1", REQUEST, Scope.REQUEST, NOW + timedelta(hours=1))
HEAVY = "permit (principal, action, resource) when {" + " && ".join(["[1, 2, 3].containsAll([3, 2, 1])"] * 400) + "};"


def question(request: EvaluatedRequest = REQUEST, **labels: str) -> Question:
    return Question(request, CallContext("job", labels, 3, 2))


@pytest.fixture
async def checkers() -> AsyncIterator[Checkers]:
    made = Checkers()
    yield made
    await made.close()


async def judged(checkers: Checkers, book: PolicyBook, *questions: Question) -> list[Verdict]:
    def ask() -> Asked:
        return Asked(set_to_wire(book, "ns"), questions, book.revision("ns"), NOW.timestamp())

    async with asyncio.timeout(120):
        return await checkers.authorize("ns", ask)


@pytest.mark.parametrize("what", ["nothing", "policy", "forbid", "forbid of the cluster", "error", "flaw", "grant"])
async def test_a_verdict_is_what_the_gate_says_here(checkers: Checkers, what: str) -> None:
    book = PolicyBook()
    allow = 'permit (principal, action, resource) when { context.labels.hasTag("team") };'
    match what:
        case "policy":
            book.put_policy("ns", "p", allow)
        case "forbid":
            book.put_policy("ns", "p", allow)
            book.put_policy("ns", "q", '@id("no") forbid (principal, action, resource);')
        case "forbid of the cluster":
            book.put_policy("ns", "p", allow)
            book.put_policy(None, "q", "forbid (principal, action, resource) when { context.attempt == 2 };")
        case "error":
            book.put_policy(
                "ns", "p", 'permit (principal, action, resource) when { context.labels.getTag("no") == "" };'
            )
        case "flaw":
            book.note_flaw(None, "p", "is invalid, see its status")
        case "grant":
            book.put_grant(GRANT)
    gate = Gate(book, lambda: NOW)
    asked = (question(team="a"), question(OTHER))
    verdicts = await judged(checkers, book, *asked)
    for each, verdict in zip(asked, verdicts, strict=True):
        here = gate.authorize("ns", each.request, each.context)
        assert (verdict.allowed, verdict.reason) == (here.allowed, here.reason)
        assert verdict.decided == bool(here.policies or here.errors)
        assert verdict.holds(each, book.revision("ns"), NOW)
        assert not verdict.holds(question(team="b"), book.revision("ns"), NOW)
        assert not verdict.holds(each, book.revision("ns") + 1, NOW)
    assert verdicts[0].holds(asked[0], book.revision("ns"), NOW + timedelta(hours=2)) == (what != "grant")


async def test_what_counts_for_cancel_alone_is_no_submits(checkers: Checkers) -> None:
    book = PolicyBook()
    book.put_grant(Grant("ns", "m-1", REQUEST, Scope.HOST, None, None, cancel_only=True))
    cancels = question(REQUEST.model_copy(update={"trigger": Trigger.CANCEL}))
    assert [each.allowed for each in await judged(checkers, book, question(), cancels)] == [False, True]


async def test_of_questions_that_take_long_some_are_answered_and_the_others_wait(
    checkers: Checkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "ENOUGH_SECONDS", 0.0)
    book = PolicyBook()
    book.put_policy("ns", "p", HEAVY)
    asked = [question(n=str(n)) for n in range(100)]
    verdicts = await judged(checkers, book, *asked)
    assert [each.question for each in verdicts] == asked[:1]


async def test_a_set_that_is_too_large_is_not_sent_and_denies(checkers: Checkers) -> None:
    for counts in (b" " * (MAX_SET_BYTES + 1), None):
        asked = Asked(counts, [question(), question(OTHER)], 7, 0.0)
        (verdict,) = await checkers.authorize("ns", partial(copy, asked))
        assert (verdict.allowed, verdict.decided, verdict.revision) == (False, True, 7)
        assert "more than 8 MiB of policies and grants" in verdict.reason
    assert await checkers.authorize("ns", lambda: Asked(b"", [], 1, 0.0)) == []


async def test_a_decision_that_takes_too_much_is_a_denial_of_that_request_alone(
    checkers: Checkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "_TARGET", "tests.peers.checkers:main")
    monkeypatch.setattr(under_test, "CPU_SECONDS", 1)
    book = PolicyBook()
    book.put_policy("ns", "p", "permit (principal, action, resource);")
    spins = question(REQUEST.model_copy(update={"path": "/spin"}))
    (verdict,) = await judged(checkers, book, spins, question())
    assert (verdict.question, verdict.allowed) == (spins, False)
    assert "more than 1 s of processor time" in verdict.reason
    (verdict,) = await judged(checkers, book, question())
    assert verdict.allowed


async def test_the_text_of_a_grant_is_written_by_cedar(checkers: Checkers) -> None:
    assert await checkers.write_grant(GRANT) == grant_text(GRANT)
