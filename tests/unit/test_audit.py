"""`make audit` says what it found, and what it could not check; the image holds what was locked."""

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hack import audit

ROOT = Path(__file__).parents[2]
FINE: dict[str, Any] = {"name": "good", "version": "1.0", "vulns": []}
BAD: dict[str, Any] = {
    "name": "bad",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"], "description": "It is bad."}],
}
UNKNOWN: dict[str, Any] = {
    "name": "new",
    "skip_reason": "Dependency not found on PyPI and could not be audited: new (1)",
}


def auditor(code: int, stdout: str = "", stderr: str = "", first: str = "") -> tuple[str, ...]:
    """A program that ends as pip-audit does."""
    text = f"import sys\n{first}\nsys.stdout.write({stdout!r})\nsys.stderr.write({stderr!r})\nsys.exit({code})"
    return (sys.executable, "-c", text)


def document(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (auditor(0, document(FINE)), 0, "audited: 1 packages of runtime.txt, 0 known vulnerabilities"),
        (auditor(1, document(FINE, BAD)), 1, "bad 1.0: PYSEC-1, mended in 1.1"),
        (auditor(0, document(FINE, UNKNOWN)), 0, "NOT AUDITED: new: Dependency not found"),
        (auditor(1, document(BAD, UNKNOWN)), 1, "bad 1.0: PYSEC-1, mended in 1.1"),
        (auditor(0, document(UNKNOWN)), 0, "NOT AUDITED: the database knows none of 1 packages"),
        (auditor(1, "", "ERROR:pip_audit._cli:Could not connect to the feed"), 0, "NOT AUDITED: the database of"),
        (auditor(1, "", "urllib3.exceptions.NameResolutionError: no"), 0, "NOT AUDITED: the database of"),
        (auditor(0, document(FINE), first="import time; time.sleep(60)"), 0, "NOT AUDITED: the database of"),
        (auditor(2, "", "usage: pip-audit"), 1, "error: the audit failed with 2:\nusage: pip-audit"),
        (auditor(1, "", "a lock without hashes"), 1, "error: the audit failed with 1:"),
    ],
)
def test_it_fails_for_what_is_known_and_never_for_want_of_a_network(
    command: tuple[str, ...], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.main(command, seconds=3 if "sleep" in command[-1] else 60) == code
    written = capsys.readouterr()
    assert says in written.out + written.err


def test_ci_audits() -> None:
    assert "step make audit\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_image_installs_nothing_without_a_hash_and_builds_on_a_base_by_digest() -> None:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert set(bases) == {"${BASE}"}
    assert re.search(r"^ARG BASE$", text, re.MULTILINE), "no default: whoever builds says which digest"
    assert "names no digest" in text
    installing = [line for line in re.split(r"\n|&&", text) if re.search(r"pip\S* .*\b(install|wheel)\b", line)]
    assert len(installing) == 4
    for line in installing:
        assert "--require-hashes" in line or ("--no-index" in line and "--no-deps" in line), line
        assert "--no-index" in line or "--only-binary=:all:" in line, line


def test_what_builds_the_image_is_what_builds_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["dependency-groups"]["build"] == project["build-system"]["requires"]
    locked = (ROOT / "requirements" / "build.txt").read_text(encoding="utf-8")
    for requirement in project["build-system"]["requires"]:
        assert f"{requirement} \\\n    --hash=sha256:" in locked
