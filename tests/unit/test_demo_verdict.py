"""The demo's verdict: a sound ending passes, and each way in which the operator could have failed is named.

Matrix: lost, not running, killed, wrong session, second session, orphan, abandoned run, stale count, Events, log, gate.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from demo.facts import Call, Job, Metrics, Session, attempt, dropped_run, killed
from demo.summary import rows, sentence
from demo.verdict import Evidence, problems

UID = "00000000-0000-4000-8000-00000000000{}"


def run(number: int, label: str) -> str:
    return f"{UID.format(number)}.{label}"


def job(number: int) -> Job:
    name, now = f"dataset-{number}", run(number, "g2.a1")
    return Job(name, UID.format(number), "Running", "SessionSpawned", now, f"session-{number}", now)


def session(number: int, label: str, state: str) -> Session:
    name = f"session-{number}" if label == "g2.a1" else f"orphan-{number}"
    return Session(name, run(number, label), UID.format(number), state)


def metrics(stale: int = 1, allowed: int = 4) -> Metrics:
    return Metrics.parse(
        "# TYPE curation_completions counter\n"
        f'curation_completions_total{{verdict="stale"}} {stale}.0\n'
        'curation_completions_total{verdict="applied"} 3.0\n'
        "# TYPE curation_http_calls counter\n"
        f'curation_http_calls_total{{decision="allowed",code="200"}} {allowed - 1}.0\n'
        'curation_http_calls_total{decision="allowed",code="201"} 1.0\n'
        'curation_http_calls_total{decision="denied",code="denied"} 1.0\n'
    )


def sound() -> Evidence:
    """Two jobs; the first attempt of the first was answered late."""
    jobs = {f"dataset-{number}": job(number) for number in (1, 2)}
    return Evidence(
        expected=list(jobs),
        late=["dataset-1"],
        jobs=jobs,
        history={name: [replace(job, phase="Submitted", session=""), job, job] for name, job in jobs.items()},
        sessions=[session(1, "g1.a1", "cancelled"), session(1, "g2.a1", "running"), session(2, "g2.a1", "running")],
        calls=[Call(run(1, "g2.a1"), answered=True)] * 4,
        metrics=metrics(),
        dropped={"dataset-1": [run(1, "g1.a1")]},
        logged=["dropped a stale completion: ..."],
    )


def with_job(evidence: Evidence, changed: Job) -> Evidence:
    return replace(evidence, jobs={**evidence.jobs, changed.name: changed})


def test_a_sound_ending_has_no_problem() -> None:
    assert problems(sound()) == []


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (lambda e: replace(e, jobs={"dataset-1": job(1)}), "dataset-2 is lost"),
        (lambda e: with_job(e, replace(job(2), phase="Failed", reason="ModuleError")), "dataset-2 is Failed"),
        (
            lambda e: replace(e, history={"dataset-1": [job(1), replace(job(1), phase="Failed", reason="X"), job(1)]}),
            "dataset-1 ran session-1 in g2.a1, then became Failed (X)",
        ),
        (
            lambda e: with_job(e, replace(job(1), session="orphan-1", session_run_id=run(1, "g1.a1"))),
            "dataset-1 names orphan-1 of g1.a1 in its status; live for it: session-1 of g2.a1",
        ),
        (
            lambda e: replace(e, sessions=[session(1, "g2.a1", "cancelled"), session(2, "g2.a1", "running")]),
            "dataset-1 names session-1 of g2.a1 in its status; live for it: none",
        ),
        (lambda e: replace(e, sessions=[*e.sessions, session(2, "g1.a1", "created")]), "orphan-2 of run"),
        (lambda e: with_job(e, replace(job(2), abandoned=(run(2, "g1.a1"),))), "abandoned runs to clean: g1.a1"),
        (lambda e: replace(e, metrics=metrics(stale=0)), "counted 0 stale completions, not 1"),
        (lambda e: replace(e, metrics=metrics(stale=2)), "counted 2 stale completions, not 1"),
        (lambda e: replace(e, dropped={}), "Events StaleCompletionDropped"),
        (lambda e: replace(e, dropped={"dataset-1": [run(1, "g2.a1")]}), "Events StaleCompletionDropped"),
        (lambda e: replace(e, dropped={**e.dropped, "dataset-2": [run(2, "g1.a1")]}), "Events StaleCompletionDropped"),
        (lambda e: replace(e, logged=()), "log has 0 dropped completions, not 1"),
        (lambda e: replace(e, metrics=metrics(allowed=3)), "allowed 3 calls, the session service received 4"),
    ],
)
def test_whatever_is_wrong_is_named(broken: Callable[[Evidence], Evidence], expected: str) -> None:
    assert any(expected in said for said in problems(broken(sound()))), problems(broken(sound()))


def test_a_running_session_that_is_replaced_was_killed_even_if_the_job_runs_again() -> None:
    other = replace(job(1), run_id=run(1, "g2.a2"), session="session-9", session_run_id=run(1, "g2.a2"))
    assert "then became Running (SessionSpawned) with session-9 in g2.a2" in killed([job(1), other])


def test_a_denied_first_attempt_is_no_killed_session() -> None:
    denied = replace(job(1), phase="Failed", reason="Denied", run_id=run(1, "g1.a1"), session="", session_run_id="")
    assert killed([denied, replace(denied, phase="Submitted", run_id=run(1, "g2.a1")), job(1), job(1)]) == ""


def test_the_summary_counts_what_the_evidence_holds() -> None:
    evidence = with_job(sound(), replace(job(2), phase="Failed"))
    counts = {what: count for what, count, _ in rows(evidence, ["dataset-1", "dataset-2"])}
    assert counts["of ten jobs: Running"] == "1"
    assert counts["sessions made, cancelled, live"] == "3, 1, 2"
    assert counts["calls allowed, denied"] == "4, 1"
    assert counts["completions applied"] == "3"
    assert sentence(evidence, ["dataset-1", "dataset-2"]).startswith("Of ten jobs 1 Running, none killed, 1 stale")


def test_a_job_is_read_from_the_api_servers_document() -> None:
    document = {
        "metadata": {"name": "dataset-1", "uid": UID.format(1)},
        "status": {
            "phase": "Running",
            "reason": "SessionSpawned",
            "run": {"id": run(1, "g2.a1")},
            "session": {"id": "session-1", "runID": run(1, "g2.a1")},
            "abandonedRuns": [{"id": run(1, "g1.a1")}],
        },
    }
    assert Job.parse(document) == replace(job(1), abandoned=(run(1, "g1.a1"),))
    assert Job.parse({"metadata": document["metadata"]}) == Job("dataset-1", UID.format(1))


def test_run_ids_are_read_from_ids_and_notes() -> None:
    assert attempt(run(1, "g2.a1")) == "g2.a1"
    assert attempt("") == ""
    assert dropped_run(f"Run {run(1, 'g1.a1')} ended late with SessionSpawned; dropped: ...") == run(1, "g1.a1")
    assert dropped_run("something else") == ""
