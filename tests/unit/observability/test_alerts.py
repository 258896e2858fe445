"""The alert rules: whole, and in step with the code; tests/integration/test_alert_rules.py evaluates them."""

import re
from pathlib import Path

import pytest
import yaml

from curation.reconciler.runtime.health import WATCH_STALE_SECONDS
from tests.unit.observability.exposed import SCENARIOS, TARGET_LABELS, rules, series
from tests.unit.observability.promql import read

RUNBOOKS = Path(__file__).parents[3] / "docs" / "runbooks"


def test_every_alert_fires_in_some_situation_of_the_test() -> None:
    tests = yaml.safe_load(SCENARIOS.read_text("utf-8"))["tests"]
    samples = [
        sample["labels"] for test in tests for query in test["promql_expr_test"] for sample in query["exp_samples"]
    ]
    fired = {name for labels in samples for name in re.findall(r'alertname="(\w+)"', labels)}
    assert fired == {rule["alert"] for rule in rules()}


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert re.fullmatch(r"Curation[A-Z]\w+", rule["alert"])
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert len(rule["annotations"]["description"]) > 80, rule["alert"]


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert {rule["annotations"]["runbook_url"] for rule in rules()} == {
        f"docs/runbooks/{rule['alert']}.md" for rule in rules()
    }
    pages = {page.stem: page.read_text("utf-8") for page in RUNBOOKS.glob("[!R]*.md")}
    assert set(pages) == {rule["alert"] for rule in rules()}
    for rule in rules():
        text = pages[rule["alert"]]
        assert f"Severity: {rule['labels']['severity']}." in text
        parts = re.findall(r"(?m)^## (.*)$", text)
        assert parts == ["What it means for jobs", "Find out", "What to do"]


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("[!R]*.md")), ids=lambda page: page.stem)
def test_the_queries_of_a_runbook_read_series_that_exist(page: Path) -> None:
    known = series()
    for query in re.findall(r"```promql\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        found = read(query)
        assert found.metrics
        for name, matchers in found.metrics.items():
            assert name in known
            assert {label for label, _ in matchers} <= known[name] | TARGET_LABELS


def test_a_watch_is_stale_for_the_alert_when_it_is_for_healthz() -> None:
    [rule] = [rule for rule in rules() if rule["alert"] == "CurationWatchStale"]
    threshold = re.fullmatch(r".*> (\d+)", rule["expr"])
    assert threshold is not None
    assert float(threshold[1]) == WATCH_STALE_SECONDS
    assert "for" not in rule, "the replica is restarted before it would be over"
