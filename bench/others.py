"""What `bench.batch_job` compares ours with: kinds of others, each object of one pod, and how to see that it ended."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from bench.kubelet import NODE
from bench.throughput import NAMESPACE
from testing.argo.build import PROGRAM as ARGO_PROGRAM

THEIRS: Final = "batch/v1 Job"
ARGO: Final = "Argo Workflow"


def batch_job(name: str) -> dict[str, Any]:
    """A Job of one pod, which is bound to the node."""
    container = {"name": "work", "image": "example.org/work:1", "command": ["true"]}
    pod = {"nodeName": NODE, "restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [container]}
    spec = {"backoffLimit": 0, "template": {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def workflow(name: str) -> dict[str, Any]:
    """A Workflow of one container, whose pod is bound to the node by the only field that can say so."""
    container = {"image": "example.org/work:1", "command": ["true"]}
    bound = json.dumps({"nodeName": NODE})
    spec = {"entrypoint": "work", "podSpecPatch": bound, "templates": [{"name": "work", "container": container}]}
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": name}, "spec": spec}


@dataclass(frozen=True)
class Other:
    """A kind that is not ours."""

    of: str
    """Whose a figure of it is."""
    path: str
    document: Callable[[str], dict[str, Any]]
    done: bytes
    """What an object's JSON has once it has ended well, and not before."""
    program: str
    """Its controller."""
    late: float
    """Seconds in which the last of it is written: Argo's controller pauses a second after each status."""


OTHERS: Final = {
    THEIRS: Other(
        "a batch/v1 Job's",
        f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs",
        batch_job,
        b'"type":"Complete","status":"True"',
        "kube-controller-manager",
        2,
    ),
    ARGO: Other(
        "an Argo Workflow's",
        f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/workflows",
        workflow,
        b'"workflows.argoproj.io/phase":"Succeeded"',
        ARGO_PROGRAM,
        4,
    ),
}
