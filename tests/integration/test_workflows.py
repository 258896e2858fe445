"""The workflows of .github are valid, as actionlint judges: expressions, contexts, events, permissions."""

import subprocess
from pathlib import Path

import pytest

from tests.oracles import go_programs

ROOT = Path(__file__).parents[2]
_SOURCE = ROOT / "tests" / "oracles" / "actionlint_go"


@pytest.fixture(scope="module")
def actionlint() -> Path:
    try:
        return go_programs.build(_SOURCE, "github.com/rhysd/actionlint/cmd/actionlint")
    except go_programs.CannotBuild as reason:
        pytest.skip(str(reason))


def run(actionlint: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    # Neither shellcheck nor pyflakes: whether they are there is up to the machine.
    command = [str(actionlint), "-shellcheck=", "-pyflakes=", *map(str, files)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_the_workflows_are_valid(actionlint: Path) -> None:
    ended = run(actionlint, *sorted((ROOT / ".github" / "workflows").glob("*.yml")))
    assert ended.returncode == 0, ended.stdout


def test_a_workflow_that_names_what_is_not_there_is_found_out(actionlint: Path, tmp_path: Path) -> None:
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    broken = tmp_path / "broken.yml"
    broken.write_text(text.replace("github.token", "github.tokens"))
    ended = run(actionlint, broken)
    assert ended.returncode == 1
    assert 'property "tokens" is not defined' in ended.stdout
