"""What `kubectl get` shows: short names, categories, columns and field selectors."""

from typing import Any

import pytest

from testing.controlplane.connection import Connection, Kubectl
from tests.integration.api.objects import approval, create, job, module, path, policy, read, write_status

_SINCE = "2026-01-02T03:04:05.000000Z"
_RUN: dict[str, Any] = {
    "id": "uid.g1.a2",
    "generation": 1,
    "attempt": 2,
    "retries": 0,
    "templateDigest": "v1:0",
    "module": {"name": "module", "digest": "sha256:0"},
    "holder": "operator/1",
    "submittedAt": _SINCE,
}
_READY = {
    "type": "Ready",
    "status": "False",
    "reason": "DigestMismatch",
    "message": "the bytes differ",
    "lastTransitionTime": "2026-01-02T03:04:05Z",
}


@pytest.fixture
def all_kinds(installed: Connection, namespace: str) -> None:
    create(installed, namespace, "curationjobs", job())
    create(installed, namespace, "curationmodules", module())
    create(installed, namespace, "curationpolicies", policy())
    create(installed, namespace, "curationapprovals", approval())


@pytest.mark.usefixtures("all_kinds")
def test_get_all_shows_jobs_and_no_other_kind(kubectl: Kubectl) -> None:
    # The default service account's ConfigMap is not in `all`; a namespace of the tests holds nothing else that is.
    assert kubectl("get", "all", "-o", "name").stdout.split() == ["curationjob.curation.dev/job"]


@pytest.mark.usefixtures("all_kinds")
def test_get_curation_shows_every_kind(kubectl: Kubectl) -> None:
    found = set(kubectl("get", "curation", "-o", "name").stdout.split())
    assert found >= {
        "curationjob.curation.dev/job",
        "curationmodule.curation.dev/module",
        "curationpolicy.curation.dev/policy",
        "curationapproval.curation.dev/approval",
    }


@pytest.mark.usefixtures("all_kinds")
@pytest.mark.parametrize(
    ("short", "name"),
    [
        ("cjob", "curationjob.curation.dev/job"),
        ("cmod", "curationmodule.curation.dev/module"),
        ("curpol", "curationpolicy.curation.dev/policy"),
        ("cappr", "curationapproval.curation.dev/approval"),
    ],
)
def test_a_short_name_names_its_kind(kubectl: Kubectl, short: str, name: str) -> None:
    assert kubectl("get", short, "-o", "name").stdout.split() == [name]


def test_the_short_name_of_cluster_policies_is_known(kubectl: Kubectl) -> None:
    assert kubectl("get", "ccurpol", "-o", "name").stderr == ""


def _table(kubectl: Kubectl, *what: str) -> list[list[str]]:
    lines = kubectl("get", *what).stdout.splitlines()
    starts = [
        index for index, char in enumerate(lines[0]) if char != " " and (index == 0 or lines[0][index - 1] == " ")
    ]
    ends = [*starts[1:], None]
    return [[line[start:end].strip() for start, end in zip(starts, ends, strict=True)] for line in lines]


def test_columns_of_a_job(installed: Connection, namespace: str, kubectl: Kubectl) -> None:
    create(installed, namespace, "curationjobs", job())
    status = {
        "phase": "Running",
        "reason": "SessionSpawned",
        "message": "session s1 runs",
        "run": _RUN,
        "session": {"id": "s1", "runID": "uid.g1.a2", "spawnedAt": _SINCE},
    }
    write_status(installed, namespace, "curationjobs", "job", status)
    header, row = _table(kubectl, "cjob")
    assert header == ["NAME", "PHASE", "REASON", "ATTEMPT", "SESSION", "AGE"]
    assert row[:5] == ["job", "Running", "SessionSpawned", "2", "s1"]
    header, row = _table(kubectl, "cjob", "-o", "wide")
    assert header[6:] == ["RUN", "MODULE", "MESSAGE"]
    assert row[6:] == ["uid.g1.a2", "module", "session s1 runs"]


