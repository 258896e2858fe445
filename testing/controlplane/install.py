"""Installs what the operator ships, the CRDs and the manifests, into a control plane, once.

Called by the pytest plugin and the demo. What is not in the repository (yet) is left out.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from testing.controlplane.binaries import OLDEST_OF_DEFAULT_OVERLAY, minor_of
from testing.controlplane.connection import Connection, service_account
from testing.controlplane.errors import ControlPlaneError

ROOT = Path(__file__).parents[2]

OPERATOR_USER, OPERATOR_GROUPS = service_account("curation-system", "curation-operator")
"""Who the operator is in a cluster, and so who it must be in tests: the shipped roles are bound to this account."""

MANIFESTS = Path("manifests/overlays/default")
"""What a user installs: the operator for the whole cluster, its roles and its admission policies."""

_WITHOUT_MUTATION = Path("manifests/overlays/default-validating")

MARKER = "installed"
"""A file in the control plane's folder; a start removes it, since a kept folder may meet newer CRDs."""

_JOBS = "/apis/curation.dev/v1alpha1/namespaces/default/curationjobs"
_EFFECTIVE_SECONDS = 60.0
_POLL_SECONDS = 0.05


def overlay_for(version: str) -> Path:
    """The overlay for a control plane of this Kubernetes version, as it comes (docs/install.md)."""
    return MANIFESTS if minor_of(version) >= OLDEST_OF_DEFAULT_OVERLAY else _WITHOUT_MUTATION


def install(connection: Connection, root: Path = ROOT, overlay: Path = MANIFESTS) -> None:
    """Apply `crds/` and an overlay of the repository at `root`, and wait until both have effect.

    Once per control plane, whoever calls it and how often. Raises KubectlError when the server refuses something, and
    ControlPlaneError when it accepts it and it has no effect.
    """
    marker = connection.folder / MARKER
    with (connection.folder / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if marker.exists():
            return
        applied = _apply(connection, root, overlay)
        crds = [name for name in applied if name.startswith("customresourcedefinition.")]
        if crds:
            connection.kubectl("wait", "--for=condition=Established", "--timeout=60s", *crds)
            _until("the new resources are served", lambda: all(_served(connection, crd) for crd in crds))
        if crds and any(name.startswith("mutatingadmissionpolicy.") for name in applied):
            _until("the admission policies mark new jobs", lambda: _marked(connection))
        marker.touch()


def _apply(connection: Connection, root: Path, overlay: Path) -> list[str]:
    # Two steps: the manifests may hold objects of kinds that the CRDs define.
    options = ("apply", "--server-side", "--force-conflicts", "--output=name")
    applied = []
    if any((root / "crds").glob("*.yaml")):
        applied += connection.kubectl(*options, "-f", str(root / "crds")).stdout.split()
    if (root / overlay).is_dir():
        rendered = yaml.safe_load_all(connection.kubectl("kustomize", str(root / overlay)).stdout)
        # Nobody could answer the webhook here: operators of tests are processes of this machine, behind no Service.
        kept = [each for each in rendered if each and each["kind"] != "ValidatingWebhookConfiguration"]
        applied += connection.kubectl(*options, "-f", "-", input=yaml.safe_dump_all(kept)).stdout.split()
    return applied


def _served(connection: Connection, crd: str) -> bool:
    """Established means that the name is taken; the handler follows a moment later."""
    resource, _, group = crd.partition("/")[2].partition(".")
    status, found = connection.request("GET", f"/apis/{group}")
    if status != 200:
        return False
    version = found["preferredVersion"]["groupVersion"]
    return connection.request("GET", f"/apis/{version}/{resource}?limit=1")[0] == 200


def _marked(connection: Connection) -> bool:
    """Admission policies take effect some time after they were accepted, and nothing in their status says when."""
    job = {
        "apiVersion": "curation.dev/v1alpha1",
        "kind": "CurationJob",
        "metadata": {"name": "is-it-marked", "namespace": "default"},
        "spec": {"moduleRef": {"name": "none"}},
    }
    status, made = connection.request("POST", f"{_JOBS}?dryRun=All", job)
    if status >= 400 and status != 429 and status < 500:
        raise ControlPlaneError(f"a minimal CurationJob is refused with {status}: {made}")
    return status == 201 and "curation.dev/created-by" in made["metadata"].get("annotations", {})


def _until(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _EFFECTIVE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise ControlPlaneError(f"waited {_EFFECTIVE_SECONDS:.0f} s in vain until {what}")
        time.sleep(_POLL_SECONDS)
