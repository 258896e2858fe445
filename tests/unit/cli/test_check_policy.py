"""check-policy as a process, without any cluster: valid text to stdout, the rest to stderr, 0 or 1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

GOOD = '@id("one") permit (principal, action, resource);'
BAD = 'permit (principal, action, resource) when { context.nonsense == "x" };'


def check(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KUBE")}
    result = subprocess.run(
        [sys.executable, "-m", "curation.cli.plugin", "check-policy", *args],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**environment, "HOME": "/nonexistent"},
    )
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.cedar").write_text(GOOD)
    (tmp_path / "bad.cedar").write_text(f"{GOOD}\n{BAD}")
    policies = [
        {"kind": "CurationPolicy", "metadata": {"name": name}, "spec": {"cedar": text}}
        for name, text in (("a", GOOD), ("b", BAD))
    ]
    (tmp_path / "list.json").write_text(json.dumps({"kind": "List", "items": policies}))
    (tmp_path / "two.yaml").write_text(
        "kind: Namespace\n---\nkind: ClusterCurationPolicy\nmetadata: {name: c}\n"
        f"spec: {{cedar: {json.dumps(GOOD)}}}\n"
    )
    for name in ("deep.json", "deep.yaml"):
        (tmp_path / name).write_text("[" * 20_000 + "]" * 20_000)
    (tmp_path / "none.yaml").write_text("kind: Namespace\n")
    (tmp_path / "empty.yaml").write_text("kind: CurationPolicy\nmetadata: {name: d}\n")
    return tmp_path


def test_a_valid_text_and_a_valid_manifest_pass(folder: Path) -> None:
    result = check(str(folder / "good.cedar"), str(folder / "two.yaml"))
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == f"{folder / 'good.cedar'}: Valid: 1 policy"
    assert lines[1] == f"{folder / 'two.yaml'}: ClusterCurationPolicy/c: Valid: 1 policy"


def test_an_invalid_policy_is_named_by_its_index_and_line(folder: Path) -> None:
    result = check(str(folder / "good.cedar"), str(folder / "bad.cedar"))
    assert result.returncode == 1
    assert "good.cedar: Valid" in result.stdout
    assert "bad.cedar: ValidationError: policy 1, line 2" in result.stderr


def test_what_is_most_likely_not_meant_is_warned_of_and_fails_only_if_that_is_asked_for(folder: Path) -> None:
    result = check(str(folder / "good.cedar"))
    assert (result.returncode, result.stderr) == (0, "")
    (line,) = [line for line in result.stdout.splitlines() if "warning" in line]
    assert line.startswith(
        f'{folder / "good.cedar"}: warning: policy 0 (@id "one"), line 1, column 12: this permit names'
    )
    strict = check("--strict", str(folder / "good.cedar"))
    assert strict.returncode == 1
    assert line in strict.stderr
    (answer,) = json.loads(check(str(folder / "good.cedar"), "-o", "json").stdout)
    assert [warning in line for warning in answer["warnings"]] == [True]
    (folder / "careful.cedar").write_text(
        'permit (principal == Agent::"m", action, resource == HttpEndpoint::"h.example");'
    )
    careful = check("--strict", str(folder / "careful.cedar"))
    assert (careful.returncode, careful.stderr) == (0, "")


def test_each_policy_of_a_list_has_its_own_answer(folder: Path) -> None:
    result = check(str(folder / "list.json"), "-o", "json")
    assert result.returncode == 1
    answers = json.loads(result.stdout)
    assert [(answer["name"].rpartition("/")[2], answer["valid"], answer["reason"]) for answer in answers] == [
        ("a", True, "Valid"),
        ("b", False, "ValidationError"),
    ]


@pytest.mark.parametrize(
    ("text", "code"),
    [(GOOD, 0), (BAD, 1), (f"kind: CurationPolicy\nspec: {{cedar: {json.dumps(BAD)}}}", 1), ("permit (", 1)],
)
def test_standard_input_may_be_either(text: str, code: int) -> None:
    assert check("-", stdin=text).returncode == code


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("deep.json", 1, "is not valid"),
        ("deep.yaml", 1, "is not valid"),
        ("missing.cedar", 2, "No such file"),
        ("none.yaml", 1, "holds no CurationPolicy"),
        ("empty.yaml", 1, "CurationPolicy d has no spec.cedar"),
    ],
)
def test_a_file_without_a_policy_is_an_error_that_names_it(folder: Path, name: str, code: int, said: str) -> None:
    result = check(str(folder / name))
    assert result.returncode == code
    assert said in result.stderr
    assert name in result.stderr
