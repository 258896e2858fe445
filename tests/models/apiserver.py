"""What a real API server does to one kind of custom resource with a status subresource, in one namespace.

Only what the fence depends on: resourceVersion, generation, uid, conditioned merge patches, finalizers, the watch.
Sources: k8s.io/apiserver pkg/registry/generic/registry/store.go and pkg/registry/rest/delete.go,
k8s.io/apiextensions-apiserver pkg/registry/customresource; held against a real server by
`tests/integration/test_apiserver_model.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Document = dict[str, Any]
Defaults = Callable[[Document], Document]

_METADATA = ("labels", "annotations", "finalizers")
"""What a client may set of the metadata; left out when empty."""


@dataclass(frozen=True)
class Reply:
    """An HTTP status code, and the object if the code is 200 or 201."""

    code: int
    obj: Document | None = None

    @property
    def written(self) -> Document:
        """The object of a reply that is known to be good."""
        assert self.obj is not None
        return self.obj


@dataclass(frozen=True)
class WatchEvent:
    """A change, as a watch shows it."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    obj: Document


class ApiServer:
    """Keeps objects by name. No document is ever changed in place, so versions share what they have in common."""

    def __init__(self, now: Callable[[], str], defaults: Defaults = lambda obj: obj) -> None:
        """`now` gives the time as a metav1.Time; `defaults` is what the schema fills in."""
        self._now = now
        self._defaults = defaults
        self._objects: dict[str, Document] = {}
        self.revision = 0
        """The newest resourceVersion."""
        self._uids = 0
        self.events: list[WatchEvent] = []
        self.versions: dict[int, Document] = {}
        """Every version of every object, by its resourceVersion."""

    def names(self) -> list[str]:
        """Those of the objects that exist."""
        return list(self._objects)

    def get(self, name: str) -> Reply:
        """Read an object."""
        obj = self._objects.get(name)
        return Reply(404) if obj is None else Reply(200, obj)

    def create(self, name: str, spec: Document, metadata: Document | None = None) -> Reply:
        """Make an object. A status is not taken: it has its own subresource."""
        if name in self._objects:
            return Reply(409)
        self._uids += 1
        kept = {key: value for key, value in (metadata or {}).items() if key in _METADATA and value}
        system = {"name": name, "uid": f"uid-{self._uids}", "generation": 1, "creationTimestamp": self._now()}
        obj = self._defaults({"metadata": {**kept, **system}, "spec": spec})
        return Reply(201, self._store(obj, "ADDED"))

    def patch(self, name: str, body: Document, subresource: Literal["status"] | None = None) -> Reply:
        """Merge-patch an object, conditioned on `metadata.resourceVersion` if the body has one."""
        old = self._objects.get(name)
        if old is None:
            return Reply(404)
        stated = body.get("metadata", {}).get("resourceVersion")
        if stated is not None and stated != old["metadata"]["resourceVersion"]:
            return Reply(409)
        new = self._status_patch(old, body) if subresource else self._main_patch(old, body)
        if new is None:
            return Reply(422)
        if new == old:
            return Reply(200, old)  # nothing is written: no new resourceVersion
        if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            return Reply(200, self._remove(new))
        return Reply(200, self._store(new, "MODIFIED"))

    def delete(self, name: str, *, uid: str | None = None, resource_version: str | None = None) -> Reply:
        """Delete an object, if it is still the one that is meant."""
        old = self._objects.get(name)
        if old is None:
            return Reply(404)
        metadata = old["metadata"]
        if uid not in (None, metadata["uid"]) or resource_version not in (None, metadata["resourceVersion"]):
            return Reply(409)
        if not metadata.get("finalizers"):
            return Reply(200, self._remove(old))
        if metadata.get("deletionTimestamp"):
            return Reply(200, old)
        # Trap: the mark of deletion bumps the generation, although no field of the spec has changed.
        mark = {"deletionTimestamp": self._now(), "deletionGracePeriodSeconds": 0}
        new = {**old, "metadata": {**metadata, **mark, "generation": metadata["generation"] + 1}}
        return Reply(200, self._store(new, "MODIFIED"))

    def _main_patch(self, old: Document, body: Document) -> Document | None:
        merged = merge(old, {key: value for key, value in body.items() if key != "status"})
        new = {**old, "metadata": {**old["metadata"]}}
        for field in _METADATA:
            value = merged["metadata"].get(field)
            if value:
                new["metadata"][field] = value
            else:
                new["metadata"].pop(field, None)
        new["spec"] = merged["spec"]
        new = self._defaults(new)
        if new["spec"] != old["spec"]:
            new["metadata"]["generation"] += 1
        before, after = (set(obj["metadata"].get("finalizers", [])) for obj in (old, new))
        if old["metadata"].get("deletionTimestamp") and after - before:
            return None  # no new finalizers on what is being deleted
        return new

    def _status_patch(self, old: Document, body: Document) -> Document:
        """Only the status is taken; a uid, a generation, labels or a spec in the patch are ignored."""
        merged = merge(old, {key: value for key, value in body.items() if key == "status"})
        new = {**old}
        if "status" in merged:
            new["status"] = merged["status"]
        else:
            new.pop("status", None)
        return self._defaults(new)

    def _store(self, obj: Document, event: Literal["ADDED", "MODIFIED"]) -> Document:
        stored = self._revised(obj)
        self._objects[obj["metadata"]["name"]] = stored
        self.events.append(WatchEvent(event, stored))
        return stored

    def _remove(self, obj: Document) -> Document:
        gone = self._revised(obj)
        del self._objects[obj["metadata"]["name"]]
        self.events.append(WatchEvent("DELETED", gone))
        return gone

    def _revised(self, obj: Document) -> Document:
        self.revision += 1
        made = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}
        self.versions[self.revision] = made
        return made


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396: nulls remove, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result
