"""The body of a PUT of ``/status``: the whole status of a version that is known whole, with a merge patch applied.

A custom resource's status strategy takes the status from such a body, and all else from the stored object; the uid and
the resourceVersion are preconditions. So the body needs no spec and no other metadata, and a body without managedFields
keeps what is recorded there. All measured on v1.37.2; source: `statusStrategy` in k8s.io/apiextensions-apiserver,
pkg/registry/customresource/status_strategy.go.
"""

from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from curation.cluster import documents
from curation.cluster.answers import Document
from curation.cluster.bounds import STATUS_CUT_FIELD
from curation.cluster.cache import Stored
from curation.cluster.mergepatch import merged
from curation.cluster.resources import ResourceKind

MAX_WHOLE: Final = 64 * 1024
"""Bytes of a stored status that is sent back whole. One of a megabyte would hold up all else for its parse."""


class _Kept(msgspec.Struct):
    status: Raw | UnsetType = UNSET
    cut: bool = msgspec.field(default=False, name=STATUS_CUT_FIELD)


_KEPT: Final = msgspec.json.Decoder(_Kept)


def status_body(kind: ResourceKind, stored: Stored, patch: Document) -> Document | None:
    """What to PUT, not yet conditioned on the version; None where that version's status is not at hand as it is stored.

    What the patch does not name is sent back as it was read, the fields of a newer release among it.
    """
    try:
        kept = _KEPT.decode(stored.body)
    except (msgspec.MsgspecError, RecursionError):
        return None
    status = {}
    if kept.cut or (kept.status is not UNSET and len(bytes(kept.status)) > MAX_WHOLE):
        return None
    if kept.status is not UNSET:
        status = documents.loads(bytes(kept.status))
        if not isinstance(status, dict):
            return None
    metadata = {"name": stored.name, "uid": stored.uid}
    if kind.namespaced:
        metadata["namespace"] = stored.namespace
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": metadata,
        "status": merged(status, patch),
    }
