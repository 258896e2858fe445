"""The alert rules: whole, in step with the code, and, where promtool is on the PATH, evaluated on made-up series."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from curation.reconciler.health import WATCH_STALE_SECONDS
from tests.unit.observability.exposed import rule_file, rules

_SCENARIOS = Path(__file__).parent / "rules_test.yaml"


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool (of Prometheus) is not on the PATH")
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule_file()), encoding="utf-8")
    shutil.copy(_SCENARIOS, tmp_path)
    return tmp_path


def test_promtool_finds_nothing_wrong_with_the_rules(promtool: str, folder: Path) -> None:
    _run(promtool, folder, "check", "rules", "--lint-fatal", "rules.yaml")


def test_each_alert_fires_in_its_situation_and_in_no_other(promtool: str, folder: Path) -> None:
    _run(promtool, folder, "test", "rules", _SCENARIOS.name)


def test_every_alert_fires_in_some_situation_of_the_test() -> None:
    tests = yaml.safe_load(_SCENARIOS.read_text("utf-8"))["tests"]
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
        assert set(rule["annotations"]) == {"summary", "description"}
        assert len(rule["annotations"]["description"]) > 80, rule["alert"]


def test_a_watch_is_stale_for_the_alert_when_it_is_for_healthz() -> None:
    [rule] = [rule for rule in rules() if rule["alert"] == "CurationWatchStale"]
    threshold = re.fullmatch(r".*> (\d+)", rule["expr"])
    assert threshold is not None
    assert float(threshold[1]) == WATCH_STALE_SECONDS
    assert "for" not in rule, "the replica is restarted before it would be over"


def _run(promtool: str, folder: Path, *arguments: str) -> None:
    done = subprocess.run([promtool, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
