"""Versions of one object, as a watch shows them."""

from typing import Any

Document = dict[str, Any]


def revision(obj: Document) -> int:
    """The resourceVersion as a number."""
    return int(obj["metadata"]["resourceVersion"])


def describe(obj: Document) -> str:
    """One line that distinguishes a version from its neighbours."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    run = status.get("run") or {}
    return (
        f"{metadata.get('name')} uid={metadata.get('uid')} resourceVersion={metadata.get('resourceVersion')} "
        f"generation={metadata.get('generation')} observedGeneration={status.get('observedGeneration')} "
        f"phase={status.get('phase')} reason={status.get('reason')} run={run.get('id')}"
    )
