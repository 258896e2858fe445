"""The API server as the test sees it: as admin, in one namespace, without blocking the test's event loop."""

import json
from collections.abc import AsyncIterator
from typing import Any

from testing.api_client import ApiClient
from testing.controlplane.connection import Connection

Document = dict[str, Any]

GROUP = "/apis/curation.dev/v1alpha1"
_PREFIXES = {
    "curationjobs": GROUP,
    "curationmodules": GROUP,
    "curationpolicies": GROUP,
    "curationapprovals": GROUP,
    "configmaps": "/api/v1",
    "secrets": "/api/v1",
    "events": "/apis/events.k8s.io/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "roles": "/apis/rbac.authorization.k8s.io/v1",
    "rolebindings": "/apis/rbac.authorization.k8s.io/v1",
}
_PLURALS = {
    "CurationJob": "curationjobs",
    "CurationModule": "curationmodules",
    "CurationPolicy": "curationpolicies",
    "CurationApproval": "curationapprovals",
    "ConfigMap": "configmaps",
    "Secret": "secrets",
    "Lease": "leases",
    "Role": "roles",
    "RoleBinding": "rolebindings",
}


class RefusedError(AssertionError):
    """The API server refused what a test asked for."""

    def __init__(self, what: str, code: int, message: str) -> None:
        super().__init__(f"{what}: {code} {message}")
        self.code = code


class AdminClient(ApiClient):
    """Admin's access to the objects of one namespace; an async context manager."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        super().__init__(connection.kubeconfig())
        self.connection = connection
        self.namespace = namespace

    def path(self, plural: str, name: str = "", subresource: str = "") -> str:
        """The URL path of an object, or of all of its kind in the namespace."""
        parts = (f"{_PREFIXES[plural]}/namespaces/{self.namespace}/{plural}", name, subresource)
        return "/".join(part for part in parts if part)

    async def request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """One request; HTTP status and decoded answer. A PATCH is a merge patch."""
        async with self.send(method, path, body) as answer:
            return answer.status, await answer.json(content_type=None)

    async def get(self, plural: str, name: str) -> Document:
        """An object that is there."""
        return await self._ask("GET", self.path(plural, name))

    async def find(self, plural: str, name: str) -> Document | None:
        """An object, or None."""
        code, answer = await self.request("GET", self.path(plural, name))
        return answer if code == 200 else None

    async def list(self, plural: str) -> list[Document]:
        """All objects of the namespace."""
        found: list[Document] = (await self._ask("GET", self.path(plural)))["items"]
        return found

    async def create(self, document: Document) -> Document:
        """A new object, its plural and its namespace filled in."""
        return await self._ask("POST", self.path(_PLURALS[document["kind"]]), document)

    async def patch(self, plural: str, name: str, body: object, subresource: str = "") -> Document:
        """Merge into an object."""
        return await self._ask("PATCH", self.path(plural, name, subresource), body)

    async def delete(self, plural: str, name: str) -> None:
        """Begin to delete an object."""
        await self._ask("DELETE", self.path(plural, name))

    async def watch(self, plural: str, since: str) -> AsyncIterator[Document]:
        """Watch events of all objects after a resourceVersion, until the server ends the watch."""
        query = f"?watch=1&allowWatchBookmarks=true&resourceVersion={since}&timeoutSeconds=600"
        async with self.send("GET", self.path(plural) + query, seconds=None) as answer:
            answer.raise_for_status()
            try:
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield json.loads(line)
            finally:
                # Closing would wait for the server's TLS goodbye, longer than the test's event loop lives.
                if answer.connection is not None and answer.connection.transport is not None:
                    answer.connection.transport.abort()

    async def _ask(self, method: str, path: str, body: object = None) -> Document:
        code, answer = await self.request(method, path, body)
        if code >= 300:
            raise RefusedError(f"{method} {path}", code, answer.get("message", "") if answer else "")
        result: Document = answer
        return result
