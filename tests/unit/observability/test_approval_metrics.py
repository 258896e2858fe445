"""The metrics of approvals follow every change, and the age grows by itself."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from curation.api.approval import ApprovalDecision
from curation.cluster.cache import Cache
from curation.cluster.resources import APPROVALS
from curation.reconciler.approvals.approval_metrics import ApprovalMetrics
from curation.reconciler.runtime.metrics import Metrics
from tests.unit.gitops.documents import approval_spec

START = datetime(2030, 1, 1, 12, tzinfo=UTC)


class Measured:
    def __init__(self) -> None:
        self.now = START
        self.metrics = Metrics()
        self.cache = Cache(APPROVALS)
        self.cache.listen(ApprovalMetrics(self.metrics, lambda: self.now).on_change)

    def put(self, name: str, version: int, decision: str = "Pending", made: float = 0, uid: str = "") -> None:
        metadata: dict[str, Any] = {
            "name": name,
            "namespace": "ns",
            "uid": uid or name,
            "resourceVersion": str(version),
        }
        metadata["creationTimestamp"] = (START + timedelta(seconds=made)).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.cache.put({"metadata": metadata, "spec": approval_spec(decision)})

    def count(self, decision: str) -> float | None:
        return self.metrics.registry.get_sample_value("curation_approvals", {"decision": decision})

    def age(self) -> float | None:
        return self.metrics.registry.get_sample_value("curation_approval_age_seconds")


def test_before_any_approval_each_decision_is_zero_and_nothing_waits() -> None:
    it = Measured()
    assert [it.count(decision) for decision in ApprovalDecision] == [0, 0, 0, 0]
    assert it.age() == 0


def test_the_age_is_that_of_the_oldest_pending_one_at_the_time_of_the_scrape() -> None:
    it = Measured()
    it.put("old", 1, made=0)
    it.put("young", 2, made=50)
    it.now = START + timedelta(seconds=60)
    assert it.age() == 60
    it.now = START + timedelta(seconds=90)
    assert it.age() == 90
    it.put("old", 3, "Approved", made=0)
    assert it.age() == 40
    it.cache.forget("ns", "young", "young")
    assert it.age() == 0


def test_a_decision_moves_an_approval_from_one_count_to_the_other() -> None:
    it = Measured()
    it.put("a", 1)
    it.put("a", 2, "Approved")
    assert (it.count("Pending"), it.count("Approved")) == (0, 1)
    it.put("a", 3, "Revoked")
    assert (it.count("Approved"), it.count("Revoked")) == (0, 1)


def test_an_approval_that_was_made_anew_counts_once_and_waits_anew() -> None:
    it = Measured()
    it.put("a", 1, made=0, uid="first")
    it.put("a", 5, made=100, uid="second")
    it.now = START + timedelta(seconds=130)
    assert (it.count("Pending"), it.age()) == (1, 30)


def test_a_clock_that_is_behind_gives_no_negative_age() -> None:
    it = Measured()
    it.put("a", 1, made=5)
    assert it.age() == 0


def test_after_any_changes_the_counts_are_those_of_the_approvals_that_are_there() -> None:
    it, chance = Measured(), random.Random(11)
    there: dict[str, str] = {}
    for version in range(1, 300):
        name = f"a-{chance.randrange(5)}"
        if name in there and chance.random() < 0.3:
            del there[name]
            stored = it.cache.get("ns", name)
            assert stored is not None
            it.cache.forget("ns", name, stored.uid)
        else:
            there[name] = chance.choice(list(ApprovalDecision))
            it.put(name, version, there[name], uid=f"uid-{version}")
        for decision in ApprovalDecision:
            assert it.count(decision) == sum(known == decision for known in there.values())