def test_columns_of_a_module(installed: Connection, namespace: str, kubectl: Kubectl) -> None:
    create(installed, namespace, "curationmodules", module())
    status = {"digest": "sha256:00", "sizeBytes": 12, "conditions": [_READY]}
    write_status(installed, namespace, "curationmodules", "module", status)
    header, row = _table(kubectl, "cmod", "-o", "wide")
    assert header == ["NAME", "READY", "REASON", "SIZE", "AGE", "DIGEST", "MESSAGE"]
    assert [*row[:4], *row[5:]] == ["module", "False", "DigestMismatch", "12", "sha256:00", "the bytes differ"]


def test_columns_of_a_policy(installed: Connection, namespace: str, kubectl: Kubectl) -> None:
    create(installed, namespace, "curationpolicies", policy())
    write_status(installed, namespace, "curationpolicies", "policy", {"policies": 3, "conditions": [_READY]})
    header, row = _table(kubectl, "curpol", "-o", "wide")
    assert header == ["NAME", "READY", "REASON", "POLICIES", "IN-FORCE", "AGE", "MESSAGE"]
    assert [*row[:4], row[-1]] == ["policy", "False", "DigestMismatch", "3", "the bytes differ"]


def test_columns_of_an_approval(installed: Connection, namespace: str, kubectl: Kubectl) -> None:
    create(installed, namespace, "curationapprovals", approval())
    write_status(installed, namespace, "curationapprovals", "approval", {"waiting": 10})
    header, row = _table(kubectl, "cappr")
    assert header == ["NAME", "DECISION", "SCOPE", "MODULE", "METHOD", "HOST", "PATH", "WAITING", "AGE"]
    expected = ["approval", "Pending", "Request", "build-session-message", "POST", "sessions.example.com",
                "/v1/sessions", "10"]  # fmt: skip
    assert row[:8] == expected
    wide = ["TRIGGER", "ASKED-BY", "JOBS", "INPUT", "DENIED", "DECIDED-BY"]
    assert _table(kubectl, "cappr", "-o", "wide")[0][9:15] == wide


def test_jobs_are_selected_by_phase(installed: Connection, namespace: str, kubectl: Kubectl) -> None:
    for name, phase in (("a", "Completed"), ("b", "Failed"), ("c", "Completed")):
        create(installed, namespace, "curationjobs", job(name))
        write_status(installed, namespace, "curationjobs", name, {"phase": phase})
    create(installed, namespace, "curationjobs", job("fresh"))
    found = kubectl("get", "cjob", "--field-selector=status.phase=Completed", "-o", "name").stdout.split()
    assert found == ["curationjob.curation.dev/a", "curationjob.curation.dev/c"]
    assert kubectl("get", "cjob", "--field-selector=status.phase=", "-o", "name").stdout.split() == [
        "curationjob.curation.dev/fresh"
    ]


def test_approvals_are_selected_by_decision(installed: Connection, namespace: str, kubectl: Kubectl) -> None:
    for name in ("a", "b"):
        create(installed, namespace, "curationapprovals", approval(name))
    decided = read(installed, namespace, "curationapprovals", "a")
    decided["spec"]["decision"] = "Approved"
    assert installed.request("PUT", path(namespace, "curationapprovals", "a"), decided)[0] == 200
    found = kubectl("get", "cappr", "--field-selector=spec.decision=Pending", "-o", "name").stdout.split()
    assert found == ["curationapproval.curation.dev/b"]


def test_wait_takes_the_phase_of_a_job(installed: Connection, namespace: str, kubectl: Kubectl) -> None:
    create(installed, namespace, "curationjobs", job())
    write_status(installed, namespace, "curationjobs", "job", {"phase": "Completed"})
    kubectl("wait", "--for=jsonpath={.status.phase}=Completed", "cjob/job", "--timeout=30s")
