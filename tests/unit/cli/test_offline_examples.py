"""The documented commands that need no cluster print what the pages show, run as they stand there, in the checkout."""

import os
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from curation.cli.operator import main as operator
from curation.cli.plugin import cli as plugin

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(
    r"^```console\n(\$ (?:curation-operator try|kubectl curation test) .*?)^```$", re.MULTILINE | re.DOTALL
)
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)

EXAMPLES = [
    pytest.param(command, shown, id=f"{page.name}-{number}")
    for page in PAGES
    for block in _BLOCK.findall(page.read_text(encoding="utf-8"))
    for number, (command, shown) in enumerate(_COMMAND.findall(block))
]


def steady(text: str) -> str:
    """The text without what differs from run to run: the run's id, and times."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID", text)
    return re.sub(r"\b\d+\.\d{3}\b", "SECONDS", text)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 1


@pytest.mark.parametrize(("command", "shown"), EXAMPLES)
def test_an_example_prints_what_its_page_shows(command: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(os, "environ", {**os.environ, "KUBECONFIG": "/nonexistent"})
    program, *words = shlex.split(command.replace("\\\n", " "))
    if program == "curation-operator":
        done = CliRunner().invoke(operator, words)
    else:
        assert (program, words.pop(0)) == ("kubectl", "curation")
        done = CliRunner().invoke(plugin, words)
    assert steady(done.output).split() == steady(shown).split()
