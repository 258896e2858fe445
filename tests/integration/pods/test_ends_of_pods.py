"""A pod that is killed, a Job that is suspended or deleted by hand, a second pod: one execution speaks, or none."""

import pytest

from testing.sessions.faults import Rule
from tests.harness.pods import Pods
from tests.harness.slow_runs import Point, sessions_of
from tests.harness.world import JOBS


async def held_in_a_pod(pods: Pods) -> Rule:
    """A job whose first call is on the wire, and whose pod is bound; its later attempts are not held."""
    await pods.world.prepare(wall_seconds=20)
    await pods.world.start_operator()
    rule = await pods.create_held_job(Point.CREATED)
    await pods.until_bound()
    return rule


@pytest.mark.parametrize("reason", ["OOMKilled", "Error"])
async def test_a_pod_that_is_killed_ends_its_run_with_its_reason_and_the_next_attempt_runs(
    pods: Pods, reason: str
) -> None:
    await held_in_a_pod(pods)
    first = pods.pod()
    pods.kubelet.kill(first["uid"], reason)
    await pods.world.until(
        lambda: pods.world.event_count("RetryScheduled", note=reason) == 1, "an Event names the pod's reason"
    )
    second = await pods.until_bound(attempt=2)
    assert second["uid"] != first["uid"]
    await pods.world.until_phase("Running")
    assert pods.world.status()["run"]["retries"] == 0, "it does not count against retry.limit"
    assert pods.world.event_count("RetryScheduled", note=first["name"]) == 1
    await pods.world.settled()
    assert not any(each.live for each in sessions_of(pods.world, ["job-0"], generation=1, attempt=1))
    await pods.until_no_jobs()


async def test_a_job_that_is_suspended_and_resumed_by_hand_after_the_first_call_executes_once(pods: Pods) -> None:
    await held_in_a_pod(pods)
    (job,) = await pods.jobs()
    await pods.patch_job(job["metadata"]["name"], {"spec": {"suspend": True}})
    await pods.world.until(lambda: pods.world.event_count("RetryScheduled", note="suspended") == 1, "it is interrupted")
    await pods.world.until_phase("Running")
    assert pods.world.status()["run"]["attempt"] == 2
    await pods.world.settled()
    calls = [
        entry for entry in pods.world.service.log(run=pods.world.run_id(generation=1)) if entry.path == "/sessions"
    ]
    assert len(calls) == 1, "whatever pod came for the first attempt after that said nothing"
    await pods.until_no_jobs()


async def test_a_job_that_is_deleted_by_hand_ends_its_run(pods: Pods) -> None:
    await held_in_a_pod(pods)
    (job,) = await pods.jobs()
    await pods.delete_job(job["metadata"]["name"])
    await pods.world.until(lambda: pods.world.event_count("RetryScheduled") == 1, "it is interrupted")
    await pods.world.until_phase("Running")
    assert pods.world.status()["run"]["attempt"] == 2
    await pods.world.settled()


async def test_a_second_pod_of_the_same_job_is_turned_away_and_the_first_goes_on(pods: Pods) -> None:
    await pods.world.prepare()
    await pods.world.start_operator()
    rule = await pods.create_held_job(Point.CREATE)
    first = await pods.until_bound()
    await pods.until_second_pod_is_refused()
    rule.release()
    await pods.world.until_phase("Running")
    assert pods.pod()["uid"] == first["uid"]
    assert len(pods.world.service.log(run=pods.world.run_id(generation=1))) >= 2
    assert len(sessions_of(pods.world, ["job-0"], generation=1)) == 1


async def test_an_image_that_cannot_be_pulled_is_said_in_the_status(pods: Pods) -> None:
    await pods.world.prepare()
    await pods.world.start_operator()
    pods.kubelet.pull_error = "no such image"
    await pods.world.create_job()
    said = "ErrImagePull: no such image"
    await pods.world.until(lambda: said in pods.world.status().get("message", ""), "the status says why it waits")
    pods.kubelet.pull_error = ""
    await pods.world.until_phase("Running")
    assert pods.world.status()["run"]["attempt"] == 1


async def test_a_job_that_is_suspended_by_its_author_stops_its_pod_and_cancels_its_session(pods: Pods) -> None:
    rule = await held_in_a_pod(pods)
    await pods.world.edit("job-0", suspend=True)
    await pods.world.until_phase("Queued", reason="Suspended")
    rule.release()
    await pods.world.settled()
    assert not any(each.live for each in pods.world.service.sessions())
    await pods.until_no_jobs()


async def test_a_job_that_is_deleted_by_its_author_goes_once_its_run_in_a_pod_is_cleaned(pods: Pods) -> None:
    """Its run, which is current until the job is gone, is not listened to again once it has ended."""
    await pods.world.prepare()
    await pods.world.start_operator()
    rule = await pods.create_held_job(Point.CREATED)
    await pods.until_bound()
    await pods.world.cluster.delete(JOBS, "job-0")
    rule.release()
    await pods.world.until_gone("job-0")
    await pods.world.settled()
    assert [each.live for each in pods.world.service.sessions()] == [False]
    await pods.until_no_jobs()
