"""The CRDs of a release that is newer than the operator under test: looser, with values that it does not know."""

import time
from typing import Any

from testing.controlplane.server import ControlPlane

_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SECONDS = 60.0
_POLL_SECONDS = 0.1


def loosen(control_plane: ControlPlane, plural: str) -> None:
    """Serve the kind with a schema that admits what this release does not: any value of each type, any new field."""
    path = f"{_CRDS}/{plural}.curation.dev"
    code, crd = control_plane.request("GET", path)
    assert code == 200, crd
    root = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    for part in ("spec", "status"):
        root[part] = _loose(root[part])
    code, answer = control_plane.request("PUT", path, crd)
    assert code == 200, answer
    until = time.monotonic() + SECONDS
    # The server sets its storage up anew for a while, and answers 429.
    while control_plane.request("GET", f"/apis/curation.dev/v1alpha1/{plural}")[0] != 200:
        assert time.monotonic() < until, f"{plural} are not served anew"
        time.sleep(_POLL_SECONDS)


def _loose(schema: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in schema.items() if key in ("type", "description", "items", "default")}
    if "properties" in schema:
        kept["properties"] = {name: _loose(child) for name, child in schema["properties"].items()}
        kept["x-kubernetes-preserve-unknown-fields"] = True
    elif schema.get("x-kubernetes-preserve-unknown-fields"):
        kept["x-kubernetes-preserve-unknown-fields"] = True
    elif "additionalProperties" in schema:
        kept["additionalProperties"] = _loose(schema["additionalProperties"])
    if "items" in schema:
        kept["items"] = _loose(schema["items"])
    return kept
