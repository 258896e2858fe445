"""The conditioned writer: every patch of the operator passes here, and none leaves without a resourceVersion.

A merge patch with ``metadata.resourceVersion`` in it is answered 409 when the object is no longer at that version,
on the status subresource too. A JSON patch with a failed ``test`` answers a bare 422, as an invalid patch
does; ``metadata.uid`` and ``metadata.generation`` in a status patch are ignored silently. All measured on v1.37.2.

There is no retry in here, and a body is never sent twice: after anything but `Written`, the caller reads the object
again and decides again.
"""

from typing import Final, Literal

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
from curation.cluster.connection import Connection
from curation.cluster.resources import ResourceKind

FIELD_MANAGER: Final = "curation-operator"
MERGE_PATCH: Final = "application/merge-patch+json"


class Writer:
    """Patches objects, each at the version that the patch was computed from."""

    def __init__(self, connection: Connection, *, field_manager: str = FIELD_MANAGER) -> None:
        self._connection = connection
        self._field_manager = field_manager

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
        conditioned = condition(body, resource_version)
        try:
            answer = await self._connection.send(
                "PATCH",
                kind.path(namespace, name, subresource),
                query={"fieldManager": self._field_manager},
                body=conditioned,
                content_type=MERGE_PATCH,
                urgent=urgent,
            )
        except Unreachable as error:
            return Unknown(str(error))
        if not isinstance(answer, Failure):
            return Written(answer)
        return _answer_to(answer, kind, name)


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
