"""The session service as a pod of the cluster, and its client by way of the API server's proxy.

It runs in the operator's own image, which has all that it needs; its sources come in a ConfigMap.
"""

import base64
import json
from ipaddress import ip_address, ip_network
from typing import Any

from hack.e2e.target import ROOT
from tests.e2e.kubectl import Document, apply, get, kubectl

NAMESPACE = "curation-e2e"
_NAME = "sessions"
_PORT = 8080
_LABELS = {"app.kubernetes.io/name": _NAME}


def manifests(image: str) -> list[Document]:
    """Namespace, sources, pod and Service."""
    sources = sorted((ROOT / "testing" / "sessions").glob("*.py"))
    metadata = {"name": _NAME, "namespace": NAMESPACE, "labels": _LABELS}
    container = {
        "name": _NAME,
        "image": image,
        "command": ["python", "-m", "testing.sessions", "--host=$(POD_IP)", f"--port={_PORT}"],
        "workingDir": "/srv",
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": _PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "sources", "mountPath": "/srv/testing/sessions"}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "containers": [container],
        "volumes": [{"name": "sources", "configMap": {"name": _NAME}}],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
    }
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": restricted}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "binaryData": {file.name: base64.b64encode(file.read_bytes()).decode() for file in sources},
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": _LABELS, "ports": [{"port": _PORT, "targetPort": _PORT}]},
        },
    ]


class Sessions:
    """The running service. `address` is its cluster IP, `network` only that, `url` what modules call."""

    def __init__(self, address: str) -> None:
        ip = ip_address(address)
        self.address = address
        self.network = str(ip_network(address))
        self.url = f"http://{address}:{_PORT}" if ip.version == 4 else f"http://[{address}]:{_PORT}"

    def of_job(self, uid: str) -> list[Document]:
        """Every session that runs of this job ever made."""
        found: list[Document] = self._ask(f"/sessions?job={uid}")
        return found

    def live(self, uid: str) -> list[Document]:
        """The sessions of this job that live."""
        found: list[Document] = self._ask(f"/sessions?job={uid}&live=true")
        return found

    def complete(self, session: str, output: Document) -> None:
        """The agent of the session is done."""
        self._ask(f"/sessions/{session}/complete", {"output": output})

    def hold_answers(self, path: str, *, attempt: int) -> str:
        """From now on, do the work of these calls, and keep their answers back. Returns the rule's id."""
        rule = {"action": "hold", "when": "after", "method": "POST", "path": path, "attempt": attempt}
        made: str = self._ask("/control/rules", rule)["id"]
        return made

    def held(self, rule: str) -> int:
        """How many answers a rule keeps back now. The caller of a held answer may have gone away since."""
        count: int = self._ask(f"/control/rules/{rule}")["held"]
        return count

    def release(self, rule: str) -> None:
        """Give the answers that were kept back, and keep back no more."""
        self._ask(f"/control/rules/{rule}/release", {})

    def _ask(self, path: str, body: object = None) -> Any:
        raw = f"/api/v1/namespaces/{NAMESPACE}/services/http:{_NAME}:{_PORT}/proxy{path}"
        if body is None:
            return json.loads(kubectl("get", "--raw", raw))
        return json.loads(kubectl("create", "--raw", raw, "-f", "-", stdin=json.dumps(body)))


def start(image: str) -> Sessions:
    """Run the service, and wait until it is ready."""
    apply(*manifests(image))
    kubectl("wait", "--for=condition=Ready", f"pod/{_NAME}", "-n", NAMESPACE, "--timeout=180s")
    return Sessions(get("service", _NAME, "-n", NAMESPACE)["spec"]["clusterIP"])


def stop() -> None:
    """Take it away."""
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
