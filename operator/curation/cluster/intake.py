"""The answers of the API server on their way in: cut to bounds before anybody parses them.

It replaces the content of each answer, kopf's watches included, so that neither kopf nor we make Python
objects of what is over its bound. A list comes in pages of a bounded size in bytes: the API server counts objects, and
500 of them may be 700 MB; so a page that is too long is given up, and asked for again with fewer objects.
"""

import logging
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
import msgspec
from msgspec import Raw

from curation.cluster.bounds import Examined, Plain, cut, cut_plain
from curation.cluster.resources import CONFIG_MAPS, KINDS, NAMESPACES, SECRETS, ResourceKind

logger = logging.getLogger(__name__)

MAX_ANSWER: Final = 32 * 2**20
"""Bytes of any one answer or of one line of a watch. An object has at most 1.5 MB, escaped six times that."""
PAGE_BYTES: Final = 2 * 2**20
"""Bytes of a page of several objects: what is parsed in one go, while nothing else gets a turn."""
FIRST_PAGE: Final = 100
"""Objects of a kind's first page. While pages are much shorter than they may be, each has twice as many as the last."""
MOST_PAGE: Final = 10_000

_PLAIN: Final = (CONFIG_MAPS, SECRETS, NAMESPACES)
_ROOTS: Final = tuple((kind.path(None).removesuffix(kind.plural), kind) for kind in (*KINDS.values(), *_PLAIN))


BROKEN: Final = (
    b'{"type":"ERROR","object":{"kind":"Status","status":"Failure","reason":"Expired","code":410,'
    b'"message":"the watch has brought what is no event"}}\n'
)
"""An event that makes whoever watches list again."""


class _Event(msgspec.Struct):
    type: str


class _Change(msgspec.Struct):
    type: str
    object: Examined


class _Page(msgspec.Struct, omit_defaults=True):
    metadata: Raw
    kind: str = ""
    apiVersion: str = ""  # noqa: N815 (Kubernetes' name)
    items: list[Raw] | None = None


_EVENT: Final = msgspec.json.Decoder(_Event)
_CHANGE: Final = msgspec.json.Decoder(_Change)
# How the API server begins a line: so it need not be searched twice.
_OF_OBJECTS: Final = tuple(b'{"type":"%b","object":' % kind for kind in (b"ADDED", b"MODIFIED", b"DELETED"))
_PAGE: Final = msgspec.json.Decoder(_Page)
_EXAMINED: Final = msgspec.json.Decoder(Examined)
_PLAINLY: Final = msgspec.json.Decoder(Plain)


class TooLong(aiohttp.ClientPayloadError):
    """An answer has more bytes than it may have."""


class Intake:
    """The content of an answer about one kind, cut. In place of aiohttp's own; all else that is asked of it is that's.

    kopf reads lists by `read` and watches by `iter_chunked`; the official client reads by `read`.
    """

    def __init__(self, content: aiohttp.StreamReader, kind: ResourceKind, verb: str) -> None:
        self._content = content
        self._kind = kind
        self._verb = verb
        self._whole: bytes | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def fetch(self, most: int) -> int:
        """Read all of it now, and say how many bytes it has. Raises `TooLong` for more than `most`."""
        whole = bytearray()
        async for chunk in self._content.iter_any():
            whole += chunk
            if len(whole) > most:
                raise TooLong(f"the answer has more than {most} bytes")
        self._whole = bytes(whole)
        return len(whole)

    async def read(self) -> bytes:
        """The whole answer, cut."""
        if self._whole is None:
            await self.fetch(MAX_ANSWER)
        whole, self._whole = self._whole or b"", b""
        return cut_page(whole, self._kind) if self._verb == "list" else cut_object(whole, self._kind)

    async def iter_chunked(self, _size: int) -> AsyncIterator[bytes]:
        """The lines of a watch, each cut; in place of what is no event, one that says so."""
        async for line in _lines(self._content):
            try:
                yield cut_event(line, self._kind) if line is not None else BROKEN
            except (msgspec.MsgspecError, RecursionError) as error:
                # Trap: a change that is left out is lost, since kopf goes on from the ones that follow it.
                logger.error("the watch of %s has brought what is no event: %s", self._kind.plural, error)
                yield BROKEN


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes | None]:
    """The lines that have an end; None for one that is longer than any object can be."""
    parts: list[bytes] = []
    held = 0
    async for chunk in content.iter_any():
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            held += len(end)
            if held > MAX_ANSWER:
                yield None
            elif line := b"".join((*parts, end)):
                yield line
            parts, held = [], 0
        held += len(rest)
        if held > MAX_ANSWER:
            parts = []
        elif rest:
            parts.append(rest)
    # What is left without an end was cut off: it comes again with the next watch.


def cut_event(line: bytes, kind: ResourceKind) -> bytes:
    """A line of a watch with its object cut; of a bookmark or an error, as it is."""
    if not line.startswith(_OF_OBJECTS) and _EVENT.decode(line).type in ("BOOKMARK", "ERROR"):
        return line + b"\n"
    event = _CHANGE.decode(line)
    cut(kind, event.object)
    return msgspec.json.encode(event) + b"\n"


def cut_object(text: bytes, kind: ResourceKind) -> bytes:
    """An object, cut; what is none, as it is: whoever parses it says what is wrong."""
    try:
        if kind in _PLAIN:
            return msgspec.json.encode(cut_plain(_PLAINLY.decode(text)))
        return msgspec.json.encode(cut(kind, _EXAMINED.decode(text)))
    except (msgspec.MsgspecError, RecursionError):
        return text


def cut_page(text: bytes, kind: ResourceKind) -> bytes:
    """A page of a list with its objects cut."""
    try:
        page = _PAGE.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return text
    page.items = [Raw(cut_object(bytes(item), kind)) for item in page.items or ()]
    return msgspec.json.encode(page)


def kind_of(path: str, resource: str) -> ResourceKind | None:
    """The kind that a request is about, by its path and its resource, if its answers are cut."""
    plural = resource.partition("/")[0]
    return next((kind for root, kind in _ROOTS if kind.plural == plural and path.startswith(root)), None)


class Pages:
    """How many objects the next page of each list is to have."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}

    def size(self, place: str, asked: int) -> int:
        """At most so many as are asked for."""
        return min(asked, self._sizes.get(place, FIRST_PAGE))

    def bound(self, size: int) -> int:
        """Bytes of a page of so many objects."""
        return PAGE_BYTES if size > 1 else MAX_ANSWER

    def too_long(self, place: str, size: int) -> None:
        """A page of so many objects was too long."""
        self._sizes[place] = max(1, size // 4)

    def came(self, place: str, size: int, length: int) -> None:
        """A page of so many objects had this length in bytes."""
        if length < PAGE_BYTES // 4:
            self._sizes[place] = min(max(2 * size, self._sizes.get(place, FIRST_PAGE)), MOST_PAGE)
