"""How long people wait: from the creation of an object to what its author waits for, once for each object."""

from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

import pytest

from curation.api.approval import ApprovalDecision, CurationApproval, RecordedDecision, Scope
from curation.api.job import CurationJob
from curation.api.names import Phase
from curation.api.reading import read
from curation.cluster.cache import Cache
from curation.cluster.resources import MODULES
from curation.reconciler.runtime.metrics import Metrics
from curation.reconciler.sources.module_metrics import ModuleMetrics
from tests.unit.gitops.documents import approval_spec

MADE = datetime(2030, 1, 1, 12, tzinfo=UTC)


def job(phase: str | None, *, generation: int | None = 1, made: bool = True) -> CurationJob:
    metadata: dict[str, Any] = {"name": "j", "namespace": "ns", "uid": "u", "resourceVersion": "1"}
    if made:
        metadata["creationTimestamp"] = "2030-01-01T12:00:00Z"
    found = read(CurationJob, {"metadata": metadata, "spec": {"moduleRef": {"name": "m"}}})
    # Only these fields count: a status that can be read has many more.
    changes = {"phase": Phase(phase), "template_generation": generation} if phase else {}
    return found.model_copy(update={"status": found.status.model_copy(update=changes)})


def changed(metrics: Metrics, before: CurationJob, phase: Phase, seconds: float) -> None:
    after = before.status.model_copy(
        update={
            "phase": phase,
            "phase_since": MADE + timedelta(seconds=seconds),
            "template_generation": before.status.template_generation or 1,
        }
    )
    metrics.phase_changed(before, after)


def sum_of(metrics: Metrics, name: str, **labels: str) -> tuple[float | None, float | None]:
    get = metrics.registry.get_sample_value
    return get(f"{name}_count", labels), get(f"{name}_sum", labels)


RUNNING, END, DECISION = (f"curation_time_to_{what}_seconds" for what in ("running", "end", "decision"))


def test_the_time_to_running_and_to_the_end_counts_from_the_creation_of_the_job() -> None:
    metrics = Metrics()
    changed(metrics, job(None), Phase.SUBMITTED, 1)
    assert sum_of(metrics, RUNNING) == (0, 0)
    changed(metrics, job("Submitted"), Phase.RUNNING, 7.5)
    changed(metrics, job("Running"), Phase.COMPLETED, 90)
    assert sum_of(metrics, RUNNING) == (1, 7.5)
    assert sum_of(metrics, END, phase="Completed") == (1, 90)
    assert sum_of(metrics, END, phase="Failed") == (0, 0)


def test_a_job_that_fails_at_once_has_an_end_and_never_ran() -> None:
    metrics = Metrics()
    changed(metrics, job(None), Phase.FAILED, 2)
    assert sum_of(metrics, END, phase="Failed") == (1, 2)
    assert sum_of(metrics, RUNNING) == (0, 0)


@pytest.mark.parametrize("before", [job("Submitted", generation=2), job("Submitted", made=False)])
def test_a_job_that_was_changed_or_has_no_time_of_creation_does_not_count(before: CurationJob) -> None:
    metrics = Metrics()
    changed(metrics, before, Phase.RUNNING, 5)
    assert sum_of(metrics, RUNNING) == (0, 0)


def test_a_status_that_stays_in_its_phase_is_not_counted_again() -> None:
    metrics = Metrics()
    changed(metrics, job("Running"), Phase.RUNNING, 5)
    assert sum_of(metrics, RUNNING) == (0, 0)


def test_clocks_that_differ_give_no_negative_time() -> None:
    metrics = Metrics()
    changed(metrics, job("Submitted"), Phase.RUNNING, -0.4)
    assert sum_of(metrics, RUNNING) == (1, 0)


@pytest.mark.parametrize(("decision", "counts"), [("Approved", 1), ("Denied", 1), ("Pending", 0), ("Revoked", 0)])
def test_the_time_to_a_decision_counts_approvals_and_denials(decision: str, counts: int) -> None:
    metrics = Metrics()
    metadata = {"name": "a", "namespace": "ns", "uid": "u", "creationTimestamp": "2030-01-01T12:00:00Z"}
    approval = read(CurationApproval, {"metadata": metadata, "spec": approval_spec(decision)})
    scope = Scope.HOST if decision == "Approved" else None
    at = MADE + timedelta(minutes=5)
    metrics.decided(approval, RecordedDecision(decision=ApprovalDecision(decision), at=at, scope=scope))
    found = {
        each.value: sum_of(metrics, DECISION, decision=each.value, scope="Host" if each == "Approved" else "")
        for each in ApprovalDecision
    }
    assert sum(value[0] or 0 for value in found.values()) == counts
    if counts:
        assert found[decision] == (1, 300)


def test_the_release_is_a_label() -> None:
    labels = {"version": version("curation-operator")}
    assert Metrics().registry.get_sample_value("curation_build_info", labels) == 1


class Modules:
    def __init__(self) -> None:
        self.metrics = Metrics()
        self.cache = Cache(MODULES)
        self.cache.listen(ModuleMetrics(self.metrics).on_change)

    def put(self, name: str, revision: int, ready: str | None, uid: str = "") -> None:
        condition = {"type": "Ready", "status": ready, "reason": "X", "lastTransitionTime": "2030-01-01T12:00:00Z"}
        metadata = {"name": name, "namespace": "ns", "uid": uid or name, "resourceVersion": str(revision)}
        status = {"conditions": [condition]} if ready else {}
        spec = {"source": {"builtin": "build-session-message-v1"}}
        self.cache.put({"metadata": metadata, "spec": spec, "status": status})

    def counts(self) -> tuple[float | None, ...]:
        get = self.metrics.registry.get_sample_value
        return tuple(get("curation_modules", {"ready": ready}) for ready in ("True", "False", "Unknown"))


def test_modules_are_counted_by_readiness_as_it_changes() -> None:
    it = Modules()
    assert it.counts() == (0, 0, 0)
    it.put("a", 1, None)
    it.put("b", 2, "False")
    assert it.counts() == (0, 1, 1)
    it.put("a", 3, "True")
    it.put("b", 4, "True")
    assert it.counts() == (2, 0, 0)
    it.put("b", 5, "strange", uid="anew")
    assert it.counts() == (1, 0, 1)
    it.cache.forget("ns", "a", "a")
    assert it.counts() == (0, 0, 1)
