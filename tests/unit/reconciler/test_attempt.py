"""What is heard of an execution: only its first end counts, and what is not known of its calls counts as left."""

import pytest

from curation.execution.seam import Accepted, Answered, Ended, Left, Lost, Refused, Waiting
from curation.lifecycle.outcome import Calls, Completed, Failed, FailureClass, Report, RunKey, Trigger
from curation.reconciler.jobs import orders
from curation.reconciler.jobs.attempt import Attempt
from tests.unit.reconciler.disconnected import job, key, run_status

FOUND = job(status=run_status("Submitted"))
assert FOUND.status.run is not None
ORDER = orders.submit(key(), FOUND, FOUND.status.run)
DONE = Report(Trigger.SUBMIT, ORDER.run, Completed({"n": 1}), Calls(1, 1, 1))


def begun() -> Attempt:
    return Attempt(ORDER)


def test_only_the_first_end_counts_and_nothing_else_ends_it() -> None:
    attempt = begun()
    for word in (Accepted(), Waiting("no room"), Left(1), Left(1), Answered(1)):
        assert attempt.hear(word) is None
    assert attempt.waits == "no room"
    assert attempt.hear(Ended(DONE)) == DONE
    for late in (Ended(DONE), Lost("killed"), Left(2), Refused("no", retryable=True)):
        assert attempt.hear(late) is None
    assert attempt.report == DONE


def test_the_end_of_one_whose_fence_died_is_dead_whatever_its_executor_has_heard() -> None:
    attempt = begun()
    attempt.kill("edited")
    report = attempt.hear(Ended(DONE))
    assert report is not None
    assert report.dead


@pytest.mark.parametrize(
    ("heard", "calls", "counts"),
    [
        pytest.param((), None, Calls(1, 0, 1), id="nothing was heard"),
        pytest.param((1,), None, Calls(2, 1, 2), id="one more may have left than was heard of"),
        pytest.param((1,), Calls(1, 1, 1), Calls(1, 1, 1), id="the executor knows"),
    ],
)
def test_of_a_lost_execution_what_is_not_known_counts_as_left_and_not_answered(
    heard: tuple[int, ...], calls: Calls | None, counts: Calls
) -> None:
    attempt = begun()
    for number in heard:
        attempt.hear(Left(number))
        attempt.hear(Answered(number))
    report = attempt.hear(Lost("its process was killed", calls))
    assert report is not None
    assert report.calls == counts
    assert isinstance(report.result, Failed)
    assert report.result.failure_class is FailureClass.INTERRUPTED
    assert "its process was killed" in report.result.message


@pytest.mark.parametrize("retryable", [True, False])
def test_a_refused_execution_has_failed_without_a_call(retryable: bool) -> None:
    report = begun().hear(Refused("too large", retryable))
    assert report is not None
    assert report.result == Failed(FailureClass.MODULE_UNAVAILABLE, "too large", absent=not retryable)
    assert report.calls == Calls()


def test_the_report_of_another_run_is_not_taken_for_its_own() -> None:
    other = Report(Trigger.SUBMIT, RunKey("uid-2", "uid-2.g1.a1", 1, 1, "v1:x"), Completed({}), Calls(1, 1, 1))
    report = begun().hear(Ended(other))
    assert report is not None
    assert report.run == ORDER.run
    assert isinstance(report.result, Failed)
    assert report.calls == Calls(1, 0, 1)
