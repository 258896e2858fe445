"""What the API server sends to a list or a watch of kopf's, as kopf can bear it.

kopf ends the whole operator over a watch that ends with a Status other than 410, a line that is cut off, or an answer
that is not JSON. The remedy is the same for each: list again. So each becomes what kopf does that for: of a watch an
ERROR event with code 410, of a list a `ClientPayloadError`.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import aiohttp

from curation.cluster import documents

GONE: Final = b'{"type":"ERROR","object":{"kind":"Status","status":"Failure","reason":"Expired","code":410}}\n'
_CHANGES: Final = ("ADDED", "MODIFIED", "DELETED")
# As every API server writes them. A change is not parsed here: kopf does that, and it is most of what a watch costs.
_USUAL: Final = tuple(f'{{"type":"{kind}","object":{{'.encode() for kind in _CHANGES)


class WatchResponse(aiohttp.ClientResponse):
    """An answer to kopf, of its session's ``response_class``."""

    examine: Callable[[dict[str, Any]], Awaitable[None]] | None = None
    """Is shown the page of a list; raises `ClientPayloadError` to have the list begin again."""

    async def json(self, **_: Any) -> Any:
        """The body; of a list always a page of objects, and a `ClientPayloadError` instead of what is none."""
        if self.examine is None:
            return await super().json(content_type=None)
        try:
            page = documents.loads(await self.read())
        except ValueError as error:
            raise aiohttp.ClientPayloadError(f"the list is not JSON: {error}") from error
        if not isinstance(page, dict) or not isinstance(page.get("metadata"), dict):
            raise aiohttp.ClientPayloadError("the answer is not a list of objects")
        page["items"] = page.get("items") or []
        if not isinstance(page["items"], list) or not all(map(_is_object, page["items"])):
            raise aiohttp.ClientPayloadError("the list holds something that is no object")
        await self.examine(page)
        return page


def _is_object(item: object) -> bool:
    metadata = item.get("metadata") if isinstance(item, dict) else None
    return isinstance(metadata, dict) and all(
        isinstance(metadata.get(field), str) for field in ("name", "uid", "resourceVersion")
    )


class Events:
    """The content of a watch's answer, in place of aiohttp's own, line by line.

    ``failed`` is called with what is wrong before `GONE` is given; ``ended`` when the stream is over, with whether any
    event came, and may call for `GONE` too.
    """

    def __init__(
        self,
        content: aiohttp.StreamReader,
        failed: Callable[[str], Awaitable[None]],
        ended: Callable[[bool], str | None],
    ) -> None:
        self._content = content
        self._failed = failed
        self._ended = ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Whole lines, many at once."""
        rest: list[bytes] = []
        received = False
        async for chunk in self._content.iter_chunked(size):
            end = chunk.rfind(b"\n") + 1
            if not end:
                rest.append(chunk)
                continue
            lines = b"".join((*rest, chunk[:end]))
            rest = [chunk[end:]]
            received = True
            good, problem = _good(lines)
            if good:
                yield good
            if problem is not None:
                await self._failed(problem)
                yield GONE
                return
        # What is left in `rest` was cut off: it comes again with the next watch.
        problem = self._ended(received)
        if problem is not None:
            await self._failed(problem)
            yield GONE


class RefusedContent:
    """The content of a watch that was refused."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
        """The one event that makes kopf list again."""
        yield GONE


def _good(lines: bytes) -> tuple[bytes, str | None]:
    """The lines before the first that kopf must not see, and what is wrong with that."""
    start = 0
    while start < len(lines):
        end = lines.index(b"\n", start) + 1
        line = lines[start:end].strip()
        if line and not (line.startswith(_USUAL) and line.endswith(b"}}") and b'"uid":"' in line):
            problem = _problem(line)
            if problem is not None:
                return lines[:start], problem
        start = end
    return lines, None


def _problem(line: bytes) -> str | None:
    try:
        event = json.loads(line)
    except ValueError:
        return f"a line of it is not JSON: {line[:80]!r}"
    if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
        return f"a line of it is not an event: {line[:80]!r}"
    found = event["object"]
    match event.get("type"):
        case "ERROR":
            return f"the server ended it: {found.get('code', '')} {found.get('reason', '')} {found.get('message', '')}"
        case "BOOKMARK":
            return None if isinstance(found.get("metadata"), dict) else "a bookmark in it has no resourceVersion"
        case kind if kind in _CHANGES:
            return None if _is_object(found) else f"an event of it has no object: {line[:80]!r}"
        case _:
            # kopf ignores it, with a warning.
            return None
