"""The conditioned writer: every update of the operator passes here, and none leaves without a resourceVersion.

A merge patch or a PUT with ``metadata.resourceVersion`` in it is answered 409 when the object is no longer at that
version, on the status subresource too. A JSON patch with a failed ``test`` answers a bare 422 that looks like an
invalid patch; ``metadata.uid`` and ``metadata.generation`` in a status patch are ignored silently, but a uid in a PUT
is a precondition. All measured on v1.37.2.

There is no retry in here, and a body is never sent twice: after anything but `Written`, the caller reads the object
again and decides again.
"""

import logging
from typing import Final, Literal

from cachetools import FIFOCache

from curation.cluster.answers import (
    Conflict,
    Document,
    Failure,
    Gone,
    Refused,
    Throttled,
    Unknown,
    Unreachable,
    WriteAnswer,
    Written,
    no_room,
)
from curation.cluster.cache import Stored
from curation.cluster.connection import JSON, Connection
from curation.cluster.resources import ResourceKind
from curation.cluster.status_body import status_body

FIELD_MANAGER: Final = "curation-operator"
MERGE_PATCH: Final = "application/merge-patch+json"
PATCHES_SECONDS: Final = 900.0
"""How long statuses of a kind are patched after the operator was found to lack the right to put them."""
MAX_REFUSED: Final = 10_000

logger = logging.getLogger(__name__)


class Writer:
    """Updates objects, each at the version that the update was computed from."""

    def __init__(self, connection: Connection, *, field_manager: str = FIELD_MANAGER) -> None:
        self._connection = connection
        self._field_manager = field_manager
        self._puts_from: dict[ResourceKind, float] = {}
        """When to try the next PUT of a kind's status, by the monotonic clock; of those that RBAC has refused."""
        self._refused: FIFOCache[str, None] = FIFOCache(MAX_REFUSED)
        """The uids of objects whose PUT was refused otherwise."""

    async def patch(
        self,
        kind: ResourceKind,
        namespace: str | None,
        name: str,
        *,
        resource_version: str,
        body: Document,
        subresource: Literal["status"] | None,
        urgent: bool = False,
    ) -> WriteAnswer:
        """Send a merge patch once, under the condition of that resourceVersion, which is put into it.

        Never raises for what the server or the network does; raises ValueError for a write that is not conditioned.
        """
        path = kind.path(namespace, name, subresource)
        return await self._send("PATCH", path, condition(body, resource_version), kind, name, urgent)

    async def write_status(self, kind: ResourceKind, stored: Stored, patch: Document) -> WriteAnswer:
        """Change the status of that version by a merge patch of it, in the form that costs the server least.

        That is a PUT of the whole status. It is the patch where the status is not known whole, where the operator's
        role is of a release that did not put, and of an object whose PUT was refused before: a webhook that changes
        statuses is shown no spec by a PUT, and may fail of that. Under the same condition, and once: a PUT that RBAC
        has refused was not read, and only that one is followed by a patch.
        """
        version = str(stored.resource_version)
        body = status_body(kind, stored, patch) if self._may_put(kind, stored) else None
        if body is not None:
            path = kind.path(stored.namespace or None, stored.name, "status")
            answer = await self._send("PUT", path, condition(body, version), kind, stored.name)
            if not _lacks_update(answer, kind):
                if isinstance(answer, Refused):
                    self._refused[stored.uid] = None
                return answer
            self._put_again_after(kind)
        return await self.patch(
            kind,
            stored.namespace or None,
            stored.name,
            resource_version=version,
            body={"status": patch},
            subresource="status",
        )

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._refused.pop(uid, None)

    def _may_put(self, kind: ResourceKind, stored: Stored) -> bool:
        granted = self._connection.clock.monotonic() >= self._puts_from.get(kind, 0.0)
        return granted and stored.uid not in self._refused

    def _put_again_after(self, kind: ResourceKind) -> None:
        if kind not in self._puts_from:
            logger.warning(
                "The operator's role does not grant the verb update on %s/status, so statuses are written by patches, "
                "which cost the API server more; apply the role of this release",
                kind.plural,
            )
        self._puts_from[kind] = self._connection.clock.monotonic() + PATCHES_SECONDS

    async def _send(
        self, method: str, path: str, body: Document, kind: ResourceKind, name: str, urgent: bool = False
    ) -> WriteAnswer:
        try:
            answer = await self._connection.send(
                method,
                path,
                query={"fieldManager": self._field_manager},
                body=body,
                content_type=MERGE_PATCH if method == "PATCH" else JSON,
                urgent=urgent,
            )
        except Unreachable as error:
            return Unknown(str(error))
        if not isinstance(answer, Failure):
            return Written(answer)
        return _answer_to(answer, kind, name)


def _lacks_update(answer: WriteAnswer, kind: ResourceKind) -> bool:
    """Whether RBAC (or another authorizer) says so; an admission policy's refusal, a 403 too, holds for any form."""
    said = f'cannot update resource "{kind.plural}/status"'
    return isinstance(answer, Refused) and answer.code == 403 and said in answer.message


def condition(body: Document, resource_version: str) -> Document:
    """The patch, under the condition of this resourceVersion. Raises ValueError if there is none, or two."""
    if not resource_version:
        raise ValueError("a patch needs the resourceVersion that it was computed from")
    metadata = body.get("metadata") or {}
    stated = metadata.get("resourceVersion", resource_version)
    if stated != resource_version:
        raise ValueError(f"the patch says resourceVersion {stated!r}, the call {resource_version!r}")
    return {**body, "metadata": {**metadata, "resourceVersion": resource_version}}


def _answer_to(failure: Failure, kind: ResourceKind, name: str) -> WriteAnswer:
    match failure.code:
        case 409:
            return Conflict()
        case 404 if failure.says_absent(kind, name):
            return Gone()
        case 429:
            return Throttled(failure.wait)
        case code if no_room(failure.message):
            return Refused(code, failure.reason, failure.message)
        case code if code in (404, 408) or code >= 500 or code < 400:
            return Unknown(str(failure.error()))
        case code:
            return Refused(code, failure.reason, failure.message)
