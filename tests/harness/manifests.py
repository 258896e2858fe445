"""The objects that tests apply."""

import base64
import hashlib
from typing import Any

Document = dict[str, Any]

MODULE = "build-session-message"
BUILTIN = "build-session-message-v1"

PERMIT_LOCAL = 'permit(principal, action == Action::"http_call", resource == HttpEndpoint::"127.0.0.1");'
"""Lets modules reach the session service of the test."""

WALL_SECONDS = 600
"""Longer than a test holds an answer on a busy machine; where an operator is killed, use less (see `module`)."""


def _object(kind: str, name: str, spec: Document, **metadata: object) -> Document:
    return {
        "apiVersion": "curation.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }


def job(name: str, api_url: str, *, labels: dict[str, str] | None = None, **spec: Any) -> Document:
    """A job whose module calls this session service; `spec` holds further fields, or other values of these."""
    full: Document = {
        "moduleRef": {"name": MODULE},
        "input": {"message": f"work of {name}"},
        "config": {"api_url": api_url},
        # A run of the tests ends by what the test does: never by its own observation or retry.
        **({} if "observe" in spec else {"observeIntervalSeconds": 3600}),
        **spec,
    }
    # Empty labels would be dropped by the server, and so be a change in each apply.
    return _object("CurationJob", name, full, **({"labels": labels} if labels else {}))


def module(name: str = MODULE, *, wall_seconds: int = WALL_SECONDS, **limits: object) -> Document:
    """The shipped module. The Cancel of a run whose answers nobody saw is repeated after its wall limit."""
    return _object(
        "CurationModule", name, {"source": {"builtin": BUILTIN}, "limits": {"wallSeconds": wall_seconds, **limits}}
    )


def wasm_module(name: str, component: bytes, *, wall_seconds: int = WALL_SECONDS, **limits: object) -> list[Document]:
    """A module of these bytes, and the ConfigMap that holds them."""
    data = {"module.wasm": base64.b64encode(component).decode()}
    source = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-wasm"}, "binaryData": data}
    spec = {
        "source": {"configMap": {"name": f"{name}-wasm", "key": "module.wasm"}},
        "digest": f"sha256:{hashlib.sha256(component).hexdigest()}",
        "limits": {"wallSeconds": wall_seconds, **limits},
    }
    return [source, _object("CurationModule", name, spec)]


def policy(cedar: str = PERMIT_LOCAL, name: str = "allow") -> Document:
    """A CurationPolicy."""
    return _object("CurationPolicy", name, {"cedar": cedar})
