"""What the API server accepts, what it fills in, and what a fresh object says about itself."""

import json

import pytest

from testing.controlplane.connection import Connection, Kubectl
from tests.integration.api.objects import (
    DIGEST,
    REQUEST,
    Document,
    approval,
    create,
    job,
    module,
    path,
    policy,
    read,
    text,
)

_CREDENTIAL = {"host": "a.example", "header": "X", "secretKeyRef": {"name": "s", "key": "k"}}

_GOOD: dict[str, Document] = {
    "a job that says only its module": job(),
    "a job with a name of 52 characters": job("j" * 52),
    "a job with a name of several labels": job("a.b-c.d"),
    "a job with everything": job(
        input={"message": "m", "deep": {"list": [1, 2.5, True, {"x": "y"}]}},
        config={"api_url": "https://sessions.example.com"},
        rerun="2026-01-01",
        suspend=True,
        onDenied="Fail",
        retry={"limit": 0, "initialDelaySeconds": 5, "maxDelaySeconds": 5},
        timeouts={"submittedSeconds": 1, "runningSeconds": 1, "queuedSeconds": 1, "approvalSeconds": 1},
        observeIntervalSeconds=3600,
        ttlSecondsAfterFinished=0,
    ),
    "a job in a pod": job(executor={"type": "Job"}),
    "a job in a pod that is given all it may be": job(
        executor={
            "type": "Job",
            "job": {
                "nodeSelector": {"kubernetes.io/arch": "arm64", "pool": ""},
                "tolerations": [
                    {"operator": "Exists"},
                    {"key": "example.com/guests", "value": "only", "effect": "NoExecute", "tolerationSeconds": 60},
                ],
                "priorityClassName": "low",
                "runtimeClassName": "gvisor",
            },
        }
    ),
    "a job whose input and config are elsewhere": job(
        input={},
        inputFrom={"configMapKeyRef": {"name": "work", "key": "input.json"}},
        config={"region": "eu"},
        configFrom={"configMapRef": {"name": "settings"}},
    ),
    "a job that says how often it is observed": job(observe={"intervalSeconds": 1, "maxIntervalSeconds": 3600}),
    "a job that says it twice alike": job(
        observe={"intervalSeconds": 5, "maxIntervalSeconds": 5}, observeIntervalSeconds=5
    ),
    "a job whose config is exactly 4 KiB": job(config={"k": "x" * 4095}),
    "a job whose input holds a null": job(input={"a": None}),
    "a builtin module": module(),
    "a builtin module with a digest": module(digest=DIGEST),
    "a module of a config map": module(source={"configMap": {"name": "c", "key": "m.wasm"}}, digest=DIGEST),
    "a module of a registry": module(
        source={"oci": {"ref": "registry.example:5000/team/module_a", "digest": DIGEST}}, digest=DIGEST
    ),
    "a module with every limit at its most": module(
        limits={"memory": "1Gi", "cpuSeconds": 300, "wallSeconds": 3600, "httpCalls": 1024, "responseSize": "16Mi",
                "outputSize": "32Ki"}
    ),
    "a module with limits in bytes": module(limits={"memory": "1048576", "responseSize": "1k", "outputSize": "1"}),
    "a module with credentials for several origins": module(
        credentials=[_CREDENTIAL, {**_CREDENTIAL, "port": 8443}, {**_CREDENTIAL, "scheme": "http", "port": 80},
                     {**_CREDENTIAL, "host": "192.0.2.1"}]
    ),
    "a policy": policy(),
    "a policy of exactly 64 KiB": policy(cedar="//" + "x" * 65534),
    "a cluster policy": {**policy("good-manifest"), "kind": "ClusterCurationPolicy"},
    "a pending approval": approval(decision="Pending", scope="Path"),
}  # fmt: skip


@pytest.mark.parametrize("document", _GOOD.values(), ids=_GOOD.keys())
def test_kubectl_apply_accepts(kubectl: Kubectl, document: Document) -> None:
    result = kubectl("apply", "--dry-run=server", "-f", "-", input=text(document))
    assert result.stderr == "", "not a warning either"


@pytest.mark.parametrize("document", _GOOD.values(), ids=_GOOD.keys())
def test_server_side_apply_accepts(kubectl: Kubectl, document: Document) -> None:
    assert kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", input=text(document)).stderr == ""


