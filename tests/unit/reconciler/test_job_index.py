"""The job index follows every change: what it counts is what is there."""

import random

import pytest

from curation.cluster.cache import Cache
from curation.cluster.resources import JOBS
from curation.reconciler.runtime.job_index import JobIndex, may_own_session
from curation.reconciler.runtime.metrics import Metrics
from tests.unit.reconciler.disconnected import document


class Indexed:
    def __init__(self) -> None:
        self.metrics = Metrics()
        self.index = JobIndex(self.metrics)
        self.cache = Cache(JOBS)
        self.cache.listen(self.index.on_change)

    def jobs(self, phase: str) -> float:
        return self.metrics.registry.get_sample_value("curation_jobs", {"phase": phase}) or 0.0

    @property
    def abandoned(self) -> float | None:
        return self.metrics.registry.get_sample_value("curation_abandoned_runs")

    def put(self, name: str, version: int, phase: str = "", abandoned: int = 0, namespace: str = "ns") -> None:
        status = {"phase": phase, "abandonedRuns": [{"id": str(n)} for n in range(abandoned)]} if phase else {}
        self.cache.put(document(name, version=version, status=status, metadata={"namespace": namespace}))


def test_a_new_job_counts_as_queued() -> None:
    it = Indexed()
    it.put("a", 1)
    assert it.jobs("Queued") == 1
    assert not it.index.may_own_sessions("ns")


@pytest.mark.parametrize(
    ("phase", "abandoned", "may"),
    [
        ("Queued", 0, False),
        ("Submitted", 0, True),
        ("Running", 0, True),
        ("AwaitingApproval", 0, False),
        ("Completed", 0, False),
        ("Failed", 0, False),
        ("Failed", 1, True),
        ("Queued", 2, True),
    ],
)
def test_a_job_may_own_a_session_while_a_run_is_in_flight_or_to_be_cleaned(
    phase: str, abandoned: int, may: bool
) -> None:
    it = Indexed()
    it.put("a", 1, phase, abandoned)
    assert it.index.may_own_sessions("ns") is may
    assert it.index.may_own_sessions("") is may
    assert not it.index.may_own_sessions("other")


@pytest.mark.parametrize(
    ("finalizers", "may"),
    [(["curation.dev/session", "another"], True), (["another"], False)],
    ids=["ours", "another's"],
)
@pytest.mark.parametrize(("phase", "abandoned"), [("Running", 0), ("Failed", 2)])
def test_a_deleted_job_may_own_a_session_until_our_finalizer_is_off(
    phase: str, abandoned: int, finalizers: list[str], may: bool
) -> None:
    it = Indexed()
    runs = [{"id": str(n)} for n in range(abandoned)]
    metadata = {"finalizers": finalizers, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    found = document("a", status={"phase": phase, "abandonedRuns": runs}, metadata=metadata)
    it.cache.put(found)
    assert it.index.may_own_sessions("ns") is may
    assert may_own_session(found) is may
    assert it.jobs(phase) == 1
    assert it.abandoned == (abandoned if may else 0)
    del metadata["deletionTimestamp"]
    assert may_own_session(document(status={"phase": phase, "abandonedRuns": runs}, metadata=metadata))


def test_a_deleted_and_a_recreated_job_are_counted_once() -> None:
    it = Indexed()
    it.put("a", 1, "Running", 1)
    it.cache.put(document("a", version=9, metadata={"uid": "another"}))
    assert (it.jobs("Running"), it.jobs("Queued"), it.abandoned) == (0, 1, 0)
    it.cache.forget("ns", "a", "another")
    assert it.jobs("Queued") == 0


def test_after_any_changes_the_counts_are_those_of_the_jobs_that_are_there() -> None:
    it, chance = Indexed(), random.Random(7)
    phases = ("", "Queued", "Submitted", "Running", "Completed", "Failed")
    there: dict[tuple[str, str], tuple[str, int]] = {}
    for version in range(1, 400):
        place = (chance.choice(("ns", "other")), f"job-{chance.randrange(6)}")
        if place in there and chance.random() < 0.3:
            del there[place]
            stored = it.cache.get(*place)
            assert stored is not None
            it.cache.forget(*place, stored.uid)
        else:
            phase = chance.choice(phases)
            abandoned = chance.randrange(3) if phase else 0
            there[place] = (phase or "Queued", abandoned)
            metadata = {"namespace": place[0], "uid": f"uid-{version}"}
            runs = [{"id": str(n)} for n in range(abandoned)]
            status = {"phase": phase, "abandonedRuns": runs} if phase else {}
            it.cache.put(document(place[1], version=version, status=status, metadata=metadata))
        for phase in phases[1:]:
            assert it.jobs(phase) == sum(known == phase for known, _ in there.values())
        assert it.abandoned == sum(abandoned for _, abandoned in there.values())


@pytest.mark.parametrize("phase", [["Running"], {"a": "b"}, 7, "Later"])
def test_a_phase_of_another_release_counts_as_one_that_may_own_a_session(phase: object) -> None:
    it = Indexed()
    it.cache.put(document("a", version=1, status={"phase": phase}, metadata={"namespace": "ns"}))
    assert it.index.may_own_sessions("ns")
    assert it.jobs("Unreadable") == 1
