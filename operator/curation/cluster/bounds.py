"""How much of an object is taken in: decided by the bytes of an answer, before anything of it is parsed.

Who may create or label an object chooses its size, up to 1.5 MB of a million values; made into Python objects it would
cost half a second and a hundred megabytes at each of its versions. So each object is cut to a kept form first: spec and
status within bounds, and of the metadata only what is used (no managedFields, no foreign annotations, no owners). What
was left out of a spec is named by the mark `Excess`, with which a job can still be shown, failed and deleted.

msgspec reads the bytes: it steps over what is not asked for and makes no objects of it (1.4 MB in 1 to 8 ms, where
json takes 4 to 220 ms).
"""

import hashlib
import logging
import re
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType
from pydantic import BaseModel, TypeAdapter, ValidationError

from curation.api.digest import MAX_DEPTH
from curation.api.excess import EXCESS_FIELD, INPUT_REMEDY, too_deep, too_large
from curation.api.job import MAX_ABANDONED_RUNS, MAX_CONFIG_BYTES, MAX_INPUT_BYTES
from curation.api.names import ANNOTATION_OBSERVE_REQUESTED_AT, REQUESTER_ANNOTATIONS
from curation.cluster.resources import JOBS, ResourceKind

logger = logging.getLogger(__name__)

# The API server admits JSON of 10,000 levels (Go's decoder), and one such object must not break a watch or a list for
# all: json and msgspec count levels against this limit. Measured: 20,000 of them fit the stack of a thread (8 MiB).
RECURSION_LIMIT: Final = 20_000
"""For `sys.setrecursionlimit`, of each program that reads objects."""

MAX_INPUT_WITH_NULLS: Final = 2 * MAX_INPUT_BYTES
"""Of ``spec.input`` as stored. What counts is its size without nulls, which takes a parse to know."""
MAX_JOB_SPEC: Final = MAX_INPUT_WITH_NULLS + 2 * MAX_CONFIG_BYTES
MAX_SPEC: Final = 384 * 1024
"""Of the other kinds: a policy text may have 64 Ki characters, of up to four bytes each."""
MAX_STATUS_FIELD: Final = 64 * 1024
"""Of one field of a status: the operator writes at most half of it, but for those below."""
MAX_ABANDONED: Final = MAX_ABANDONED_RUNS * (2 * 6 * MAX_CONFIG_BYTES + 16 * 1024)
"""Of ``status.abandonedRuns``: entries with the configuration of module and job, of which JSON may escape each byte."""
MAX_IN_FORCE: Final = MAX_SPEC + 1024
"""Of ``status.inForce``: the text of a policy, and which revision it is of. What is lost of it is out of force."""
MAX_CONDITIONS: Final = 256 * 1024
"""Of ``status.conditions``: several say the same message, of which JSON may escape each byte. Trap: of one whose
conditions count as absent they would be written anew, with another time, at each reconcile."""
MAX_FROZEN: Final = 3 * MAX_INPUT_BYTES + 6 * MAX_CONFIG_BYTES + 1024
"""Of ``status.frozen``: an input and a configuration, of which the API server may escape what we do not."""
MAX_LABELS: Final = 32 * 1024
MAX_FINALIZERS: Final = 32 * 1024
MAX_KEYS: Final = 4096
"""Of a ConfigMap or a Secret: a million bytes of short ones cost as much as an input of small values."""
SMALL: Final = 4 * 1024
"""Annotations of so many bytes are kept as they are."""
STATUS_CUT_FIELD: Final = f"{EXCESS_FIELD}-status"
"""Where the kept form says that fields of its status were left out: such a status is never to be written whole."""

# One escaped by Go's encoder is six bytes in place of one, or of three.
_ESCAPED: Final = ((b"\\u003c", 5), (b"\\u003e", 5), (b"\\u0026", 5), (b"\\u2028", 3), (b"\\u2029", 3))
_READ: Final = (*REQUESTER_ANNOTATIONS, ANNOTATION_OBSERVE_REQUESTED_AT)
"""The annotations that are read. Trap: anybody may add others under curation.dev/, which must not take their place."""
# Such a key with its value, a user's name for one, which nobody bounds. In JSON a quote within a string has a backslash
# before it, and so does not match.
_OURS: Final = re.compile(rb'"(%b)":("(?:[^"\\]|\\.){0,8192}")' % b"|".join(re.escape(name.encode()) for name in _READ))


