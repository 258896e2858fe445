"""How long until a session is observed again, and when an observation leaves nothing to do."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.api.job import CurationJob, Observe
from curation.api.names import FailureClass, Trigger
from curation.lifecycle.complete import Ruling
from curation.lifecycle.observing import MAX_BACKOFF_SECONDS, interval_of, is_settled, quiet_of
from curation.lifecycle.outcome import (
    Cancelled,
    Completed,
    Report,
    Result,
    SessionFailed,
    SessionRef,
    SessionSpawned,
    StillRunning,
)
from tests.unit.lifecycle.builders import (
    NOW,
    claimed,
    deleted,
    denied,
    edited,
    failed,
    new_job,
    report,
    running,
    seconds,
    stored,
    verdict_of,
)

DEFAULT = Observe()
bounds = (
    st.tuples(st.integers(1, 3600), st.integers(1, 3600))
    .map(sorted)
    .map(lambda pair: Observe(interval_seconds=pair[0], max_interval_seconds=pair[1]))
)
quiets = st.floats(0, 1e9)


def test_the_interval_doubles_from_the_shortest_to_the_longest() -> None:
    at, times = 0.0, []
    for _ in range(6):
        at += interval_of(DEFAULT, at)
        times.append(at)
    assert times == [10, 20, 40, 80, 140, 200]


def test_failures_double_the_shortest_interval_to_five_minutes() -> None:
    found = [interval_of(DEFAULT, 0, failures) for failures in range(9)]
    assert found == [10, 10, 20, 40, 80, 160, 300, 300, 300]


@given(bounds, quiets, st.integers(0, 10_000))
def test_the_interval_is_within_its_bounds_and_a_failure_never_shortens_it(
    observe: Observe, quiet: float, failures: int
) -> None:
    calm, failing = interval_of(observe, quiet), interval_of(observe, quiet, failures)
    assert observe.interval_seconds <= calm <= observe.max_interval_seconds
    assert calm <= failing <= max(MAX_BACKOFF_SECONDS, observe.max_interval_seconds)


@given(bounds, quiets, quiets)
def test_what_was_quiet_for_longer_is_not_observed_more_often(observe: Observe, one: float, other: float) -> None:
    shorter, longer = sorted((one, other))
    assert interval_of(observe, shorter) <= interval_of(observe, longer)


@given(st.integers(1, 3600), quiets)
def test_the_deprecated_field_means_an_interval_that_never_grows(interval: int, quiet: float) -> None:
    job = new_job(observe_interval_seconds=interval)
    assert interval_of(job.spec.observation, quiet) == interval


def test_a_longest_interval_that_admission_could_not_refuse_counts_for_nothing() -> None:
    assert interval_of(Observe(interval_seconds=30, max_interval_seconds=5), 1000) == 30


def test_a_status_tells_how_long_nothing_has_changed() -> None:
    job = running()
    assert quiet_of(job, NOW + seconds(90)) == 90
    progressed = verdict_of(job, report(job, StillRunning({"step": 1}), Trigger.OBSERVE), NOW + seconds(60)).status
    assert progressed is not None
    assert quiet_of(stored(job, progressed), NOW + seconds(90)) == 30
    assert quiet_of(job, NOW - seconds(5)) == 0, "the clocks differ"
    assert quiet_of(new_job(), NOW) == 0


SPAWNED = SessionSpawned(SessionRef("s2"))


@pytest.mark.parametrize(
    "result",
    [
        Completed({}),
        SessionFailed("gone"),
        StillRunning({"step": 1}),
        failed(FailureClass.TRAP),
        denied(),
        SPAWNED,
        Cancelled(),
    ],
    ids=lambda result: type(result).__name__,
)
def test_an_observation_that_tells_something_new_is_not_settled_yet(result: Result) -> None:
    job = running()
    assert not _settled(job, report(job, result, Trigger.OBSERVE))


def test_an_observation_that_tells_nothing_new_is_settled() -> None:
    job = running()
    assert _settled(job, report(job, StillRunning(), Trigger.OBSERVE))
    known = _after(job, StillRunning({"step": 1}))
    assert _settled(known, report(known, StillRunning({"step": 1}), Trigger.OBSERVE))
    # Written at most every 30 s: what has changed sooner is not to be written yet.
    assert _settled(known, report(known, StillRunning({"step": 2}), Trigger.OBSERVE), at=70)
    assert not _settled(known, report(known, StillRunning({"step": 2}), Trigger.OBSERVE), at=100)


def test_a_failure_is_settled_once_the_conditions_show_it_and_its_end_is_not() -> None:
    broken = failed(FailureClass.TRAP)
    shown = _after(running(), broken)
    assert _settled(shown, report(shown, broken, Trigger.OBSERVE))
    assert not _settled(shown, report(shown, failed(FailureClass.TIMEOUT), Trigger.OBSERVE))
    assert not _settled(shown, report(shown, StillRunning(), Trigger.OBSERVE))


def test_a_denial_is_never_settled_since_its_approval_may_be_gone() -> None:
    shown = _after(running(), denied())
    assert not _settled(shown, report(shown, denied(), Trigger.OBSERVE))


@pytest.mark.parametrize(
    "change", [deleted, lambda job: edited(job, suspend=True), lambda job: edited(job, rerun="1")], ids=["d", "s", "t"]
)
def test_an_observation_of_a_session_that_the_job_no_longer_owns_is_dropped_by_a_worker(change: Any) -> None:
    job = running()
    assert not _settled(change(job), report(job, StillRunning(), Trigger.OBSERVE))


def test_nothing_but_an_observation_is_settled_so() -> None:
    job = claimed()
    assert not _settled(job, report(job, StillRunning()))
    assert not _settled(running(job), report(job, SessionSpawned(SessionRef("s1"))))


def _settled(job: CurationJob, given: Report, at: float = 60) -> bool:
    verdict = verdict_of(job, given, NOW + seconds(at))
    found = is_settled(job, given, verdict)
    if found:
        assert verdict.ruling is Ruling.APPLIED
        assert verdict.status in (None, job.status)
    return found


def _after(job: CurationJob, result: Result) -> CurationJob:
    status = verdict_of(job, report(job, result, Trigger.OBSERVE), NOW + seconds(60)).status
    assert status is not None
    return stored(job, status)
