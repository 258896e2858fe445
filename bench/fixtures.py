"""The objects of the benchmarks."""

import base64
from typing import Any

from bench.client import JOBS_PATH, Client
from curation.wasm.module_bytes import digest_of
from tests.guests.wat import Script

GROUP = "/apis/curation.dev/v1alpha1/namespaces"
API_VERSION = "curation.dev/v1alpha1"
WITH_SESSION = "build-session-message"
WITHOUT_SESSION = "answer-at-once"
POLICY = 'permit(principal, action == Action::"http_call", resource == HttpEndpoint::"127.0.0.1");'


async def prepare(client: Client, namespace: str) -> None:
    """A namespace with a policy and two modules: the shipped one, and one that completes without a session."""
    await client.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    shipped = {"source": {"builtin": "build-session-message-v1"}}
    await client.call("POST", f"{GROUP}/{namespace}/curationmodules", _object("CurationModule", WITH_SESSION, shipped))
    answer = Script().ok({"action": "Completed", "output": {"answer": "42"}})
    await add_module(client, namespace, WITHOUT_SESSION, answer)


async def add_module(client: Client, namespace: str, name: str, wasm: bytes, **limits: object) -> None:
    """A module of these bytes."""
    config_map = {"metadata": {"name": name}, "binaryData": {"module.wasm": base64.b64encode(wasm).decode()}}
    await client.call("POST", f"/api/v1/namespaces/{namespace}/configmaps", config_map)
    source = {"configMap": {"name": name, "key": "module.wasm"}}
    spec = {"source": source, "digest": digest_of(wasm), "limits": limits}
    await client.call("POST", f"{GROUP}/{namespace}/curationmodules", _object("CurationModule", name, spec))


async def allow(client: Client, namespace: str) -> None:
    """Let the modules of a namespace reach the session service."""
    policy = _object("CurationPolicy", "allow", {"cedar": POLICY})
    await client.call("POST", f"{GROUP}/{namespace}/curationpolicies", policy)


def job(name: str, module: str, sessions_url: str, **spec: Any) -> dict[str, Any]:
    """A job as people write it."""
    given = {
        "moduleRef": {"name": module},
        "config": {"api_url": sessions_url},
        "input": {"message": f"Look into {name} and say what you find.", "title": name},
    }
    return _object("CurationJob", name, {**given, **spec})


async def create(client: Client, namespace: str, jobs: list[dict[str, Any]]) -> None:
    """Create jobs as fast as the client can."""
    path = JOBS_PATH.format(namespace=namespace)

    async def one(document: dict[str, Any]) -> None:
        await client.call("POST", path, document)

    await client.spread(one, jobs)


def _object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