def test_defaults_of_a_job_are_filled_in_at_every_level(installed: Connection, namespace: str) -> None:
    made = create(installed, namespace, "curationjobs", job())
    assert made["spec"] == {
        "moduleRef": {"name": "module"},
        "input": {},
        "config": {},
        "executor": {"type": "InProcess"},
        "rerun": "",
        "suspend": False,
        "onDenied": "AwaitApproval",
        "retry": {"limit": 3, "initialDelaySeconds": 1, "maxDelaySeconds": 300},
        "timeouts": {"submittedSeconds": 900, "runningSeconds": 7200},
        "observe": {"intervalSeconds": 10, "maxIntervalSeconds": 60},
    }


def test_defaults_within_a_given_object_are_filled_in_around_what_is_given(
    installed: Connection, namespace: str
) -> None:
    made = create(installed, namespace, "curationjobs", job(retry={"limit": 0}, timeouts={"queuedSeconds": 5}))
    assert made["spec"]["retry"] == {"limit": 0, "initialDelaySeconds": 1, "maxDelaySeconds": 300}
    assert made["spec"]["timeouts"] == {"submittedSeconds": 900, "runningSeconds": 7200, "queuedSeconds": 5}


def test_defaults_of_a_module_are_filled_in_at_every_level(installed: Connection, namespace: str) -> None:
    made = create(installed, namespace, "curationmodules", module(credentials=[_CREDENTIAL]))
    assert made["spec"] == {
        "source": {"builtin": "build-session-message-v1"},
        "limits": {
            "memory": "64Mi",
            "cpuSeconds": 1,
            "wallSeconds": 120,
            "httpCalls": 64,
            "responseSize": "1Mi",
            "outputSize": "32Ki",
        },
        "credentials": [{**_CREDENTIAL, "scheme": "https", "port": 443}],
        "config": {},
    }


def test_an_approval_is_pending_for_its_exact_request_by_default(installed: Connection, namespace: str) -> None:
    made = create(installed, namespace, "curationapprovals", approval())
    assert made["spec"] == {
        "request": REQUEST,
        "requestDigest": "0" * 64,
        "scope": "Request",
        "decision": "Pending",
        "earlier": [],
        "neverExpires": False,
    }


@pytest.mark.parametrize(
    ("plural", "document"),
    [
        ("curationjobs", job()),
        ("curationmodules", module()),
        ("curationpolicies", policy()),
        ("curationapprovals", approval()),
    ],
    ids=["job", "module", "policy", "approval"],
)
def test_a_fresh_object_says_that_nothing_was_observed_whoever_reads_it(
    installed: Connection, namespace: str, plural: str, document: Document
) -> None:
    """kstatus takes an object whose observedGeneration is not its generation for InProgress."""
    name = document["metadata"]["name"]
    forged = {**document, "status": {"observedGeneration": 1, "phase": "Completed"}}
    fresh = {"observedGeneration": -1}
    assert create(installed, namespace, plural, forged)["status"] == fresh
    assert read(installed, namespace, plural, name)["status"] == fresh
    _, listed = installed.request("GET", path(namespace, plural))
    assert [item["status"] for item in listed["items"]] == [fresh]
    query = (
        "?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    )
    watched = installed.kubectl("get", "--raw", path(namespace, plural) + query).stdout
    assert json.loads(watched.splitlines()[0])["object"]["status"] == fresh


def test_a_cluster_policy_is_fresh_too(installed: Connection) -> None:
    document = {**policy("fresh-cluster-policy"), "kind": "ClusterCurationPolicy"}
    made = installed.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", input=text(document))
    assert json.loads(made.stdout)["status"] == {"observedGeneration": -1}


def test_applying_the_same_manifest_twice_changes_nothing(kubectl: Kubectl) -> None:
    document = text(_GOOD["a job with everything"])
    kubectl("apply", "-f", "-", input=document)
    assert "unchanged" in kubectl("apply", "-f", "-", input=document).stdout
    assert kubectl("diff", "-f", "-", input=document).stdout == ""


def test_nulls_and_numbers_of_an_input_arrive_as_they_were_sent(installed: Connection, namespace: str) -> None:
    sent = {"a": None, "b": [None, 1.5, 2**53], "c": {"": "x"}}
    create(installed, namespace, "curationjobs", job(input=sent))
    assert read(installed, namespace, "curationjobs", "job")["spec"]["input"] == sent
