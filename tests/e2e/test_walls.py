"""The two containers of a pod, as the kernel of a real node keeps them apart."""

import json
from typing import Any

import pytest

from tests.e2e import installation
from tests.e2e.installation import SYSTEM
from tests.e2e.kubectl import kubectl, until
from tests.e2e.team import Team

_WORKERS = """
import json, os, pathlib
def read(path):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError:
        return b""
processes = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
lines = {pid: read(f"/proc/{pid}/cmdline").replace(b"\\0", b" ").decode() for pid in processes}
print(json.dumps({
    "uid": os.getuid(),
    "operators": [line for line in lines.values() if "curation-operator run" in line],
    "tokens": [str(path) for path in pathlib.Path("/").glob("var/run/secrets/**/token")],
    "environment": [name for name in os.environ if name.startswith("KUBERNETES_") and name.endswith("_TOKEN")],
    "unreadable": all(not read(f"/proc/{pid}/environ") for pid in processes if "isolation.entry" in lines[pid]),
}))
"""
_OPERATOR = """
import json, os, pathlib
others = [name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
lines = [(pathlib.Path("/proc") / name / "cmdline").read_bytes().replace(b"\\0", b" ").decode() for name in others]
maps = pathlib.Path("/proc/1/maps").read_text()
print(json.dumps({
    "uid": os.getuid(),
    "loaded": [name for name in ("cedarpy", "wasmtime") if name in maps],
    "token": any(pathlib.Path("/").glob("var/run/secrets/**/token")),
    "workers": [line for line in lines if "curation-operator workers" in line or "curation.workers" in line],
}))
"""


def _seen(pod: str, container: str, code: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl("exec", pod, "-n", SYSTEM, "-c", container, "--", "python", "-c", code))
    return found


def test_the_container_that_runs_modules_sees_neither_the_operator_nor_a_token(team: Team) -> None:
    team.permit()
    team.until_settled(team.create_jobs(2))
    until(lambda: any(map(installation.leads, installation.ready_pods())), "one of them leads", installation.logs)
    (leader,) = [pod for pod in installation.ready_pods() if installation.leads(pod)]

    workers = _seen(leader, "workers", _WORKERS)
    assert workers == {"uid": 65533, "operators": [], "tokens": [], "environment": [], "unreadable": True}
    operator = _seen(leader, "operator", _OPERATOR)
    assert operator == {"uid": 65532, "loaded": [], "token": True, "workers": []}


@pytest.mark.usefixtures("team")
def test_sandbox_says_that_this_node_gives_the_walls() -> None:
    said = kubectl("exec", installation.DEPLOYMENT, "-n", SYSTEM, "-c", "workers", "--", "curation-operator", "sandbox")
    wanted = {"template", "parent-death signal", "unreadable memory", "sealed fence page", "memory limit", "user"}
    lines = {line.partition("  ")[0].strip(): line for line in said.splitlines()}
    assert {name for name in wanted if any(known.startswith(name) for known in lines)} == wanted
    assert [line for line in lines.values() if "missing" in line] == []
