"""The batch/v1 Job of one run, as a document. Nothing in it is a tenant's but the run's id and where its pod may run.

Module, input, configuration and limits come to the pod over its connection. Pure: no I/O and no clock.
"""

import hashlib
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from curation.api.executor import GuestJob
from curation.api.names import (
    ANNOTATION_ATTEMPT,
    ANNOTATION_GENERATION,
    ANNOTATION_RUN_ID,
    ANNOTATION_TEMPLATE_DIGEST,
    LABEL_GUESTS_OF,
    LABEL_MANAGED_BY,
    MANAGED_BY,
)
from curation.execution.seam import ExecutionRequest
from curation.pods.times import LOST_SECONDS, START_SECONDS
from curation.pods.variables import (
    AUTHORITY_VARIABLE,
    DOOR_VARIABLE,
    EXECUTION_VARIABLE,
    SERVER_NAME_VARIABLE,
    TOKEN_FILE_VARIABLE,
)

AUDIENCE: Final = "curation.dev/guests"
"""Of the pod's token: the API server takes it for nothing, and the door for a pod's."""
SERVICE_ACCOUNT: Final = "curation-guest"
"""Which has no right at all."""
TOKEN_SECONDS: Final = 3600
TTL_SECONDS: Final = 900
"""After which a Job that has ended goes, should no operator remove it."""
OVERHEAD_BYTES: Final = 160 << 20
"""Of memory: Python, wasmtime and the carrier."""
RESPONSE_COPIES: Final = 8
"""How often a response may be in the pod's memory at a time, as bytes, as text, in documents."""
CONTAINER: Final = "guest"
USER: Final = 65532
_TOKEN_FOLDER: Final = "/var/run/secrets/curation.dev"  # noqa: S105 - a folder
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x"}
_NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9-]+")
_NAME_LENGTH: Final = 57
"""Its pod's name is that and six more, and is a label: 63."""


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What all guest pods of one operator have in common."""

    namespace: str
    image: str
    instance: str
    """The namespace of the operator, by which it knows its own."""
    door: str
    """host:port"""
    server_name: str
    """Of the door's certificate."""
    authority: str
    """Who may have signed that: PEM."""


def job_name(run_id: str) -> str:
    """The Job's name: the run id as a DNS label."""
    name = _NOT_IN_A_NAME.sub("-", run_id.lower().replace(".", "-")).strip("-")
    if len(name) <= _NAME_LENGTH and name:
        return name
    return f"{name[: _NAME_LENGTH - 17].strip('-')}-{hashlib.sha256(run_id.encode()).hexdigest()[:16]}".lstrip("-")


def job_document(request: ExecutionRequest, placed: GuestJob, settings: PodSettings, artifact_bytes: int) -> Any:
    """The Job of this execution. `artifact_bytes` of compiled module it keeps in memory."""
    labels = {
        "app.kubernetes.io/name": "curation-guest",
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_GUESTS_OF: settings.instance,
    }
    annotations = {
        ANNOTATION_RUN_ID: request.run.id,
        ANNOTATION_GENERATION: str(request.run.generation),
        ANNOTATION_ATTEMPT: str(request.run.attempt),
        ANNOTATION_TEMPLATE_DIGEST: request.run.template_digest,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(request.run.id),
            "namespace": settings.namespace,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": 0,
            # Else another pod would be made while this one is still ending.
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": START_SECONDS + int(request.module.limits.wall_seconds) + LOST_SECONDS + 60,
            "ttlSecondsAfterFinished": TTL_SECONDS,
            "template": {
                "metadata": {"labels": labels, "annotations": {ANNOTATION_RUN_ID: request.run.id}},
                "spec": _pod(request, placed, settings, artifact_bytes),
            },
        },
    }


def memory_bytes(request: ExecutionRequest, artifact_bytes: int) -> int:
    """The pod's memory limit."""
    limits = request.module.limits
    return limits.memory + artifact_bytes + RESPONSE_COPIES * limits.response_size + OVERHEAD_BYTES


def _pod(request: ExecutionRequest, placed: GuestJob, settings: PodSettings, artifact_bytes: int) -> dict[str, Any]:
    memory = str(memory_bytes(request, artifact_bytes))
    machine = platform.machine()
    # What was compiled here runs nowhere else, whatever the job asks for.
    selector = {**placed.node_selector, "kubernetes.io/arch": _ARCHITECTURES.get(machine, machine)}
    environment = {
        DOOR_VARIABLE: settings.door,
        SERVER_NAME_VARIABLE: settings.server_name,
        AUTHORITY_VARIABLE: settings.authority,
        EXECUTION_VARIABLE: request.execution,
        TOKEN_FILE_VARIABLE: f"{_TOKEN_FOLDER}/token",
    }
    given: dict[str, Any] = {}
    if placed.tolerations:
        given["tolerations"] = [each.to_wire() for each in placed.tolerations]
    if placed.priority_class_name is not None:
        given["priorityClassName"] = placed.priority_class_name
    if placed.runtime_class_name is not None:
        given["runtimeClassName"] = placed.runtime_class_name
    return {
        **given,
        "nodeSelector": selector,
        "restartPolicy": "Never",
        "serviceAccountName": SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": CONTAINER,
                "image": settings.image,
                "command": ["curation-operator", "guest"],
                "env": [{"name": name, "value": value} for name, value in environment.items()],
                "resources": {
                    "requests": {"cpu": "50m", "memory": memory},
                    "limits": {"memory": memory},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "token", "mountPath": _TOKEN_FOLDER, "readOnly": True}],
            }
        ],
        "volumes": [
            {
                "name": "token",
                "projected": {
                    "defaultMode": 0o440,
                    "sources": [
                        {
                            "serviceAccountToken": {
                                "path": "token",
                                "audience": AUDIENCE,
                                "expirationSeconds": TOKEN_SECONDS,
                            }
                        }
                    ],
                },
            }
        ],
    }


_OF_THE_SERVER: Final = frozenset(
    {
        *("dnsPolicy", "schedulerName", "serviceAccount", "terminationMessagePath", "terminationMessagePolicy"),
        *("imagePullPolicy", "priority", "preemptionPolicy", "overhead"),
        *("terminationGracePeriodSeconds", "tolerations", "priorityClassName"),
    }
)
"""Fields of a pod's spec that the API server, or its admission, adds to what is asked for."""


def as_made(wanted: Any, found: Any) -> bool:
    """Whether the pod template of a Job that has our name is the one that was asked for: nothing changed or added.

    `wanted` and `found` are documents of Jobs. The id and the times of the server do not count.
    """
    try:
        ours, theirs = wanted["spec"]["template"]["spec"], found["spec"]["template"]["spec"]
        controls = ("completions", "parallelism", "backoffLimit", "podReplacementPolicy")
        same = all(found["spec"].get(name) == wanted["spec"][name] for name in controls)
        labels = found["metadata"].get("labels") or {}
        ours_too = labels.get(LABEL_GUESTS_OF) == wanted["metadata"]["labels"][LABEL_GUESTS_OF]
    except (KeyError, TypeError, AttributeError):
        return False
    return same and ours_too and _holds(ours, theirs)


def _holds(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, Mapping):
        if not isinstance(theirs, Mapping):
            return False
        added = set(theirs) - set(ours) - _OF_THE_SERVER
        return not added and all(name in theirs and _holds(value, theirs[name]) for name, value in ours.items())
    if isinstance(ours, list):
        return isinstance(theirs, list) and len(ours) == len(theirs) and all(map(_holds, ours, theirs))
    return bool(ours == theirs)
