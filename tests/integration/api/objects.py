"""Minimal good objects of the five kinds, for the tests of the API to spoil, and short ways to the server."""

import copy
import json
import time
from collections.abc import Callable
from typing import Any

from testing.controlplane.connection import Connection

Document = dict[str, Any]
API_VERSION = "curation.dev/v1alpha1"
DIGEST = "sha256:" + "0" * 64

REQUEST: Document = {
    "module": "build-session-message",
    "moduleDigest": DIGEST,
    "trigger": "Submit",
    "method": "POST",
    "scheme": "https",
    "host": "sessions.example.com",
    "port": 443,
    "path": "/v1/sessions",
    "query": "",
}


def _object(kind: str, name: str, spec: Document) -> Document:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": copy.deepcopy(spec)}


def job(name: str = "job", **spec: Any) -> Document:
    """A CurationJob."""
    return _object("CurationJob", name, {"moduleRef": {"name": "module"}, **spec})


def module(name: str = "module", **spec: Any) -> Document:
    """A CurationModule, of a builtin source unless another is given."""
    return _object("CurationModule", name, {"source": {"builtin": "build-session-message-v1"}, **spec})


def policy(name: str = "policy", **spec: Any) -> Document:
    """A CurationPolicy."""
    return _object("CurationPolicy", name, {"cedar": "permit (principal, action, resource);", **spec})


def approval(name: str = "approval", **spec: Any) -> Document:
    """A CurationApproval."""
    return _object("CurationApproval", name, {"request": REQUEST, "requestDigest": "0" * 64, **spec})


def text(document: Document) -> str:
    """The document as kubectl reads it on its standard input (JSON is YAML)."""
    return json.dumps(document)


def path(namespace: str, plural: str, name: str = "") -> str:
    """The address of an object, or of the objects of a namespace."""
    return f"/apis/{API_VERSION}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


def create(connection: Connection, namespace: str, plural: str, document: Document) -> Document:
    """Create it as admin; the created object."""
    status, answer = connection.request("POST", path(namespace, plural), document)
    assert status == 201, answer
    return dict(answer)


def read(connection: Connection, namespace: str, plural: str, name: str) -> Document:
    """The object as the server has it."""
    status, answer = connection.request("GET", path(namespace, plural, name))
    assert status == 200, answer
    return dict(answer)


def write_status(connection: Connection, namespace: str, plural: str, name: str, status: Document) -> Document:
    """Put this status, as the operator might have left it."""
    current = read(connection, namespace, plural, name)
    code, answer = connection.request(
        "PUT", path(namespace, plural, name) + "/status", {**current, "status": {"observedGeneration": 1, **status}}
    )
    assert code == 200, answer
    return dict(answer)


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for what the API server comes to know a moment later: bindings, aggregated roles, admission policies."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain"
        time.sleep(0.05)
