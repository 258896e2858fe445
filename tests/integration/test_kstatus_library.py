"""Our kstatus oracle against the real library, and the Flux sample's expressions evaluated by Flux's own."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from curation.api.names import Phase, Reason
from tests.oracles import kstatus
from tests.oracles.go_programs import CannotBuild
from tests.oracles.kstatus_library import Computed, compute, program
from tests.unit.gitops import documents

_SAMPLE = Path(__file__).parents[2] / "manifests" / "gitops" / "flux" / "kustomization.yaml"
_DOCS = Path(__file__).parents[2] / "docs" / "gitops.md"
_OF_PHASE = {Phase.COMPLETED: "Current", Phase.FAILED: "Failed"}


@pytest.fixture(scope="module")
def binary() -> Path:
    try:
        return program()
    except CannotBuild as reason:
        pytest.skip(str(reason))


def _expected(phase: Phase, reason: str) -> str:
    return (
        "Failed"
        if reason in (Reason.MODULE_UNUSABLE, Reason.EXECUTOR_UNAVAILABLE)
        else _OF_PHASE.get(phase, "InProgress")
    )


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flux") / "kustomization.json"
    path.write_text(json.dumps(yaml.safe_load(_SAMPLE.read_text("utf-8"))), encoding="utf-8")
    return path


def _every_job() -> list[dict[str, Any]]:
    jobs = [documents.job(phase, reason) for phase, reason in documents.EVERY_REASON]
    older = [documents.job(phase, reason, generation=4, seen=3) for phase, reason in documents.EVERY_REASON]
    everything = [documents.fresh(), *jobs, *older, *documents.walked().values()]
    return [*everything, *map(documents.being_deleted, everything)]


def _every_combination() -> list[dict[str, Any]]:
    """Any status that could ever be written, so that the oracle is right also about one that should not have been."""
    values = (None, "True", "False", "Unknown")
    found = []
    for observed, ready, reconciling, stalled, deleted in itertools.product(
        (None, -1, 1, 2, 3), values, values, values, (False, True)
    ):
        conditions = [
            {"type": kind, "status": value, "reason": "R", "message": "m"}
            for kind, value in (("Ready", ready), ("Reconciling", reconciling), ("Stalled", stalled))
            if value
        ]
        status: dict[str, Any] = {"conditions": conditions} if conditions else {}
        if observed is not None:
            status["observedGeneration"] = observed
        metadata = {"name": "it", "namespace": "ns", "generation": 2}
        if deleted:
            metadata["deletionTimestamp"] = "2030-01-01T12:00:00Z"
        obj = {"apiVersion": "curation.dev/v1alpha1", "kind": "CurationJob", "metadata": metadata, "spec": {}}
        found.append({**obj, "status": status} if status else obj)
    return found


def test_the_oracle_and_the_library_agree_about_every_job(binary: Path) -> None:
    jobs = _every_job()
    for obj, computed in zip(jobs, compute(binary, jobs), strict=True):
        assert kstatus.compute(obj) == computed.kstatus, json.dumps(obj)


def test_the_oracle_and_the_library_agree_about_every_combination_of_conditions(binary: Path) -> None:
    objects = _every_combination()
    verdicts = compute(binary, objects)
    for obj, computed in zip(objects, verdicts, strict=True):
        assert kstatus.compute(obj) == computed.kstatus, json.dumps(obj)
    assert {computed.kstatus for computed in verdicts} == {"InProgress", "Failed", "Current", "Terminating"}


@pytest.mark.parametrize(("phase", "reason"), documents.EVERY_REASON)
def test_the_library_shows_the_truth_about_a_job(binary: Path, sample: Path, phase: Phase, reason: str) -> None:
    expected = _expected(phase, reason)
    obj = documents.job(phase, reason)
    computed, deleted = compute(binary, [obj, documents.being_deleted(obj)], sample)
    assert (computed.kstatus, computed.flux) == (expected, expected)
    assert deleted.kstatus == "Terminating"


def test_a_fresh_job_is_in_progress_only_since_the_crd_says_minus_one(binary: Path, sample: Path) -> None:
    fresh = documents.fresh()
    bare = {key: value for key, value in fresh.items() if key != "status"}
    assert compute(binary, [fresh], sample)[0].flux == "InProgress"
    assert [computed.kstatus for computed in compute(binary, [fresh, bare])] == ["InProgress", "Current"]


@pytest.mark.parametrize(
    ("obj", "flux", "expected"),
    [(row[1], row[3], row[4]) for row in documents.OTHER_KINDS],
    ids=[row[0] for row in documents.OTHER_KINDS],
)
def test_what_flux_and_kstatus_take_the_other_kinds_for(
    binary: Path, sample: Path, obj: dict[str, Any], flux: str, expected: str
) -> None:
    [computed] = compute(binary, [obj], sample)
    assert computed == Computed(expected, computed.message, flux)
    assert kstatus.compute(obj) == expected


@pytest.mark.parametrize(("phase", "reason"), documents.EVERY_REASON)
def test_the_expressions_of_the_docs_take_a_running_job_for_current(
    binary: Path, tmp_path: Path, phase: Phase, reason: str
) -> None:
    [text] = [text for text in re.findall(r"```yaml\n(.*?)```", _DOCS.read_text("utf-8"), re.S) if "Exprs" in text]
    path = tmp_path / "kustomization.json"
    path.write_text(json.dumps(yaml.safe_load(text)), encoding="utf-8")
    [computed] = compute(binary, [documents.job(phase, reason)], path)
    assert computed.flux == ("Current" if phase is Phase.RUNNING else _expected(phase, reason))
