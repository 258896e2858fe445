"""The alert rules, evaluated by promtool on made-up series: which fire in each situation, and which do not."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.oracles import go_programs
from tests.unit.observability.exposed import SCENARIOS, rule_file, rules

_SOURCE = Path(__file__).parents[1] / "oracles" / "promtool_go"
_PACKAGE = "github.com/prometheus/prometheus/cmd/promtool"
# Without what finds targets in each cloud, the half of a Prometheus.
_FLAGS = ("-tags=remove_all_sd",)


@pytest.fixture(scope="module")
def promtool() -> str:
    if found := shutil.which("promtool"):
        return found
    try:
        return str(go_programs.build(_SOURCE, _PACKAGE, _FLAGS))
    except go_programs.CannotBuild as reason:
        pytest.skip(f"promtool (of Prometheus) is not on the PATH; {reason}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule_file()), encoding="utf-8")
    shutil.copy(SCENARIOS, tmp_path)
    return tmp_path


def test_promtool_finds_nothing_wrong_with_the_rules(promtool: str, folder: Path) -> None:
    _check(_run(promtool, folder, "check", "rules", "--lint-fatal", "rules.yaml"))


def test_each_alert_fires_in_its_situation_and_in_no_other(promtool: str, folder: Path) -> None:
    _check(_run(promtool, folder, "test", "rules", SCENARIOS.name))


@pytest.mark.parametrize("instead", ["vector(1)", "vector(1) > 1"], ids=["fires always", "never fires"])
@pytest.mark.parametrize("alert", [rule["alert"] for rule in rules()])
def test_the_situations_notice_an_alert_that(promtool: str, folder: Path, alert: str, instead: str) -> None:
    spec = rule_file()
    [rule] = [rule for group in spec["groups"] for rule in group["rules"] if rule.get("alert") == alert]
    rule["expr"] = instead
    (folder / "rules.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    done = _run(promtool, folder, "test", "rules", SCENARIOS.name)
    assert done.returncode == 1
    assert alert in done.stdout + done.stderr


def _check(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr


def _run(promtool: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([promtool, *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
