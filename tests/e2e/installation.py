"""Installs the operator as docs/install.md says, by an overlay with the image, and takes it away as that page says."""

import json
import os
from functools import cache
from pathlib import Path

from hack.e2e.target import ROOT
from testing.controlplane.errors import KubectlError
from tests.e2e import service
from tests.e2e.kubectl import Document, get, items, kubectl, until

SYSTEM = "curation-system"
DEPLOYMENT = "deployment/curation-operator"
OVERLAY = ROOT / "manifests" / "overlays" / "default"
GUEST_PODS = ROOT / "manifests" / "components" / "guest-pods"
GUESTS = "curation-guests"
OURS = "curation.dev/e2e"
"""A label of all that these tests install: what has it may be taken away by the next run, if this one is killed."""


class OccupiedError(Exception):
    """The cluster has an operator that is not from these tests."""


def install(folder: Path, image: str, allow: str) -> None:
    """Apply an overlay with this image, written to `folder`, and wait for both replicas; modules may reach `allow`.

    What an earlier run has left is replaced, and its jobs are deleted. Raises OccupiedError.
    """
    found = [crd["metadata"] for crd in items("crd") if crd["spec"]["group"] == "curation.dev"]
    if not all(OURS in metadata.get("labels", {}) for metadata in found):
        raise OccupiedError(
            "this cluster has the CRDs of curation.dev already, and not from these tests, which remove the CRDs and "
            "with them all jobs: give a cluster without them"
        )
    argument = {"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": f"--allow-cidr={allow}"}
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        # Kustomize takes no absolute paths.
        "resources": [os.path.relpath(OVERLAY, folder.resolve())],
        # Guests find the door by its name.
        "components": [os.path.relpath(GUEST_PODS, folder.resolve())] if has_dns() else [],
        "images": [{"name": "curation-operator", **_image(image)}],
        "labels": [{"pairs": {OURS: "true"}}],
        "patches": [{"target": {"kind": "Deployment", "name": "curation-operator"}, "patch": json.dumps([argument])}],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization), encoding="utf-8")
    kubectl("apply", "--server-side", "-k", str(folder))
    if found:
        # The image may be another one under the same name.
        kubectl("rollout", "restart", DEPLOYMENT, "-n", SYSTEM)
    kubectl("rollout", "status", DEPLOYMENT, "-n", SYSTEM, "--timeout=240s")
    # The leader makes the webhook's certificate, and the API server learns of it: until then no policy is accepted.
    until_policies_are_accepted()
    if found:
        kubectl("delete", "curationjobs", "--all", "--all-namespaces")
        kubectl("delete", "namespaces", "-l", f"{OURS}=jobs")


def until_policies_are_accepted() -> None:
    """Wait for the webhook, which is asked about a policy that is not made."""
    cedar = "forbid (principal, action, resource);"
    probe = {
        "apiVersion": "curation.dev/v1alpha1",
        "kind": "CurationPolicy",
        "metadata": {"name": "probe", "namespace": "default"},
        "spec": {"cedar": cedar},
    }

    def accepted() -> bool:
        try:
            kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(probe))
        except KubectlError:
            return False
        return True

    until(accepted, "the webhook answers", logs)


@cache
def has_dns() -> bool:
    """Whether names are resolved in pods, as that of the session service finds out: a node kit may have no DNS."""
    code = "import socket; socket.getaddrinfo('kubernetes.default.svc', 443)"
    try:
        kubectl("exec", "sessions", "-n", service.NAMESPACE, "--", "python", "-c", code)
    except KubectlError:
        return False
    return True


def uninstall(folder: Path) -> None:
    """What docs/install.md says under Uninstall, while the operator runs; `folder` has the overlay."""
    kubectl("delete", "curationjobs", "--all", "--all-namespaces")
    kubectl("delete", "curationmodules,curationpolicies,curationapprovals", "--all", "--all-namespaces")
    kubectl("delete", "clustercurationpolicies", "--all")
    kubectl("delete", "-k", str(folder))


def pods() -> list[Document]:
    """The operator's pods that are not being deleted."""
    found = items("pods", "-n", SYSTEM, "-l", "app.kubernetes.io/component=operator")
    return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]


def ready_pods() -> list[str]:
    """The names of those that are Ready."""
    return [
        pod["metadata"]["name"]
        for pod in pods()
        if any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ()))
    ]


def holder() -> str:
    """Who holds the Lease: `<pod>/<random for each process>`; empty when nobody does."""
    spec: Document = get("lease", "curation-operator", "-n", SYSTEM)["spec"]
    identity: str = spec.get("holderIdentity", "")
    return identity


def leads(pod: str) -> bool:
    """Whether the pod says so itself, in its metrics."""
    return metric(pod, "curation_leader") == 1


def metric(pod: str, name: str) -> float:
    """The value of a metric without labels, as this pod says it."""
    metrics = kubectl("get", "--raw", f"/api/v1/namespaces/{SYSTEM}/pods/{pod}:8080/proxy/metrics")
    (value,) = [line.split()[1] for line in metrics.splitlines() if line.startswith(f"{name} ")]
    return float(value)


def logs() -> str:
    """The end of what each pod of the operator logged, for a person who reads a failed test."""
    return kubectl(
        "logs", "-n", SYSTEM, "-l", "app.kubernetes.io/component=operator", "--prefix", "--tail=40", "--ignore-errors"
    )


def _image(image: str) -> dict[str, str]:
    """As kustomize wants it."""
    name, _, digest = image.partition("@")
    if digest:
        return {"newName": name, "digest": digest}
    name, _, tag = image.rpartition(":")
    return {"newName": name, "newTag": tag}
