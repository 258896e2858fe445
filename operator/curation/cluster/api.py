"""Reads, creations and deletions, on plain JSON documents. Patches are the `writer`'s."""

import builtins
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Final

from curation.cluster.answers import (
    Created,
    Creation,
    Document,
    Exists,
    Failure,
    Refused,
    Throttled,
    Unknown,
    Unreachable,
    no_room,
)
from curation.cluster.cache import revision
from curation.cluster.connection import Connection
from curation.cluster.paging import pages, whole_list
from curation.cluster.resources import CONFIG_MAPS, NAMESPACES, SECRETS, ResourceKind
from curation.cluster.writer import FIELD_MANAGER

METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
ONE_METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class ClusterAPI:
    """Asks the API server. Reads raise `APIError` (it said no) or `Unreachable` (it said nothing)."""

    def __init__(self, connection: Connection, *, field_manager: str = FIELD_MANAGER) -> None:
        self._connection = connection
        self._field_manager = field_manager

    async def get(
        self, kind: ResourceKind, namespace: str | None, name: str, *, urgent: bool = False
    ) -> Document | None:
        """The object as it is now (a quorum read, past the server's watch cache); None if there is none."""
        answer = await self._connection.send("GET", kind.path(namespace, name), urgent=urgent)
        if not isinstance(answer, Failure):
            return answer
        if answer.says_absent(kind, name):
            return None
        raise answer.error()

    async def list(
        self,
        kind: ResourceKind,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> list[Document]:
        """All objects, of one namespace or of all. Items of built-in kinds come without apiVersion and kind."""
        query = {"labelSelector": label_selector, "fieldSelector": field_selector}
        chosen = {key: value for key, value in query.items() if value}
        found = builtins.list[Document]()
        async for page in whole_list(self._connection, kind, namespace, query=chosen):
            if page.begins:
                found.clear()
            found += page.items
        return found

    async def each(self, kind: ResourceKind, namespace: str | None = None) -> AsyncIterator[Document]:
        """The objects one by one, of one namespace or of all, with one page of them in memory at a time.

        One may come twice: a list that has outlived the server's history is begun again.
        """
        async for page in whole_list(self._connection, kind, namespace):
            for item in page.items:
                yield item

    async def revision(self, kind: ResourceKind, namespace: str | None = None) -> int:
        """The resourceVersion that the objects of this kind are at now."""
        answer = await self._connection.send("GET", kind.path(namespace), query={"limit": "1"}, accept=METADATA_ONLY)
        if isinstance(answer, Failure):
            raise answer.error()
        return revision(answer["metadata"]["resourceVersion"])

    async def list_metadata(self, kind: ResourceKind, namespace: str | None = None) -> AsyncIterator[Document]:
        """The metadata of all objects (PartialObjectMetadata), page by page.

        Not always one snapshot: a list that outlives the server's history goes on from the present.
        """
        async for page in pages(self._connection, kind, namespace, accept=METADATA_ONLY):
            for item in page.items:
                yield item

    async def create(
        self, kind: ResourceKind, namespace: str | None, body: Document, *, urgent: bool = False
    ) -> Creation:
        """Create an object, once. Raises nothing: the answer says what happened."""
        return await self._create(kind, namespace, body, urgent=urgent)

    async def try_to_create(
        self, kind: ResourceKind, namespace: str | None, body: Document
    ) -> tuple[Creation, tuple[str, ...]]:
        """What the server would answer (a dry run: nothing is stored), and what it warns of, as it was sent."""
        warnings: builtins.list[str] = []
        answer = await self._create(kind, namespace, body, more={"dryRun": "All"}, warnings=warnings)
        return answer, tuple(warnings)

    async def _create(
        self,
        kind: ResourceKind,
        namespace: str | None,
        body: Document,
        *,
        urgent: bool = False,
        more: Mapping[str, str] = MappingProxyType({}),
        warnings: builtins.list[str] | None = None,
    ) -> Creation:
        query = {"fieldManager": self._field_manager, **more}
        try:
            answer = await self._connection.send(
                "POST", kind.path(namespace), query=query, body=body, urgent=urgent, warnings=warnings
            )
        except Unreachable as error:
            return Unknown(str(error))
        if not isinstance(answer, Failure):
            return Created(answer)
        match answer.code:
            case 409 if answer.reason == "AlreadyExists":
                return Exists()
            case 429:
                return Throttled(answer.wait)
            case code if no_room(answer.message):
                return Refused(code, answer.reason, answer.message)
            case code if code >= 500 or code == 408:
                return Unknown(str(answer.error()))
            case code:
                return Refused(code, answer.reason, answer.message)

    async def delete(
        self, kind: ResourceKind, namespace: str | None, name: str, *, uid: str, resource_version: str | None
    ) -> bool:
        """Delete exactly that object, at that version unless it is None; what it owns is collected behind it.

        True: the server took the deletion (finalizers may delay it). False: it is gone, or no longer that object at
        that version. Raises `APIError` and `Unreachable`.
        """
        preconditions = {"uid": uid}
        if resource_version is not None:
            preconditions["resourceVersion"] = resource_version
        body: Document = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": preconditions,
            "propagationPolicy": "Background",
        }
        answer = await self._connection.send("DELETE", kind.path(namespace, name), body=body)
        if not isinstance(answer, Failure):
            return True
        if answer.code == 409 or answer.says_absent(kind, name):
            return False
        raise answer.error()

    async def read_config_map(self, namespace: str, name: str) -> Document | None:
        """A ConfigMap, or None."""
        return await self.get(CONFIG_MAPS, namespace, name)

    async def config_map_metadata(self, namespace: str, name: str) -> Document | None:
        """The metadata of a ConfigMap, or None: a few hundred bytes from the server's watch cache, not from etcd.

        It may be that of a version which was replaced a moment ago.
        """
        answer = await self._connection.send(
            "GET", CONFIG_MAPS.path(namespace, name), query={"resourceVersion": "0"}, accept=ONE_METADATA
        )
        if not isinstance(answer, Failure):
            metadata: Document = answer["metadata"]
            return metadata
        if answer.says_absent(CONFIG_MAPS, name):
            return None
        raise answer.error()

    async def read_secret(self, namespace: str, name: str) -> Document | None:
        """A Secret, or None. Its values are base64."""
        return await self.get(SECRETS, namespace, name)

    async def namespace_terminating(self, namespace: str) -> bool:
        """Whether the namespace is going or gone: nothing can be created in it any more."""
        found = await self.get(NAMESPACES, None, namespace)
        return found is None or "deletionTimestamp" in found["metadata"]
