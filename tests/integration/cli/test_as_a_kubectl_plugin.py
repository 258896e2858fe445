"""Through the real kubectl: found on the PATH, given its arguments, completed by the script of the documentation."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from testing.controlplane.connection import Connection
from tests.integration.cli.running import SECONDS, Objects, Plugin, request

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "kubectl-curation.md"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def kubectl_with_plugin(installed: Connection, plugin: Plugin, tmp_path: Path) -> Run:
    """Runs the real kubectl with the plugin and the completion script on its PATH."""
    scripts = {
        "kubectl-curation": f'#!/bin/sh\nexec "{sys.executable}" -m curation.cli.plugin "$@"\n',
        "kubectl_complete-curation": documented_script(),
    }
    for name, text in scripts.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        environment = plugin.environment()
        return subprocess.run(
            [str(installed.binaries / "kubectl"), *args],
            env={**environment, "PATH": f"{tmp_path}:{environment['PATH']}"},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    return run


def documented_script() -> str:
    found = re.search(r"```sh\n(#!.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    assert found, "the documentation has the completion script"
    return found[1]


def offered(result: subprocess.CompletedProcess[str]) -> list[str]:
    *words, directive = result.stdout.split()
    assert directive == ":4", result.stderr
    return words


def test_kubectl_finds_and_runs_it(kubectl_with_plugin: Run, plugin: Plugin, objects: Objects) -> None:
    objects.job()
    assert "kubectl-curation" in kubectl_with_plugin("plugin", "list").stdout
    result = kubectl_with_plugin("curation", "why", "build", "-n", plugin.namespace)
    assert result.returncode == 0, result.stderr
    assert f"{plugin.namespace}/build" in result.stdout
    wrong = kubectl_with_plugin("curation", "why")
    assert wrong.returncode == 2
    assert "Usage: kubectl curation why" in wrong.stderr


def test_kubectl_completes_verbs_words_and_names(kubectl_with_plugin: Run, objects: Objects) -> None:
    objects.job("build-one")
    objects.job("other")
    pending, decided = (objects.approval(request(path=path)) for path in ("/a", "/b"))
    objects.patch("curationapprovals", decided, {"spec": {"decision": "Approved"}})
    assert offered(kubectl_with_plugin("__complete", "curation", "re")) == ["rerun", "resume", "revoke"]
    assert offered(kubectl_with_plugin("__complete", "curation", "why", "")) == ["build-one", "other"]
    assert offered(kubectl_with_plugin("__complete", "curation", "why", "bu")) == ["build-one"]
    assert offered(kubectl_with_plugin("__complete", "curation", "approve", "")) == [pending]
    assert offered(kubectl_with_plugin("__complete", "curation", "revoke", "")) == [decided]
    assert offered(kubectl_with_plugin("__complete", "curation", "approve", "x", "--scope", "")) == [
        "Request",
        "Path",
        "Host",
    ]
    elsewhere = ("__complete", "curation", "why", "-n", "no-such-namespace", "")
    assert offered(kubectl_with_plugin(*elsewhere)) == []
