"""What is known of the objects of one kind: fed by the watch and by the answers of our own writes; only moves forward.

Both sources are late at times: the answer to a write may arrive after the watch has shown a newer version, or even
the deletion. So an object is replaced only by a greater resourceVersion, and a uid that was deleted never comes back.

resourceVersions are compared as integers. Kubernetes documents since 1.35 (KEP-5504, "Comparable Resource Version",
API Concepts) that those of one resource type, custom resources included, are decimal integers that rise with every
change, across objects and namespaces; and conformance tests hold servers to it. (They always were etcd revisions.)
Those of two resource types must not be compared, so there is one cache for each kind.
"""

import logging
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from cachetools import FIFOCache, LRUCache
from pydantic import BaseModel, ValidationError

from curation.api.reading import Fault, Unreadable, mended
from curation.cluster import documents
from curation.cluster.answers import Document
from curation.cluster.resources import ResourceKind

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)

# A late answer comes within the request timeout (10 s); at 1,000 deletions a second that is this many.
TOMBSTONES: Final = 10_000
# Bytes of the versions that are kept as models: what is in flight is asked about several times, what has finished
# hardly ever. As a model, a version takes up to thirty times its bytes (an input of a million small numbers).
PARSED_BYTES: Final = 4 * 2**20


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Stored:
    """One version of one object. Kept as JSON bytes: the document as Python objects takes ten times the memory."""

    namespace: str
    name: str
    uid: str
    resource_version: int
    generation: int
    body: bytes
    fault: Fault | None = None
    """Why it is not to be parsed, where that is known before its content is read."""

    def parse(self, model: type[M]) -> M:
        """The object as a model, which others may hold too: not to be changed. Raises `Unreadable`."""
        found, _ = self._read(model)
        return found

    def parse_once(self, model: type[M]) -> M:
        """The same for who asks about very many versions, each once: it is not kept, in the place of others."""
        found = self.fault or _parse(self, model)
        if isinstance(found, Fault):
            raise Unreadable(found)
        parsed, _ = found
        assert isinstance(parsed, model)
        return parsed

    def left_out(self, model: type[M]) -> Document:
        """The fields of its status, a derived one, that `parse` has left out since they cannot be read."""
        _, left_out = self._read(model)
        return left_out

    def _read(self, model: type[M]) -> tuple[M, Document]:
        found = self.fault or _parsed.of(self, model)
        if isinstance(found, Fault):
            raise Unreadable(found)
        parsed, left_out = found
        assert isinstance(parsed, model)
        return parsed, left_out

    @property
    def deleted(self) -> bool:
        """Whether it is being deleted, and finalizers keep it."""
        return "deletionTimestamp" in self.document()["metadata"]

    def document(self) -> Document:
        """The object as a fresh JSON document, without managedFields."""
        document: Document = documents.loads(self.body)
        return document


_Reading = tuple[BaseModel, Document] | Fault


def _parse(stored: Stored, model: type[BaseModel]) -> _Reading:
    try:
        return model.model_validate_json(stored.body), {}
    except ValidationError:
        # pydantic's JSON parser gives up at 200 levels; the object must stay readable, to be refused by name.
        try:
            return mended(model, stored.document())
        except Unreadable as error:
            return error.fault


class _Parsed:
    """What was made of the versions that were read last, bounded by the bytes that it was made of.

    It goes with its version, once nobody holds that. Also of one that cannot be read the answer is kept: many ask.
    """

    def __init__(self, most: int = PARSED_BYTES) -> None:
        self._readings: LRUCache[tuple[weakref.ref[Stored], type[BaseModel]], tuple[int, _Reading]]
        self._readings = LRUCache(most, _bytes)

    def of(self, stored: Stored, model: type[BaseModel]) -> _Reading:
        """This version as a model."""
        known = self._readings.get((weakref.ref(stored), model))
        if known is None:
            # One that is larger than the bound is kept too, alone: it is asked about as often.
            size = min(len(stored.body), int(self._readings.maxsize))
            known = (size, _parse(stored, model))
            self._readings[weakref.ref(stored, partial(self._drop, model)), model] = known
        return known[1]

    def _drop(self, model: type[BaseModel], gone: weakref.ref[Stored]) -> None:
        self._readings.pop((gone, model), None)


