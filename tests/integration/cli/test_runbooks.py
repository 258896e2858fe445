"""The commands of the runbooks, as somebody on call pastes them, on a real API server with what is shipped."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cli.running import SECONDS, Objects, Plugin

ROOT = Path(__file__).parents[3]
LEFT_OUT = {
    "kubectl curation": "the verbs have tests of their own, and each took two seconds",
    "kubectl logs": "no pod runs here",
    "kubectl top": "no metrics server",
    "servicemonitor": "no Prometheus operator",
    "validatingwebhookconfiguration": "no Service could answer it here",
    "get lease": "operators of tests elect nobody, or elsewhere",
}
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Each once, but for those that need what is not here."""
    pages = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
    lines = [line for page in pages for block in _BLOCK.findall(page.read_text()) for line in block.splitlines()]
    return [line for line in dict.fromkeys(lines) if not any(each in line for each in LEFT_OUT)]


def test_each_command_of_a_runbook_works(plugin: Plugin, objects: Objects) -> None:
    if shutil.which("jq") is None:
        pytest.skip("jq is not on the PATH")
    objects.job()
    environment = plugin.environment()
    programs = (Path(sys.executable).parent, plugin.connection.binaries, os.environ["PATH"])
    environment["PATH"] = os.pathsep.join(map(str, programs))
    found = commands()
    assert len(found) >= 12
    for command in found:
        text = re.sub(r"\bNAME\b", "build", command).replace("NAMESPACE", plugin.namespace)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        if "auth can-i" in command:
            assert done.stdout.strip() == "yes", command
