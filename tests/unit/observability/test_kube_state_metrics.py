"""The configuration for kube-state-metrics speaks of fields that there are, and of all phases and decisions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from curation.api.approval import ApprovalDecision
from curation.api.crd import CRD_KINDS, crd
from curation.api.names import GROUP, VERSION, Phase

FOLDER = Path(__file__).parents[3] / "manifests" / "kube-state-metrics"
RESOURCES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "custom-resource-state.yaml").read_text(encoding="utf-8"))[
    "spec"
]["resources"]
SCHEMAS = {kind.name: crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for kind in CRD_KINDS}
TYPES = {"Gauge": "gauge", "Info": "info", "StateSet": "stateSet"}


def at(schema: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """The schema of a field. KeyError if there is none."""
    for segment in path:
        schema = schema["properties"][segment]
    return schema


def metrics() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for resource in RESOURCES:
        for metric in resource["metrics"]:
            each = metric["each"]
            yield resource["groupVersionKind"]["kind"], metric["name"], each[TYPES[each["type"]]]


def test_each_path_is_a_field_of_its_kind() -> None:
    for kind, _, metric in metrics():
        found = at(SCHEMAS[kind], metric.get("path", []))
        items = found.get("items", found)
        for path in (*metric.get("labelsFromPath", {}).values(), *filter(None, [metric.get("valueFrom")])):
            assert at(items, path)["type"] == "string"
    for resource in RESOURCES:
        assert resource["labelsFromPath"] == {"namespace": ["metadata", "namespace"], "name": ["metadata", "name"]}
        assert resource["groupVersionKind"] | {"kind": ""} == {"group": GROUP, "version": VERSION, "kind": ""}


def test_a_value_is_one_that_kube_state_metrics_can_read() -> None:
    for kind, name, metric in metrics():
        found = at(SCHEMAS[kind], metric.get("path", []))
        if "list" in metric or "labelsFromPath" in metric:
            continue
        assert found["type"] in ("integer", "boolean") or found.get("format") == "date-time", (kind, name)


def test_the_lists_are_those_of_the_kinds() -> None:
    lists = {(kind, name): metric["list"] for kind, name, metric in metrics() if "list" in metric}
    assert lists == {
        ("CurationJob", "status_phase"): [*Phase],
        ("CurationApproval", "spec_decision"): [*ApprovalDecision],
    }


def test_its_role_reads_the_kinds_and_nothing_else() -> None:
    role = yaml.safe_load((FOLDER / "cluster-role.yaml").read_text(encoding="utf-8"))
    kinds = {resource["groupVersionKind"]["kind"] for resource in RESOURCES}
    plurals = {kind.plural for kind in CRD_KINDS if kind.name in kinds}
    assert set(role["rules"][0]["resources"]) == plurals
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"list", "watch"}
