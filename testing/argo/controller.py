"""How the controller of Argo Workflows runs as a process of a local control plane, as its manifests would run it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from testing.argo.build import CRDS, PROGRAM
from testing.controlplane.connection import Connection
from testing.controlplane.errors import ControlPlaneError
from testing.controlplane.ports import free_port

NAMESPACE: Final = "argo"
STARTED: Final = "Current Worker Numbers"
"""What its log says once it leads."""
_CONFIG: Final = "workflow-controller-configmap"
_API: Final = "/api/v1/namespaces"


def install(connection: Connection, programs: Path) -> None:
    """The CRDs, the namespace and the configuration: all defaults, but for a port of the metrics that is free."""
    crds = sorted((programs / CRDS).glob("*.yaml"))
    # Server-side: the full CRDs are too large for an annotation.
    connection.kubectl("apply", "--server-side", "-f", str(programs / CRDS))
    names = [f"crd/{path.stem.split('_')[1]}.{path.stem.split('_')[0]}" for path in crds]
    connection.kubectl("wait", "--for=condition=Established", "--timeout=120s", *names)
    settings = {"metadata": {"name": _CONFIG}, "data": {"metricsConfig": f"port: {free_port()}\n"}}
    for path, body in ((_API, {"metadata": {"name": NAMESPACE}}), (f"{_API}/{NAMESPACE}/configmaps", settings)):
        status, said = connection.request("POST", path, body)
        if status != 201:
            raise ControlPlaneError(f"POST {path}: {status} {said}")


def environment(requeue: str = "") -> list[str]:
    """NAME=VALUE of the process: one replica, which looks at a workflow again after `requeue` (empty: 10 s)."""
    return ["LEADER_ELECTION_DISABLE=true", *([f"DEFAULT_REQUEUE_TIME={requeue}"] if requeue else [])]


def command(connection: Connection, programs: Path) -> list[str]:
    """The command line. The limit of requests is that of our kube-controller-manager; the default is 20 a second."""
    return [
        str(programs / PROGRAM),
        f"--kubeconfig={connection.kubeconfig()}",
        f"--namespace={NAMESPACE}",
        "--executor-image=example.org/argoexec:1",
        "--qps=500",
        "--burst=1000",
    ]
