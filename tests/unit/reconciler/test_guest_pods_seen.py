"""What is read of the Jobs and pods of guests: why one does not begin, and why nothing comes of it any more."""

from typing import Any

import pytest

from curation.reconciler.pods.seen import MAX_WORDS, cause_of_loss, job_of_document, pod_of_document

RUN = "u.g1.a1"


def job(conditions: list[dict[str, str]] | None = None, *, deleted: bool = False, **spec: Any) -> Any:
    found = {
        "metadata": {"name": "u-g1-a1", "uid": "job-1", "annotations": {"curation.dev/run-id": RUN}},
        "spec": spec,
        "status": {"conditions": conditions or []},
    }
    if deleted:
        found["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    return found


def pod(**status: Any) -> Any:
    owner = {"kind": "Job", "uid": "job-1", "controller": True}
    return {
        "metadata": {"name": "pod", "uid": "pod-1", "ownerReferences": [owner]},
        "spec": {"nodeName": "node"},
        "status": status,
    }


def container(**state: Any) -> list[dict[str, Any]]:
    return [{"name": "guest", "state": state}]


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        ({"phase": "Pending"}, "", ""),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3"}]},
            "Unschedulable",
            "Unschedulable: 0/3",
        ),
        ({"containerStatuses": container(waiting={"reason": "ContainerCreating"})}, "", ""),
        (
            {"containerStatuses": container(waiting={"reason": "ErrImagePull", "message": "no\nsuch  image"})},
            "ErrImagePull",
            "ErrImagePull: no such image",
        ),
        (
            {"phase": "Failed", "containerStatuses": container(terminated={"reason": "OOMKilled", "exitCode": 137})},
            "OOMKilled",
            "OOMKilled (exit code 137)",
        ),
        ({"phase": "Succeeded", "containerStatuses": container(terminated={"exitCode": 0})}, "", ""),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, "Evicted", "Evicted: low on memory"),
        (
            {
                "phase": "Failed",
                "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}],
                "containerStatuses": container(terminated={"reason": "Error", "exitCode": 143}),
            },
            "EvictionByEvictionAPI",
            "EvictionByEvictionAPI",
        ),
    ],
)
def test_the_trouble_of_a_pod_is_said_by_whoever_knows_it_best(status: Any, reason: str, words: str) -> None:
    found = pod_of_document(pod(**status))
    assert (found.reason, found.why) == (reason, words)
    assert (found.job_uid, found.node, found.over_memory) == ("job-1", "node", reason == "OOMKilled")


def test_words_of_others_are_clipped_and_documents_of_any_form_are_read() -> None:
    long = pod_of_document(pod(reason="Evicted", message="x" * 9000))
    assert len(long.why) <= MAX_WORDS
    deep = {"status": {"conditions": [7], "phase": {}}}
    odds: tuple[Any, ...] = ({}, {"metadata": []}, {"metadata": {"name": 5}}, deep, None)
    for odd in odds:
        assert pod_of_document(odd).uid == ""
        assert job_of_document(odd) is None


@pytest.mark.parametrize(
    ("found", "bound", "gone", "words"),
    [
        (job(), "", False, ""),
        (job(), "pod", False, ""),
        (job(suspend=True), "", False, ""),
        (job(suspend=True), "pod", False, "was suspended"),
        (job(deleted=True), "", False, "is being deleted"),
        (job([{"type": "Complete", "status": "True"}]), "pod", False, "has ended"),
        (job([{"type": "Complete", "status": "False"}]), "pod", False, ""),
        (job([{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]), "", False, "DeadlineExceeded"),
        (job(), "pod", True, "pod pod is gone"),
    ],
)
def test_a_run_comes_to_nothing_when_its_job_or_the_pod_that_is_bound_does(
    found: Any, bound: str, gone: bool, words: str
) -> None:
    seen = job_of_document(found)
    assert seen is not None
    assert seen.execution == f"{RUN}/Submit/1"
    cause = cause_of_loss(seen, None, bound=bound, pod_is_gone=gone)
    assert words in cause
    assert bool(cause) == bool(words)


def test_a_pod_that_failed_ends_a_run_that_is_bound_to_it_and_says_why() -> None:
    seen, failed = job_of_document(job()), pod_of_document(pod(phase="Failed", reason="Evicted"))
    assert seen is not None
    assert "Evicted" in cause_of_loss(seen, failed, bound="pod", pod_is_gone=False)
    assert cause_of_loss(seen, failed, bound="", pod_is_gone=False) == "", "its Job says whether it makes another"
