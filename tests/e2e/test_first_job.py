"""README's first job, as it is printed there, on a real node: the sample session service is deployed, and it ends."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.e2e.__main__ import SESSIONS_VARIABLE
from hack.e2e.target import ROOT
from tests.e2e import installation
from tests.e2e.kubectl import get, kubectl, until
from tests.e2e.service import Sessions
from tests.harness.readme import first_job, first_objects

SAMPLE = ROOT / "manifests" / "samples" / "session-service"
SERVICE = ("service", "sessions", "-n", "sample-sessions")


@pytest.fixture
def sample(session_service: Sessions, tmp_path: Path) -> Iterator[str]:
    """The sample session service; its cluster IP, which modules may reach while it is there."""
    image = os.environ.get(SESSIONS_VARIABLE)
    if not image:
        pytest.skip("no image of the sample session service: give SESSIONS=<image> to make e2e")
    name, _, tag = image.rpartition(":")
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(SAMPLE, tmp_path.resolve())],
        "images": [{"name": "curation-sessions", "newName": name, "newTag": tag}],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(kustomization), encoding="utf-8")
    try:
        kubectl("apply", "-k", str(tmp_path))
        kubectl("rollout", "status", "deployment/sessions", "-n", "sample-sessions", "--timeout=180s")
        address = get(*SERVICE)["spec"]["clusterIP"]
        # As an argument: the installation of these tests has one already, beside which the environment does not count.
        allowed = f"--allow-cidr={address}/{128 if ':' in address else 32}"
        more = json.dumps([{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": allowed}])
        kubectl("patch", installation.DEPLOYMENT, "-n", installation.SYSTEM, "--type=json", "-p", more)
        kubectl("rollout", "status", installation.DEPLOYMENT, "-n", installation.SYSTEM, "--timeout=240s")
        yield address
    finally:
        kubectl("delete", "namespace", "team-a", "sample-sessions", "--ignore-not-found")


def test_the_first_job_of_the_readme_is_running_and_ends_on_any_cluster(sample: str) -> None:
    text = first_job()
    if not installation.has_dns():
        # Everything else is as it is printed.
        host = re.sub(r"^http://|:[0-9]+$", "", first_objects()["CurationJob"]["spec"]["config"]["api_url"])
        text = text.replace(host, sample)
    kubectl("create", "namespace", "team-a")
    kubectl("apply", "-f", "-", stdin=text)
    until(
        lambda: get("cjob", "first", "-n", "team-a").get("status", {}).get("phase") in ("Running", "Completed"),
        "the first job runs",
        installation.logs,
    )
    kubectl("wait", "--for=condition=Finished", "cjob/first", "-n", "team-a", "--timeout=180s")
    status = get("cjob", "first", "-n", "team-a")["status"]
    assert (status["phase"], status["output"]) == ("Completed", {"ended": "by itself, after 30 s"})
