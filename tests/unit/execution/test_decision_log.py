"""The egress decision log: which calls are in it, what a line says, and that a namespace cannot flood it."""

import logging
from dataclasses import replace

import pytest

from curation.execution.decision_log import LINES, DecisionLog
from curation.execution.seam import CallEnd, ExecutionRequest, ModuleBuild
from curation.lifecycle.outcome import Completed, Report, RunKey, Trigger
from tests.unit.execution.conftest import Notes

REQUEST = ExecutionRequest(
    trigger=Trigger.SUBMIT,
    run=RunKey("uid-1", "uid-1.g3.a1", 3, 1, "v1:abc"),
    namespace="team",
    job="job-1",
    module=ModuleBuild("build-session", "sha256:abc"),
)
DENIED = CallEnd(2, "denied", "denied", 0.0123, "POST", "https://a.example:443/sessions", ("CurationPolicy/team/p#0",))
ALLOWED = replace(DENIED, decision="allowed", code="201")


def logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [each for each in caplog.records if each.name == "curation.execution.decision_log"]


@pytest.mark.parametrize(("allowed", "lines"), [(False, 1), (True, 2)])
def test_denied_calls_are_always_in_it_and_allowed_ones_by_option(
    caplog: pytest.LogCaptureFixture, allowed: bool, lines: int
) -> None:
    caplog.set_level(logging.INFO)
    notes = Notes()
    log = DecisionLog(notes, allowed=allowed)
    log.on_call(REQUEST, DENIED)
    log.on_call(REQUEST, ALLOWED)
    assert len(logged(caplog)) == lines
    assert len(notes.calls) == 2


def test_a_line_says_who_asked_for_what_and_who_decided(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    DecisionLog(Notes(), allowed=False).on_call(REQUEST, DENIED)
    (line,) = logged(caplog)
    expected = {
        "job": "team/job-1",
        "run_id": "uid-1.g3.a1",
        "trigger": "Submit",
        "module_name": "build-session",
        "module_digest": "sha256:abc",
        "call": 2,
        "method": "POST",
        "url": "https://a.example:443/sessions",
        "decision": "denied",
        "decided_by": ["CurationPolicy/team/p#0"],
        "result": "denied",
        "milliseconds": 12.3,
    }
    assert {name: vars(line)[name] for name in expected} == expected
    assert "build-session" in line.message


def test_one_namespace_cannot_fill_it_and_what_is_left_out_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = 1.0
    log = DecisionLog(Notes(), allowed=False, monotonic=lambda: now)
    for _ in range(LINES + 7):
        log.on_call(REQUEST, DENIED)
    assert len(logged(caplog)) == LINES
    log.on_call(replace(REQUEST, namespace="other"), DENIED)
    assert len(logged(caplog)) == LINES + 1
    now = 2.0
    log.on_call(REQUEST, DENIED)
    assert f"7 calls of namespace team, or logs of modules, are not here: there are {LINES} lines" in caplog.text


@pytest.mark.parametrize(
    ("trigger", "allowed", "lines"),
    [(Trigger.SUBMIT, False, 1), (Trigger.CANCEL, False, 1), (Trigger.OBSERVE, False, 0), (Trigger.OBSERVE, True, 1)],
)
def test_what_a_module_logs_is_in_it_also_of_a_run_that_goes_well(
    caplog: pytest.LogCaptureFixture, trigger: Trigger, allowed: bool, lines: int
) -> None:
    caplog.set_level(logging.INFO)
    notes = Notes()
    log, request = DecisionLog(notes, allowed=allowed), replace(REQUEST, trigger=trigger)
    log.on_end(request, Report(trigger, REQUEST.run, Completed({}), log="info: started\nwarning: odd"), 0.1)
    log.on_end(request, Report(trigger, REQUEST.run, Completed({})), 0.1)
    said = logged(caplog)
    assert len(said) == lines
    for line in said:
        assert line.getMessage() == "module build-session has logged: info: started\nwarning: odd"
        assert vars(line)["run_id"] == "uid-1.g3.a1"


def test_a_namespace_whose_modules_log_at_every_end_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = DecisionLog(Notes(), allowed=False, monotonic=lambda: 1.0)
    for _ in range(3 * LINES):
        log.on_end(REQUEST, Report(Trigger.SUBMIT, REQUEST.run, Completed({}), log="info: x"), 0.1)
    log.on_call(REQUEST, DENIED)
    log.on_call(replace(REQUEST, namespace="quiet"), DENIED)
    assert len(logged(caplog)) == LINES + 1
