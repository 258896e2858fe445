"""Every query of the dashboard reads series that exist, with labels that they have."""

import itertools
import re
from typing import Any

import pytest
import yaml

from tests.unit.observability.exposed import COMPONENTS, TARGET_LABELS, VALUES, dashboard, rules, series
from tests.unit.observability.promql import read

SERIES = series()
PANELS = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
TARGETS = [(panel["title"], target["expr"], target["legendFormat"]) for panel in PANELS for target in panel["targets"]]
EXPRESSIONS = [(title, expr) for title, expr, _ in TARGETS] + [(rule["alert"], rule["expr"]) for rule in rules()]


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS)
def test_a_query_reads_series_that_exist_by_labels_that_they_have(where: str, expression: str) -> None:
    query = read(expression)
    assert query.metrics
    for name, matchers in query.metrics.items():
        assert name in SERIES, f"{where} reads {name}"
        labels = SERIES[name] | TARGET_LABELS
        assert {label for label, _ in matchers} <= labels
        assert query.grouped_by <= labels
        for label, value in matchers:
            if label in VALUES:
                assert set(value.split("|")) <= VALUES[label], f"{where}: {label}={value}"


@pytest.mark.parametrize(("where", "expression", "legend"), TARGETS)
def test_a_legend_names_labels_that_the_query_leaves(where: str, expression: str, legend: str) -> None:
    query = read(expression)
    [first, *_] = query.metrics
    left = query.grouped_by if query.aggregates else SERIES[first] | TARGET_LABELS
    assert set(re.findall(r"{{(\w+)}}", legend)) <= left - {"le"}


def test_every_metric_of_the_operator_is_on_the_dashboard() -> None:
    shown = {name for _, expression, _ in TARGETS for name in read(expression).metrics}
    base = {re.sub(r"_(bucket|count|sum)$", "", name) for name in SERIES}
    assert base - {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown} == set()


def test_every_query_can_be_limited_to_one_installation() -> None:
    for title, expression, _ in TARGETS:
        [*matchers] = read(expression).metrics.values()
        assert ("namespace", "$namespace") in matchers[0], title
    variables = {variable["name"]: variable for variable in dashboard()["templating"]["list"]}
    assert set(variables) == {"datasource", "namespace"}
    metric = re.fullmatch(r"label_values\((\w+), namespace\)", variables["namespace"]["query"]["query"])
    assert metric is not None
    assert metric[1] in SERIES


def test_what_every_replica_reports_is_never_summed() -> None:
    of_each = {"curation_jobs", "curation_abandoned_runs", "curation_approvals", "curation_approval_age_seconds"}
    of_each |= {"curation_policies", "curation_policy_not_in_force", "curation_modules"}
    for where, expression in EXPRESSIONS:
        if of_each & read(expression).metrics.keys():
            assert expression.startswith("max"), where


def test_stale_completions_are_shown_and_are_no_alarm() -> None:
    [panel] = [panel for panel in PANELS if panel["title"] == "Completions by verdict"]
    colours = {item["matcher"]["options"]: item["properties"][0]["value"]["fixedColor"] for item in _overrides(panel)}
    assert set(colours) == VALUES["verdict"]
    assert "red" not in colours.values()
    [stale] = [panel for panel in PANELS if panel["title"].startswith("Stale completions")]
    assert len(stale["fieldConfig"]["defaults"]["thresholds"]["steps"]) == 1, "one colour, however many"


def test_the_first_row_says_whether_anything_needs_a_person() -> None:
    first, *others = dashboard()["panels"]
    assert first["title"] == "Does anything need me?"
    tiles = list(itertools.takewhile(lambda panel: panel["type"] != "row", others))
    assert len(tiles) == 6
    assert {tile["type"] for tile in tiles} == {"stat"}
    assert {tile["gridPos"]["y"] for tile in tiles} == {1}


def test_no_two_panels_share_an_id_or_a_place() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    for one, other in itertools.combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    assert all(place["x"] + place["w"] <= 24 for place in places)


def test_the_service_monitor_finds_the_port_of_the_service() -> None:
    base = COMPONENTS.parent / "base"
    monitor = yaml.safe_load((COMPONENTS / "prometheus" / "service-monitor.yaml").read_text("utf-8"))
    service = yaml.safe_load((base / "service.yaml").read_text("utf-8"))
    [added] = yaml.safe_load((base / "kustomization.yaml").read_text("utf-8"))["labels"]
    labels = {**service["metadata"]["labels"], **added["pairs"]}
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert monitor["metadata"]["namespace"] == service["metadata"]["namespace"]
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_the_tokenizer_finds_what_a_query_reads() -> None:
    query = read('sum by (a, le) (rate(m_bucket{x="1",y=~"2|3"}[5m])) / on (b) max(n) > 0.5')
    assert query.metrics == {"m_bucket": {("x", "1"), ("y", "2|3")}, "n": set()}
    assert query.grouped_by == {"a", "le", "b"}
    assert query.aggregates
    with pytest.raises(ValueError, match="no token"):
        read("m ? n")


def _overrides(panel: dict[str, Any]) -> list[dict[str, Any]]:
    overrides: list[dict[str, Any]] = panel["fieldConfig"]["overrides"]
    return overrides
