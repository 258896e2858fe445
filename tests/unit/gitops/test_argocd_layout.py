"""The test data of the Argo CD customizations, run as Argo CD runs it (its util/lua/*_test.go), and argocd-cm.yaml."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.gitops.argocd import ARGOCD, CUSTOMIZATIONS, KINDS, act, discover, health, load


def _cases(kind: str, file: str, section: str) -> Iterator[dict[str, Any]]:
    path = CUSTOMIZATIONS / kind / file
    if path.exists():
        yield from load(path)[section]


HEALTH = [(kind, case) for kind in KINDS for case in _cases(kind, "health_test.yaml", "tests")]
ACTIONS = CUSTOMIZATIONS / "CurationJob" / "actions"
DISCOVERY = list(_cases("CurationJob", "actions/action_test.yaml", "discoveryTests"))
ACTS = list(_cases("CurationJob", "actions/action_test.yaml", "actionTests"))


@pytest.mark.parametrize(
    ("kind", "case"), HEALTH, ids=[f"{kind}-{Path(case['inputPath']).stem}" for kind, case in HEALTH]
)
def test_the_health_of_an_object_is_what_its_test_data_says(kind: str, case: dict[str, Any]) -> None:
    obj = load(CUSTOMIZATIONS / kind / case["inputPath"])
    assert obj["kind"] == kind
    expected = case["healthStatus"]
    assert health(obj) == (expected["status"], expected["message"])


@pytest.mark.parametrize("case", DISCOVERY, ids=[Path(case["inputPath"]).stem for case in DISCOVERY])
def test_the_offered_actions_are_what_their_test_data_says(case: dict[str, Any]) -> None:
    offered = discover(load(ACTIONS / case["inputPath"]))
    assert {name: {"name": name, **action} for name, action in offered.items()} == {
        action["name"]: action for action in case["result"]
    }


@pytest.mark.parametrize("case", ACTS, ids=[case["action"] for case in ACTS])
def test_an_action_makes_of_an_object_what_its_test_data_says(case: dict[str, Any]) -> None:
    obj = load(ACTIONS / case["inputPath"])
    assert act(obj, case["action"]) == load(ACTIONS / case["expectedOutputPath"])


def test_every_kind_and_every_file_of_test_data_is_tested() -> None:
    assert {folder.name for folder in CUSTOMIZATIONS.iterdir()} == set(KINDS)
    for kind in KINDS:
        used = {case["inputPath"] for of, case in HEALTH if of == kind}
        assert used == {f"testdata/{path.name}" for path in (CUSTOMIZATIONS / kind / "testdata").iterdir()}
    inputs = {case["inputPath"] for case in (*DISCOVERY, *ACTS)} | {case["expectedOutputPath"] for case in ACTS}
    assert inputs == {f"testdata/{path.name}" for path in (ACTIONS / "testdata").iterdir()}


def test_each_kind_has_test_data_of_every_health_it_can_have() -> None:
    healths = {kind: {case["healthStatus"]["status"] for of, case in HEALTH if of == kind} for kind in KINDS}
    policy = {"Healthy", "Progressing", "Degraded"}
    assert healths == {
        "CurationJob": {"Healthy", "Progressing", "Degraded", "Suspended"},
        "CurationModule": policy,
        "CurationPolicy": policy,
        "ClusterCurationPolicy": policy,
        "CurationApproval": {"Healthy", "Progressing", "Suspended"},
    }


def test_both_kinds_of_policies_have_the_same_health() -> None:
    scripts = {
        (CUSTOMIZATIONS / kind / "health.lua").read_text("utf-8")
        for kind in ("CurationPolicy", "ClusterCurationPolicy")
    }
    assert len(scripts) == 1


def test_argocd_cm_holds_exactly_the_scripts_of_the_customizations() -> None:
    patch = yaml.safe_load((ARGOCD / "argocd-cm.yaml").read_text("utf-8"))
    assert (patch["kind"], patch["metadata"]["name"]) == ("ConfigMap", "argocd-cm")
    prefix, data = "resource.customizations", patch["data"]
    actions = yaml.safe_load(data.pop(f"{prefix}.actions.curation.dev_CurationJob"))
    assert data == {
        f"{prefix}.health.curation.dev_{kind}": (CUSTOMIZATIONS / kind / "health.lua").read_text("utf-8")
        for kind in KINDS
    }
    assert actions == {
        "discovery.lua": (ACTIONS / "discovery.lua").read_text("utf-8"),
        "definitions": [
            {"name": name, "action.lua": (ACTIONS / name / "action.lua").read_text("utf-8")}
            for name in ("rerun", "suspend", "resume")
        ],
    }
