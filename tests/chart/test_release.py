"""A release on a real API server: installed, tested, upgraded, uninstalled, and taken over from kustomize.

There are no nodes here, so no pod runs: the test plays the kubelet for the pod of `helm test`.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from testing.controlplane.server import ControlPlane
from tests.chart.conftest import CHART, NAMESPACE, RELEASE, ROOT, Helm

_LIMIT = 180.0
_IMAGE = {"repository": "registry.example.com/curation-operator"}
_JOB = {
    "apiVersion": "curation.dev/v1alpha1",
    "kind": "CurationJob",
    "metadata": {"name": "mine"},
    "spec": {"moduleRef": {"name": "none"}},
}
_OURS = "deployments,clusterroles,validatingadmissionpolicies,mutatingadmissionpolicies,serviceaccounts,networkpolicies"


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _LIMIT
    while not condition():
        assert time.monotonic() < deadline, f"waited {_LIMIT:.0f} s in vain until {what}"
        time.sleep(0.1)


def found(server: ControlPlane, *what: str) -> list[str]:
    """The names of what is there and is ours."""
    names = server.kubectl("get", *what, "-A", "-l", "app.kubernetes.io/part-of=curation-operator", "-o", "name").stdout
    return sorted(names.split())


def deployment(server: ControlPlane) -> dict[str, Any]:
    text = server.kubectl("get", "deployment", "curation-operator", "-n", NAMESPACE, "-o", "json").stdout
    made: dict[str, Any] = json.loads(text)["spec"]
    return made


def make_job(server: ControlPlane) -> None:
    """As soon as the new kind and the admission policies are in effect."""
    text = json.dumps(_JOB)

    def stamped() -> bool:
        tried = ("create", "--dry-run=server", "-n", "default", "-f", "-", "-o", "json")
        shown = server.kubectl(*tried, input=text, check=False)
        return "curation.dev/created-by" in shown.stdout or "AlreadyExists" in shown.stderr

    def created() -> bool:
        ended = server.kubectl("create", "-n", "default", "-f", "-", input=text, check=False)
        return ended.returncode == 0 or "AlreadyExists" in ended.stderr

    until(stamped, "the admission policies stamp a job")
    until(created, "the API server takes a job")


def test_a_release_is_installed_upgraded_and_uninstalled_and_jobs_outlive_it(empty: ControlPlane, helm: Helm) -> None:
    installed = helm("install", RELEASE, str(CHART), "--create-namespace", values={"image": _IMAGE})
    assert "kubectl rollout status deployment/curation-operator -n curation-system" in installed.stdout
    assert "No image is published" not in installed.stdout
    assert "`helm uninstall` leaves the CRDs" in installed.stdout
    assert deployment(empty)["replicas"] == 2
    make_job(empty)
    job = json.loads(empty.kubectl("get", "cjob", "mine", "-n", "default", "-o", "json").stdout)
    assert job["metadata"]["annotations"]["curation.dev/created-by"] == "admin"

    values = {"image": {**_IMAGE, "tag": "0.2.0"}, "replicas": 3, "options": ["--allow-cidr=10.0.0.0/8"]}
    helm("upgrade", RELEASE, str(CHART), values=values)
    after = deployment(empty)
    container = after["template"]["spec"]["containers"][0]
    assert (after["replicas"], container["image"]) == (3, "registry.example.com/curation-operator:0.2.0")
    assert "--allow-cidr=10.0.0.0/8" in container["args"]
    # The same once more changes nothing.
    generation = empty.kubectl(
        "get", "deploy", "-n", NAMESPACE, "-o", "jsonpath={.items[0].metadata.generation}"
    ).stdout
    helm("upgrade", RELEASE, str(CHART), values=values)
    again = empty.kubectl("get", "deploy", "-n", NAMESPACE, "-o", "jsonpath={.items[0].metadata.generation}").stdout
    assert again == generation

    said = helm("uninstall", RELEASE, "--wait").stdout
    assert "curationjobs.curation.dev" in said, "what is kept is said"
    assert found(empty, _OURS) == []
    assert len(found(empty, "crd")) == 5
    assert empty.kubectl("get", "cjob", "mine", "-n", "default", "-o", "name").stdout

    again = helm("install", RELEASE, str(CHART), values={"image": _IMAGE, "crds": {"keep": False}}).stdout
    assert "`helm uninstall` deletes the CRDs" in again
    empty.kubectl("patch", "cjob", "mine", "-n", "default", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    empty.kubectl("delete", "cjob", "mine", "-n", "default", "--wait=false")
    empty.kubectl(
        "patch", "cjob", "mine", "-n", "default", "--type=merge", "-p", '{"metadata":{"finalizers":null}}', check=False
    )
    helm("uninstall", RELEASE, "--wait")
    until(lambda: found(empty, "crd") == [], "the CRDs are gone")


def test_a_newer_chart_brings_its_crds_with_an_upgrade(empty: ControlPlane, helm: Helm) -> None:
    helm("install", RELEASE, str(CHART), "--create-namespace", values={"image": _IMAGE})
    crd = "curationjobs.curation.dev"
    # As if the release was of a version whose CRD lacked something.
    change = '[{"op": "remove", "path": "/spec/names/shortNames"}]'
    empty.kubectl("patch", "crd", crd, "--type=json", "-p", change)
    helm("upgrade", RELEASE, str(CHART), values={"image": _IMAGE})
    assert "cjob" in empty.kubectl("get", "crd", crd, "-o", "jsonpath={.spec.names.shortNames}").stdout


def test_helm_takes_over_what_kustomize_has_installed(empty: ControlPlane, helm: Helm) -> None:
    empty.kubectl("apply", "--server-side", "-k", str(ROOT / "manifests" / "overlays" / "default"))
    before = found(empty, f"{_OURS},crd")
    make_job(empty)
    refused = helm("install", RELEASE, str(CHART), values={"image": _IMAGE}, check=False)
    assert "invalid ownership metadata" in refused.stderr
    helm("install", RELEASE, str(CHART), "--take-ownership", values={"image": _IMAGE})
    assert found(empty, f"{_OURS},crd") == before
    assert empty.kubectl("get", "cjob", "mine", "-n", "default", "-o", "name").stdout


def test_a_release_limited_to_a_namespace_has_no_cluster_role_of_the_operator(empty: ControlPlane, helm: Helm) -> None:
    empty.kubectl("create", "namespace", "team-a")
    values = {"image": _IMAGE, "namespaces": ["team-a"], "secrets": [{"namespace": "team-a", "names": ["token"]}]}
    helm("install", RELEASE, str(CHART), "--create-namespace", values=values)
    may = ("auth", "can-i", "--as", OPERATOR_USER)
    answers = {
        name: empty.kubectl(*may, *question, check=False).stdout.strip()
        for name, question in {
            "jobs there": ("list", "curationjobs.curation.dev", "-n", "team-a"),
            "the secret": ("get", "secret/token", "-n", "team-a"),
            "other secrets": ("get", "secret/other", "-n", "team-a"),
            "jobs elsewhere": ("list", "curationjobs.curation.dev", "-n", "default"),
        }.items()
    }
    assert answers == {"jobs there": "yes", "the secret": "yes", "other secrets": "no", "jobs elsewhere": "no"}


@pytest.mark.parametrize("namespaces", [[], ["default"]], ids=["cluster", "namespaced"])
def test_helm_test_runs_a_command_that_the_operators_account_may_run(
    namespaces: list[str], empty: ControlPlane, helm: Helm
) -> None:
    helm("install", RELEASE, str(CHART), "--create-namespace", values={"image": _IMAGE, "namespaces": namespaces})
    until(lambda: empty.kubectl("get", "cappr", "-A", check=False).returncode == 0, "the new kinds are served")
    account = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/curation-operator"
    until(lambda: empty.request("GET", account)[0] == 200, "the account is there")
    outcome: list[subprocess.CompletedProcess[str]] = []
    tested = threading.Thread(target=lambda: outcome.append(helm("test", RELEASE, "--timeout", "170s", check=False)))
    tested.start()
    try:
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/curation-operator-test"
        until(lambda: empty.request("GET", path)[0] == 200 or not tested.is_alive(), "helm has made the pod")
        status, pod = empty.request("GET", path)
        assert status == 200, outcome
        (container,) = pod["spec"]["containers"]
        assert pod["spec"]["serviceAccountName"] == "curation-operator"
        name, *arguments = container["command"]
        ended = subprocess.run(
            [str(Path(sys.executable).parent / name), *arguments],
            env=empty.connection.environment(OPERATOR_USER, OPERATOR_GROUPS),
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        phase = "Succeeded"
        empty.request("PATCH", f"{path}/status", {"status": {"phase": phase}})
    finally:
        tested.join()
    assert outcome[0].returncode == 0, outcome[0].stderr
    assert "Succeeded" in outcome[0].stdout