def _bytes(kept: tuple[int, _Reading]) -> int:
    return kept[0]


_parsed: Final = _Parsed()


Listener = Callable[[Stored | None, Stored | None], None]
"""Called with (old, new) of an accepted change: old is None for a new object, new is None for a deleted one. When
both are there, their uids may differ: then the old object was deleted and another one made under its name."""


class Cache:
    """The newest known version of each object of one kind. For a cluster-scoped kind the namespace is ``""``."""

    def __init__(self, kind: ResourceKind, *, tombstones: int = TOMBSTONES) -> None:
        self.kind = kind
        self._objects: dict[str, dict[str, Stored]] = {}
        self._deleted: FIFOCache[str, None] = FIFOCache(tombstones)
        self._listeners: list[Listener] = []

    def put(self, obj: Document) -> bool:
        """Take in a version, from the watch or from an answer. True if it is news; then the listeners were notified."""
        metadata = obj["metadata"]
        namespace, name, uid = metadata.get("namespace") or "", metadata["name"], metadata["uid"]
        version = revision(metadata["resourceVersion"])
        old = self.get(namespace, name)
        if uid in self._deleted or (old is not None and version <= old.resource_version):
            return False
        if old is not None and old.uid != uid:
            self._bury(old.uid)
        body = _compact(obj, self.kind)
        new = Stored(namespace, name, uid, version, metadata.get("generation", 0), body)
        self._objects.setdefault(namespace, {})[name] = new
        self._notify(old, new)
        return True

    def delete(self, obj: Document) -> bool:
        """Take in that this very object (by uid) is deleted, whatever its version. True if it was known till now."""
        metadata = obj["metadata"]
        return self.forget(metadata.get("namespace") or "", metadata["name"], metadata["uid"])

    def forget(self, namespace: str, name: str, uid: str) -> bool:
        """The same as `delete`, by name and uid."""
        self._bury(uid)
        old = self.get(namespace, name)
        if old is None or old.uid != uid:
            return False
        siblings = self._objects[namespace]
        del siblings[name]
        if not siblings:
            del self._objects[namespace]
        self._notify(old, None)
        return True

    def get(self, namespace: str | None, name: str) -> Stored | None:
        """The newest known version."""
        return self._objects.get(namespace or "", {}).get(name)

    def in_namespace(self, namespace: str) -> Iterator[Stored]:
        """The objects of a namespace, as of now: the cache may change while the caller goes through them."""
        return iter(list(self._objects.get(namespace, {}).values()))

    def __iter__(self) -> Iterator[Stored]:
        return iter([stored for siblings in self._objects.values() for stored in siblings.values()])

    def __len__(self) -> int:
        return sum(map(len, self._objects.values()))

    def listen(self, listener: Listener) -> None:
        """Call it after each accepted change, before `put` or `delete` returns: a fence must die at once.

        It must not wait and must not raise; what it raises is logged.
        """
        self._listeners.append(listener)

    def _bury(self, uid: str) -> None:
        self._deleted[uid] = None

    def _notify(self, old: Stored | None, new: Stored | None) -> None:
        for listener in self._listeners:
            try:
                listener(old, new)
            except Exception:
                # One broken listener must not keep the others, among them the fence, from hearing of the change.
                logger.exception("A listener of the %s cache failed", self.kind.kind)


def revision(resource_version: str) -> int:
    """A resourceVersion as the integer that Kubernetes documents it to be. Raises ValueError if it is none."""
    if not (resource_version.isascii() and resource_version.isdigit()):
        raise ValueError(
            f"resourceVersion {resource_version!r} is not a decimal integer: this API server does not conform "
            "to Kubernetes 1.35 or newer"
        )
    return int(resource_version)


def _compact(obj: Document, kind: ResourceKind) -> bytes:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    # Items of a list come without these two.
    named = {"apiVersion": kind.api_version, "kind": kind.kind, **obj, "metadata": metadata}
    return documents.stored(named)
