"""The Job of a run: nothing of a tenant's in it, as little right as can be, and known again when it was changed."""

import copy
import json
import platform
from collections.abc import Callable
from typing import Any

import pytest

from curation.api.executor import GuestJob
from curation.api.names import Trigger
from curation.execution.seam import ExecutionRequest, ModuleBuild
from curation.lifecycle.outcome import RunKey
from curation.pods.manifest import AUDIENCE, PodSettings, as_made, job_document, job_name
from curation.wasm.limits import Limits

RUN = "0ccff2ef-9390-428c-9e2f-ca7481e732a3.g12.a3"
SETTINGS = PodSettings("curation-guests", "registry/op:1", "curation-system", "door.x.svc:9445", "door.x.svc", "PEM")
REQUEST = ExecutionRequest(
    trigger=Trigger.SUBMIT,
    run=RunKey("0ccff2ef-9390-428c-9e2f-ca7481e732a3", RUN, 12, 3, "v1:d"),
    namespace="tenant-secret-name",
    job="tenant-job",
    module=ModuleBuild("tenant-module", "sha256:m", Limits(memory=64 << 20, wall_seconds=30)),
    labels={"tenant": "label"},
    input={"tenant": "input"},
    config={"tenant": "config"},
    in_pod=True,
)
PLACED = GuestJob.model_validate(
    {
        "nodeSelector": {"pool": "guests", "kubernetes.io/arch": "other"},
        "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}],
        "priorityClassName": "low",
        "runtimeClassName": "gvisor",
    }
)


def made(placed: GuestJob = PLACED) -> Any:
    return job_document(REQUEST, placed, SETTINGS, 7 << 20)


def as_the_server_shows_it(document: Any) -> Any:
    shown = copy.deepcopy(document)
    shown["metadata"] |= {"uid": "u", "resourceVersion": "5", "creationTimestamp": "2030-01-01T00:00:00Z"}
    shown["spec"] |= {"suspend": False, "selector": {"matchLabels": {}}, "completionMode": "NonIndexed"}
    spec = shown["spec"]["template"]["spec"]
    spec |= {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "serviceAccount": "curation-guest"}
    spec["containers"][0] |= {"terminationMessagePath": "/dev/termination-log", "imagePullPolicy": "IfNotPresent"}
    return shown


def test_nothing_of_a_tenant_s_data_stands_in_it() -> None:
    text = json.dumps(made(GuestJob()))
    assert "tenant" not in text
    assert "sha256:m" not in text
    assert RUN in text


def test_the_pod_is_given_as_little_as_can_be() -> None:
    spec = made()["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    (volume,) = spec["volumes"]
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == AUDIENCE


def test_it_makes_one_pod_for_as_long_as_the_run_may_take_and_with_the_memory_of_its_limits() -> None:
    spec = made()["spec"]
    assert (spec["backoffLimit"], spec["podReplacementPolicy"], spec["completions"]) == (0, "Failed", 1)
    assert spec["activeDeadlineSeconds"] > 30 + 1200
    limits = spec["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert int(limits["memory"]) > (64 << 20) + (7 << 20)


def test_what_the_job_asks_for_is_passed_through_but_for_the_processor_that_the_module_was_compiled_for() -> None:
    spec = made()["spec"]["template"]["spec"]
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    assert spec["nodeSelector"] == {"pool": "guests", "kubernetes.io/arch": machine}
    assert (spec["priorityClassName"], spec["runtimeClassName"]) == ("low", "gvisor")
    assert spec["tolerations"] == [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]


@pytest.mark.parametrize("run", [RUN, "UPPER_case.g1.a1", "u" * 120 + ".g1.a1", "...g1.a1"])
def test_the_name_is_a_label_and_of_one_run_alone(run: str) -> None:
    name = job_name(run)
    assert 0 < len(name) <= 57
    assert name == name.lower().strip("-.")
    assert name.replace("-", "").isalnum()
    assert name != job_name(run[:-1] + "2")


def test_it_is_known_again_as_the_server_shows_it() -> None:
    assert as_made(made(), as_the_server_shows_it(made()))


def _container(found: Any) -> Any:
    return found["spec"]["template"]["spec"]["containers"][0]


CHANGES: dict[str, Callable[[Any], object]] = {
    "another image": lambda found: _container(found).update(image="mine"),
    "another command": lambda found: _container(found).update(command=["sh"]),
    "one more container": lambda found: found["spec"]["template"]["spec"]["containers"].append({"name": "x"}),
    "a container before it": lambda found: found["spec"]["template"]["spec"].update(initContainers=[{"name": "x"}]),
    "the network of the node": lambda found: found["spec"]["template"]["spec"].update(hostNetwork=True),
    "a hook": lambda found: _container(found).update(lifecycle={"postStart": {}}),
    "one more variable": lambda found: _container(found)["env"].append({"name": "LD_PRELOAD", "value": "x"}),
    "another door": lambda found: _container(found)["env"][0].update(value="elsewhere:1"),
    "more pods": lambda found: found["spec"].update(completions=2),
    "more tries": lambda found: found["spec"].update(backoffLimit=6),
    "another owner's label": lambda found: found["metadata"]["labels"].update({"curation.dev/guests-of": "other"}),
    "no template": lambda found: found["spec"].pop("template"),
    "an account": lambda found: found["spec"]["template"]["spec"].update(serviceAccountName="admin"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_one_that_was_changed_is_not_taken_for_ours(change: Callable[[Any], object]) -> None:
    found = as_the_server_shows_it(made())
    change(found)
    assert not as_made(made(), found)
