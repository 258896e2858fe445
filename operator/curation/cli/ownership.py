"""Who has applied a field of an object: a person must not silently undo what Git says, since Git will undo it again.

Server-side apply records its fields in metadata.managedFields with operation Apply. Client-side apply records them in
the annotation that holds the last manifest, written by an Update. A field that someone has only edited is free.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from curation.cli.access import CLI_FIELD_MANAGER, Cluster
from curation.cli.errors import PluginError
from curation.cli.output import note
from curation.cluster.answers import Document
from curation.cluster.resources import ResourceKind

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True)
class Applied:
    """A manager that has applied a field, and how."""

    manager: str
    how: str

    def __str__(self) -> str:
        return f"{self.manager!r} ({self.how})"


def check_owners(
    cluster: Cluster, kind: ResourceKind, seen: Document, field: str, *, force: bool, refused: str, forced: str
) -> None:
    """Let only ``force`` write a field of spec that another manager has applied.

    Raises PluginError that ends in ``refused``; with ``force`` notes what ends in ``forced``. Both go on after the
    field and who has applied it.
    """
    owners = applied_by(seen, ("spec", field))
    if not owners:
        return
    name = cluster.named(kind, seen["metadata"]["name"])
    applied = f"spec.{field} of {name} was applied by {' and '.join(map(str, owners))}"
    if not force:
        raise PluginError(applied + refused)
    note(applied + forced)


def applied_by(document: Document, path: tuple[str, ...]) -> list[Applied]:
    """The managers, other than the plugin, that have applied the field at ``path`` (such as ``("spec", "rerun")``)."""
    metadata: dict[str, Any] = document.get("metadata", {})
    entries: list[dict[str, Any]] = metadata.get("managedFields") or []
    found = [
        Applied(entry.get("manager", ""), "server-side apply")
        for entry in entries
        if entry.get("operation") == "Apply"
        and entry.get("manager") != CLI_FIELD_MANAGER
        and _has(entry.get("fieldsV1"), tuple(f"f:{part}" for part in path))
    ]
    if _has(_last_applied(metadata), path):
        at = ("f:metadata", "f:annotations", f"f:{LAST_APPLIED}")
        # The manager of an annotation can change hands; whoever holds it now has applied the manifest last.
        names = [entry.get("manager", "") for entry in entries if _has(entry.get("fieldsV1"), at)]
        found += [Applied(name, "client-side apply") for name in names or ["kubectl apply"]]
    return found


def _last_applied(metadata: dict[str, Any]) -> object:
    text = (metadata.get("annotations") or {}).get(LAST_APPLIED)
    try:
        return json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _has(tree: object, path: tuple[str, ...]) -> bool:
    for part in path:
        if not isinstance(tree, dict) or part not in tree:
            return False
        tree = tree[part]
    return True
