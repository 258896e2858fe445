"""What the demo waits for, and what its table says.

Matrix: a change, a failure, a time-out; each state of an earlier attempt.
"""

import asyncio
from typing import Any

import pytest

from demo.board import Board, DemoFailed
from demo.facts import Call, Session
from demo.kubectl import outcome
from demo.story import JOBS_FILE, names, read_jobs
from demo.table import earlier_attempt

UID = "00000000-0000-4000-8000-000000000001"
OLD, NEW = f"{UID}.g1.a1", f"{UID}.g2.a1"


def document(phase: str, run: str, session: str = "", abandoned: tuple[str, ...] = ()) -> dict[str, Any]:
    status: dict[str, Any] = {"phase": phase, "run": {"id": run}, "abandonedRuns": [{"id": a} for a in abandoned]}
    if session:
        status["session"] = {"id": session, "runID": run}
    return {"metadata": {"name": "one-1", "uid": UID}, "status": status}


def event(run: str) -> dict[str, Any]:
    return {
        "reason": "StaleCompletionDropped",
        "regarding": {"name": "one-1"},
        "note": f"Run {run} ended late with SessionSpawned; dropped: superseded.",
    }


def note(board: Board) -> str:
    return earlier_attempt(board, board.jobs["one-1"])[0]


async def test_a_wait_ends_with_the_change_that_it_waits_for() -> None:
    board = Board()
    waiter = asyncio.create_task(board.until(lambda: bool(board.in_phase("Running", ["one-1"])), "it runs"))
    await asyncio.sleep(0)
    board.saw_job("ADDED", document("Submitted", OLD))
    await asyncio.sleep(0)
    assert not waiter.done()
    board.saw_job("MODIFIED", document("Running", OLD, "session-1"))
    await asyncio.wait_for(waiter, 30)


async def test_a_wait_that_takes_too_long_says_what_it_waited_for_and_where_the_jobs_are() -> None:
    board = Board()
    board.saw_job("ADDED", document("Submitted", NEW, abandoned=(OLD,)))
    with pytest.raises(DemoFailed, match=r"in vain until pigs fly; 1 Submitted, one-1 has 1 runs to clean"):
        await board.until(lambda: False, "pigs fly", seconds=0.01)


async def test_a_killed_session_ends_every_wait_at_once() -> None:
    board = Board()
    waiter = asyncio.create_task(board.until(lambda: False, "something else"))
    await asyncio.sleep(0)
    board.saw_job("ADDED", document("Running", NEW, "session-1"))
    board.saw_job("MODIFIED", document("Failed", NEW))
    with pytest.raises(DemoFailed, match="a healthy session was killed: one-1 ran session-1"):
        await asyncio.wait_for(waiter, 30)


async def test_a_deleted_job_fails_the_demo() -> None:
    board = Board()
    board.saw_job("DELETED", document("Running", NEW, "session-1"))
    with pytest.raises(DemoFailed, match="one-1 was deleted"):
        await board.until(lambda: True, "anything")


def test_the_table_follows_an_earlier_attempt_to_its_end() -> None:
    board = Board()
    board.saw_job("ADDED", document("Submitted", OLD))
    assert note(board) == ""
    board.saw_sessions([Session("session-1", OLD, UID, "running")], [Call(OLD, answered=False)])
    assert note(board) == "its answer is held back"
    board.saw_job("MODIFIED", document("Running", NEW, "session-2", (OLD,)))
    assert note(board) == "g1.a1 superseded, unanswered"
    board.saw_sessions(board.sessions, [Call(OLD, answered=True)])
    assert note(board) == "g1.a1 superseded"
    board.saw_event(event(OLD))
    assert note(board) == "g1.a1 dropped, still alive"
    board.saw_sessions([Session("session-1", OLD, UID, "cancelled")], board.calls)
    assert note(board) == "g1.a1 dropped, cancelled"


def test_a_session_is_an_orphan_once_its_run_is_superseded() -> None:
    board = Board()
    board.saw_sessions([Session("session-1", OLD, UID, "running")], [])
    board.saw_job("ADDED", document("Submitted", OLD))
    assert board.orphans() == []
    board.saw_job("MODIFIED", document("Submitted", NEW, abandoned=(OLD,)))
    assert [session.id for session in board.orphans()] == ["session-1"]
    board.saw_sessions([Session("session-1", OLD, UID, "cancelled")], [])
    assert board.orphans() == []


def test_an_event_that_is_delivered_twice_counts_once() -> None:
    board = Board()
    board.saw_event(event(OLD))
    board.saw_event(event(OLD))
    board.saw_event({**event(OLD), "reason": "SessionSpawned"})
    assert board.dropped == {"one-1": [OLD]}


def test_the_outcome_of_kubectl_is_said_in_a_few_words() -> None:
    ten = "".join(f"curationjob.curation.dev/dataset-{number} created\n" for number in range(10))
    assert outcome(ten) == "10 curationjobs created"
    assert outcome("namespace/demo created\nrolebinding.rbac.authorization.k8s.io/a created\n") == (
        "1 namespace created, 1 rolebinding created"
    )
    assert outcome("approval x approved\n\npermit (...)\n") == "approval x approved"
    assert outcome("") == ""


def test_the_demo_has_ten_jobs_of_which_three_are_let_through_first() -> None:
    jobs = read_jobs(JOBS_FILE)
    assert len(set(names(jobs))) == 10
    assert len(names(jobs, access="early")) == 3
    assert {job["spec"]["onDenied"] for job in jobs} == {"Fail"}
