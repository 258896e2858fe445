"""What Argo CD shows of an object: the truth in every phase, for every reason, at every generation."""

from typing import Any

import pytest

from curation.api.job import JobStatus
from curation.api.names import FailureClass, Phase, Reason
from curation.lifecycle.conditions import derive
from tests.unit.gitops import documents
from tests.unit.gitops.argocd import health
from tests.unit.lifecycle.builders import IN_EVERY_PHASE, NOW, edited, new_job, stored

EXPECTED = {
    Phase.QUEUED: "Progressing",
    Phase.SUBMITTED: "Progressing",
    Phase.AWAITING_APPROVAL: "Suspended",
    Phase.RUNNING: "Progressing",
    Phase.COMPLETED: "Healthy",
    Phase.FAILED: "Degraded",
}
WALKED = {
    "new": "Progressing",
    "Queued": "Progressing",
    "Queued for a backoff": "Progressing",
    "Suspended": "Suspended",
    "Submitted": "Progressing",
    "AwaitingApproval": "Suspended",
    "Running": "Progressing",
    "Completed": "Healthy",
    "Failed": "Degraded",
}


def test_the_table_has_every_phase_and_every_reason() -> None:
    assert set(documents.REASONS) == set(Phase)
    assert {reason for _, reason in documents.EVERY_REASON} == {*Reason, *FailureClass}


@pytest.mark.parametrize(("phase", "reason"), documents.EVERY_REASON)
def test_the_health_of_a_job_follows_its_phase_and_the_message_says_why(phase: Phase, reason: str) -> None:
    special: dict[str, str] = {
        Reason.SUSPENDED: "Suspended",
        Reason.MODULE_UNUSABLE: "Degraded",
        Reason.EXECUTOR_UNAVAILABLE: "Degraded",
    }
    expected = special.get(reason, EXPECTED[phase])
    why = f"{phase} ({reason})" if reason != phase else str(phase)
    assert health(documents.job(phase, reason)) == (expected, f"{why}: It is so.")


@pytest.mark.parametrize("name", IN_EVERY_PHASE)
def test_the_health_of_a_job_that_the_lifecycle_brought_into_a_phase(name: str) -> None:
    assert health(documents.document(IN_EVERY_PHASE[name]()))[0] == WALKED[name]


def test_a_fresh_job_is_in_progress_whatever_its_spec_says() -> None:
    fresh = documents.fresh()
    assert fresh["status"]["observedGeneration"] == -1
    assert health(fresh)[0] == "Progressing"
    assert health({**fresh, "spec": {**fresh["spec"], "suspend": True}})[0] == "Progressing"
    assert health({key: value for key, value in fresh.items() if key != "status"})[0] == "Progressing"


@pytest.mark.parametrize(("phase", "reason"), documents.EVERY_REASON)
def test_a_status_of_an_older_generation_says_nothing(phase: Phase, reason: str) -> None:
    assert health(documents.job(phase, reason, generation=4, seen=3))[0] == "Progressing"


@pytest.mark.parametrize("name", IN_EVERY_PHASE)
def test_an_edit_that_the_operator_has_not_seen_is_in_progress(name: str) -> None:
    assert health(documents.document(edited(IN_EVERY_PHASE[name](), rerun="again")))[0] == "Progressing"


@pytest.mark.parametrize(("phase", "reason"), documents.EVERY_REASON)
def test_a_deleted_job_is_in_progress_until_it_is_gone(phase: Phase, reason: str) -> None:
    status, message = health(documents.being_deleted(documents.job(phase, reason)))
    assert (status, message) == ("Progressing", "Being deleted: its sessions are cancelled first")


@pytest.mark.parametrize(("phase", "expected"), [(Phase.COMPLETED, "Healthy"), (Phase.FAILED, "Degraded")])
def test_suspending_a_finished_job_changes_nothing_about_it(phase: Phase, expected: str) -> None:
    obj = documents.job(phase, documents.REASONS[phase][0])
    obj["spec"]["suspend"] = True
    assert health(obj)[0] == expected


@pytest.mark.parametrize("phase", [Phase.QUEUED, Phase.SUBMITTED, Phase.RUNNING, Phase.AWAITING_APPROVAL])
def test_a_job_whose_spec_is_suspended_is_suspended(phase: Phase) -> None:
    obj = documents.job(phase, documents.REASONS[phase][0])
    obj["spec"]["suspend"] = True
    assert health(obj)[0] == "Suspended"


def test_a_status_without_reason_and_message_is_shown_by_its_phase() -> None:
    obj = documents.job(Phase.RUNNING, Reason.SESSION_SPAWNED)
    for field in ("reason", "message"):
        obj["status"].pop(field)
    assert health(obj) == ("Progressing", "Running")


@pytest.mark.parametrize(
    ("name", "obj", "expected"), [row[:3] for row in documents.OTHER_KINDS], ids=lambda value: str(value)[:40]
)
def test_the_health_of_the_other_kinds(name: str, obj: dict[str, Any], expected: str) -> None:
    assert health(obj)[0] == expected
    assert health(documents.being_deleted(obj))[0] == "Progressing"


def test_health_and_the_conditions_never_disagree() -> None:
    for phase, reason in documents.EVERY_REASON:
        obj = documents.job(phase, reason)
        conditions = {item.type: item.status for item in derive(stored(new_job(), _status(obj)).status, NOW)}
        shown = health(obj)[0]
        assert (shown == "Healthy") == (conditions["Ready"] == "True")
        assert (shown == "Degraded") == (conditions.get("Stalled") == "True")
        assert (shown in ("Progressing", "Suspended")) == (conditions.get("Reconciling") == "True")


def _status(obj: dict[str, Any]) -> JobStatus:
    return JobStatus.model_validate(obj["status"])
