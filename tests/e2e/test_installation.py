"""The image and the manifests, as a user installs them."""

import json

import pytest

from testing.controlplane.errors import KubectlError
from tests.e2e import installation
from tests.e2e.disruption import evict
from tests.e2e.installation import SYSTEM
from tests.e2e.kubectl import get, kubectl, until

pytestmark = pytest.mark.usefixtures("team")


def test_both_replicas_are_ready_and_exactly_one_leads() -> None:
    ready = installation.ready_pods()
    assert len(ready) == 2
    until(lambda: any(map(installation.leads, ready)), "one of them leads", installation.logs)
    leaders = [pod for pod in ready if installation.leads(pod)]
    assert leaders == [installation.holder().partition("/")[0]]


def test_the_operator_is_not_root_and_can_write_nothing_but_tmp() -> None:
    code = """
import json, os, pathlib, sys
def writable(folder):
    try:
        (pathlib.Path(folder) / "probe").write_text("")
    except OSError as error:
        return error.strerror
    (pathlib.Path(folder) / "probe").unlink()
    return "writable"
status = dict(line.split(":", 1) for line in open("/proc/1/status"))
print(json.dumps({
    "ids": [os.getuid(), os.getgid()],
    "privileges": [int(status["CapEff"], 16), int(status["NoNewPrivs"])],
    "folders": {folder: writable(folder) for folder in ("/", "/opt/curation", sys.prefix, "/tmp")},
}))
"""
    seen = json.loads(kubectl("exec", installation.DEPLOYMENT, "-n", SYSTEM, "--", "python", "-c", code))
    read_only = "Read-only file system"
    assert seen == {
        "ids": [65532, 65532],
        "privileges": [0, 1],
        "folders": {"/": read_only, "/opt/curation": read_only, "/tmp": "writable"},
    }


def test_of_two_evictions_at_once_the_second_is_refused() -> None:
    until(_may_lose_one, "the PodDisruptionBudget counts both replicas", installation.logs)
    first, second = installation.ready_pods()
    evict(first, SYSTEM)
    with pytest.raises(KubectlError, match="disruption budget"):
        evict(second, SYSTEM)


def _may_lose_one() -> bool:
    budget = get("pdb", "curation-operator", "-n", SYSTEM)["status"]
    return (budget["currentHealthy"], budget["disruptionsAllowed"]) == (2, 1)
