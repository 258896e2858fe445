"""The first pod that comes for a run is the only one that ever may speak for it."""

import pytest

from curation.api.job import RunPod
from curation.lifecycle.binding import bind, shows
from curation.lifecycle.decide import POD_PATIENCE, decide
from curation.lifecycle.outcome import Liveness
from curation.reconciler.jobs.orders import run_key
from tests.unit.lifecycle.builders import NOW, UID, claimed, deleted, edited, facts, running, seconds, stepped, stored

POD = RunPod(name="guest-1", uid="pod-1", job_uid="job-1", node="node-1")


def test_the_first_pod_is_written_down_before_anything_else_and_known_from_then_on() -> None:
    job = claimed()
    assert job.status.run is not None
    run = run_key(UID, job.status.run)
    binding = bind(job, run, POD, NOW)
    assert (binding.bound, binding.refusal) == (False, "")
    assert binding.status is not None
    written = stored(job, binding.status)
    assert "guest-1" in written.status.message
    assert shows(written, run, POD)
    assert not shows(job, run, POD)
    assert bind(written, run, POD, NOW).bound


@pytest.mark.parametrize("other", [{"uid": "pod-2"}, {"job_uid": "job-2"}], ids=["another-pod", "another-job"])
def test_every_other_pod_is_refused_whatever_its_name(other: dict[str, str]) -> None:
    job = claimed()
    assert job.status.run is not None
    run = run_key(UID, job.status.run)
    first = bind(job, run, POD, NOW)
    assert first.status is not None
    second = bind(stored(job, first.status), run, POD.model_copy(update=other), NOW)
    assert (second.status, second.bound) == (None, False)
    assert "another pod" in second.refusal


def test_a_pod_of_a_run_that_is_no_longer_current_is_refused_for_the_fence_s_reason() -> None:
    job = claimed()
    assert job.status.run is not None
    run = run_key(UID, job.status.run)
    assert "deleted" in bind(deleted(job), run, POD, NOW).refusal
    assert "suspended" in bind(edited(job, suspend=True), run, POD, NOW).refusal
    assert "Running" in bind(running(), run, POD, NOW).refusal
    assert bind(None, run, POD, NOW).refusal
    assert "recreated" in bind(job, run_key("another", job.status.run), POD, NOW).refusal


def test_what_a_run_waits_for_is_shown_once_it_has_waited_for_long_and_until_its_pod_has_come() -> None:
    job, why = claimed(), "its pod guest-1: ErrImagePull: not found"
    assert job.status.phase_since is not None
    known = {"liveness": Liveness.ALIVE, "waits": why}
    early = decide(job, facts(now=job.status.phase_since + seconds(1), **known))
    assert early.status == job.status
    assert early.wake_at == job.status.phase_since + POD_PATIENCE
    later = {**known, "now": job.status.phase_since + seconds(6)}
    shown = stepped(job, **later)
    assert why in shown.status.message
    assert shown.status.phase_since == job.status.phase_since
    assert decide(shown, facts(**later)).status == shown.status, "it is said once"
    assert job.status.run is not None
    bound = bind(shown, run_key(UID, job.status.run), POD, NOW)
    assert bound.status is not None
    assert decide(stored(shown, bound.status), facts(**later)).status.message == bound.status.message