class _Metadata(msgspec.Struct, omit_defaults=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resourceVersion: str = ""  # noqa: N815 (Kubernetes' names)
    generation: int = 0
    creationTimestamp: str | None = None  # noqa: N815
    deletionTimestamp: str | None = None  # noqa: N815
    finalizers: Raw | UnsetType = UNSET
    labels: Raw | UnsetType = UNSET
    annotations: Raw | UnsetType = UNSET
    finalizersCut: bool = msgspec.field(default=False, name=f"{EXCESS_FIELD}-finalizers")  # noqa: N815


class _Excess(msgspec.Struct):
    field: str
    message: str
    digest: str


class Examined(msgspec.Struct, omit_defaults=True):
    """An object of curation.dev as it was examined: its parts, not parsed."""

    metadata: _Metadata
    apiVersion: str = ""  # noqa: N815
    kind: str = ""
    spec: Raw | UnsetType = UNSET
    status: Raw | UnsetType = UNSET
    excess: _Excess | UnsetType = msgspec.field(default=UNSET, name=EXCESS_FIELD)
    statusCut: bool = msgspec.field(default=False, name=STATUS_CUT_FIELD)  # noqa: N815 (Kubernetes' way of naming)


class Plain(msgspec.Struct, omit_defaults=True):
    """An object of the core group of which we read the data: a ConfigMap, a Secret, a Namespace."""

    metadata: _Metadata
    apiVersion: str = ""  # noqa: N815
    kind: str = ""
    type: str = ""
    """Of a Secret: what it is for."""
    data: Raw | UnsetType = UNSET
    binaryData: Raw | UnsetType = UNSET  # noqa: N815
    excess: bool = msgspec.field(default=False, name=EXCESS_FIELD)
    """It has more keys than are read, so that none of them is."""


class _Nothing(BaseModel):
    """Makes no objects of what it reads."""


_SHALLOW: Final = TypeAdapter(_Nothing)
_FIELDS: Final = msgspec.json.Decoder(dict[str, Raw])


def cut(kind: ResourceKind, seen: Examined) -> Examined:
    """The kept form of an object, made of the one given. Raises msgspec.DecodeError for what is no such object."""
    seen.excess, seen.statusCut = UNSET, False
    _cut_metadata(kind, seen)
    if seen.spec is not UNSET:
        _cut_spec(kind, seen)
    if seen.status is not UNSET:
        _cut_status(seen)
    return seen


def cut_plain(seen: Plain) -> Plain:
    """The same for what is not ours: its data, which the API server bounds at 1 MiB, and who it is."""
    seen.metadata.labels = seen.metadata.annotations = seen.metadata.finalizers = UNSET
    # All values are strings: a quote within one has a backslash before it, and so is counted for no key.
    keys = sum(bytes(part).count(b'":"') for part in (seen.data, seen.binaryData) if part is not UNSET)
    seen.excess = keys > MAX_KEYS
    if seen.excess:
        seen.data = seen.binaryData = UNSET
    return seen


def size(raw: Raw | bytes, allowed: int) -> int:
    """Bytes of a JSON text, each character that Go's encoder has escaped for HTML counted as itself.

    Of one that is over what is allowed however it is counted, roughly.
    """
    text = bytes(raw)
    if len(text) <= allowed or len(text) > 6 * allowed:
        return len(text)
    return len(text) - sum(text.count(escape) * more for escape, more in _ESCAPED)


def is_deep(raw: Raw | bytes) -> bool:
    """Whether a JSON text is nested too deep to be parsed at all (pydantic's parser gives up at 200 levels)."""
    text = bytes(raw)
    if text.count(b"[") + text.count(b"{") < 2 * MAX_DEPTH:
        return False
    try:
        _SHALLOW.validate_json(text)
    except ValidationError as error:
        return any("recursion" in str(problem.get("msg", "")) for problem in error.errors(include_input=False))
    return False


def _cut_metadata(kind: ResourceKind, seen: Examined) -> None:
    metadata = seen.metadata
    metadata.finalizersCut = False
    if metadata.labels is not UNSET and (labels := size(metadata.labels, MAX_LABELS)) > MAX_LABELS:
        if kind == JOBS:
            remedy = "remove labels, then set spec.rerun to a new value"
            _mark(seen, "metadata.labels", too_large("metadata.labels", labels, MAX_LABELS, remedy), metadata.labels)
        metadata.labels = UNSET
    if metadata.annotations is not UNSET and len(bytes(metadata.annotations)) > SMALL:
        ours = b",".join(b'"%b":%b' % found for found in _OURS.findall(bytes(metadata.annotations)))
        metadata.annotations = Raw(b"{%b}" % ours)
    if metadata.finalizers is not UNSET and len(bytes(metadata.finalizers)) > MAX_FINALIZERS:
        # Those of others are not known then, and a write would take them off: nobody is to write this list.
        known = re.findall(rb'"curation\.dev/[a-z-]{1,32}"', bytes(metadata.finalizers))
        metadata.finalizers = Raw(b"[%b]" % b",".join(known[:4]))
        metadata.finalizersCut = True


def _cut_spec(kind: ResourceKind, seen: Examined) -> None:
    assert isinstance(seen.spec, Raw)
    allowed = MAX_JOB_SPEC if kind == JOBS else MAX_SPEC
    total = size(seen.spec, allowed)
    if total > allowed:
        fields = _FIELDS.decode(seen.spec)
        for name in sorted(fields, key=lambda name: -len(bytes(fields[name]))):
            if total <= allowed:
                break
            value = fields.pop(name)
            own, is_input = size(value, allowed), kind == JOBS and name == "input"
            most, remedy = (MAX_INPUT_BYTES, INPUT_REMEDY) if is_input else (allowed, "make it smaller")
            _mark(seen, f"spec.{name}", too_large(f"spec.{name}", own, most, remedy), value)
            total -= own
        seen.spec = Raw(msgspec.json.encode(fields))
    if is_deep(seen.spec):
        fields = _FIELDS.decode(seen.spec)
        for name, value in tuple(fields.items()):
            if is_deep(value):
                del fields[name]
                _mark(seen, f"spec.{name}", too_deep(f"spec.{name}", MAX_DEPTH), value)
        seen.spec = Raw(msgspec.json.encode(fields))


_LARGE_FIELDS: Final = {
    "abandonedRuns": MAX_ABANDONED,
    "conditions": MAX_CONDITIONS,
    "frozen": MAX_FROZEN,
    "inForce": MAX_IN_FORCE,
}


def _cut_status(seen: Examined) -> None:
    assert isinstance(seen.status, Raw)
    if size(seen.status, MAX_STATUS_FIELD) <= MAX_STATUS_FIELD and not is_deep(seen.status):
        return
    fields = _FIELDS.decode(seen.status)
    for name, value in tuple(fields.items()):
        allowed = _LARGE_FIELDS.get(name, MAX_STATUS_FIELD)
        if size(value, allowed) > allowed or is_deep(value):
            # Only the operator writes a status, and never this much.
            logger.warning(
                "status.%s of %s %s/%s is too large to be read, and counts as absent",
                *(name, seen.kind, seen.metadata.namespace, seen.metadata.name),
            )
            seen.statusCut = True
            del fields[name]
            if name == "session" and (bare := _without_progress(value)) is not None:
                fields[name] = bare
    seen.status = Raw(msgspec.json.encode(fields))


def _without_progress(session: Raw) -> Raw | None:
    """A session without what its last observation said: its id is what a Cancel needs."""
    fields = _FIELDS.decode(session)
    fields.pop("progress", None)
    bare = msgspec.json.encode(fields)
    return Raw(bare) if len(bare) <= MAX_STATUS_FIELD and not is_deep(bare) else None


def _mark(seen: Examined, field: str, message: str, value: Raw) -> None:
    digest = hashlib.sha256(bytes(value)).hexdigest()
    if seen.excess is UNSET:
        seen.excess = _Excess(field, message, digest)
