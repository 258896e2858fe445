"""What ends a pod: as a person does it, as a drained node does, and as nobody wants it."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.kubectl import get, kubectl


def stop(pod: str, namespace: str) -> None:
    """SIGTERM, and time to stop in good order."""
    kubectl("delete", "pod", pod, "-n", namespace, "--wait=false")


def force(pod: str, namespace: str) -> None:
    """The pod is gone from the API server at once, whatever its processes do."""
    kubectl("delete", "pod", pod, "-n", namespace, "--grace-period=0", "--force")


def evict(pod: str, namespace: str) -> None:
    """What draining its node does. Raises KubectlError where a disruption budget refuses it."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def kill(pod: str, namespace: str) -> None:
    """SIGKILL of its process, where that is a process of this machine; the kubelet may start another in that pod."""
    uid = get("pod", pod, "-n", namespace)["metadata"]["uid"]
    found = [process for process in map(int, _processes()) if _is_ours(process, uid)]
    if not found:
        pytest.skip("the node's processes are not processes of this machine")
    os.kill(min(found), signal.SIGKILL)


def _processes() -> list[str]:
    return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _is_ours(process: int, pod_uid: str) -> bool:
    """Whether it is a program of ours in this pod, by its cgroup (with the systemd driver `-` is `_` there)."""
    try:
        cgroups = Path(f"/proc/{process}/cgroup").read_text(encoding="utf-8")
        command = Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
    return (pod_uid in cgroups or pod_uid.replace("-", "_") in cgroups) and b"curation-operator" in command
