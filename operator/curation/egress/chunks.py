"""The chunked transfer coding (RFC 9112 section 7.1), at a cost that the sender of many small chunks cannot raise.

Called by `answer`. HTTP libraries (h11, and aiohttp's parser though it is in C) pay for each chunk as for a kilobyte of
a plain body, so that a body in chunks of one byte holds up the event loop. Here many small chunks are decoded at once
by slices and splits, which check each of them all the same; and the framing is bounded in proportion to the body.
"""

import re
from typing import Final

from curation.egress.errors import AnswerOverBounds, ResponseTooLarge

FRAMING_FREE: Final = 32 * 1024
"""Bytes of framing (the chunks' sizes, extensions and line ends) that an answer may have whatever its body's size."""
FRAMING_SHARE: Final = 4
"""Beyond these, one byte of framing for so many bytes of the body: chunks of 24 bytes and more always pass."""

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")
_SIZE_BEGUN: Final = re.compile(rb"(?:[0-9A-Fa-f]{1,16}(?:[ \t]*(?:;[^\r\n]*)?\r?)?)?")
_MAX_SIZE_LINE: Final = 4096
_SMALL: Final = {b"%x" % size: size for size in range(1, 256)} | {b"%X" % size: size for size in range(1, 256)}
# How many bytes are tried at once: twice as many after each success, half as many after a failure, so that what a
# failure wastes was saved before.
_LEAST_TRIED: Final = 256
_MOST_TRIED: Final = 16 * 1024
_FEW: Final = 64
"""Bytes that are not worth a try."""
_PAUSE: Final = 8
_LONGEST_PAUSE: Final = 1024
"""Chunks that are decoded one by one after a failure, twice as many after the next one."""


class NotChunked(Exception):
    """The bytes are not of this coding."""


class ChunkDecoder:
    """Takes the bytes after an answer's head, gives its body. Pure."""

    def __init__(self, limit: int) -> None:
        self.body = bytearray()
        """What has been decoded, at most ``limit`` bytes."""
        self.rest = b""
        """Once it is at the end: what came after the last chunk's line, where the trailers begin."""
        self._limit = limit
        self._undecoded = b""
        self._due = 0
        """Bytes of the current chunk that are to come."""
        self._line_end_due = False
        self._decoded = 0
        self._try = _LEAST_TRIED
        self._pause = 0
        self._pauses = _PAUSE

    def feed(self, data: bytes) -> bool:
        """Decodes as much as can be; True once the last chunk has come.

        Raises `NotChunked`, `ResponseTooLarge` for a body over the limit, announced or there, and `AnswerOverBounds`.
        """
        raw = self._undecoded + data
        at, ended = self._decode(raw)
        self._decoded += at
        if self._decoded - len(self.body) > FRAMING_FREE + len(self.body) // FRAMING_SHARE:
            raise AnswerOverBounds(
                f"the framing of the answer's chunks is over {FRAMING_FREE >> 10} KiB and a quarter of its body; the"
                " service must send larger chunks, or a Content-Length"
            )
        if ended:
            self.rest = raw[at:]
        else:
            self._undecoded = raw[at:]
        return ended

    def _decode(self, raw: bytes) -> tuple[int, bool]:
        """How far it came, and whether that is the end."""
        at = 0
        while True:
            if self._due:
                piece = raw[at : at + self._due]
                self.body += piece
                at += len(piece)
                self._due -= len(piece)
                if self._due:
                    return at, False
                self._line_end_due = True
            if self._line_end_due:
                if not b"\r\n".startswith(raw[at : at + 2]):
                    raise NotChunked
                if len(raw) - at < 2:
                    return at, False
                at += 2
                self._line_end_due = False
            while self._pause == 0 and (many := self._many(raw, at)):
                at += many
            match = _SIZE.match(raw, at)
            if match is None:
                self._check_begun(raw, at)
                return at, False
            self._pause -= self._pause > 0
            _check_line(match.end() - at)
            at = match.end()
            self._due = int(match[1], 16)
            if self._due == 0:
                return at, True
            if len(self.body) + self._due > self._limit:
                raise ResponseTooLarge(len(self.body) + self._due, self._limit)

    def _check_begun(self, raw: bytes, at: int) -> None:
        """What is left must be the beginning of a chunk's first line."""
        if not _SIZE_BEGUN.fullmatch(raw, at, at + _MAX_SIZE_LINE):
            raise NotChunked
        _check_line(len(raw) - at)

    def _many(self, raw: bytes, at: int) -> int:
        """Decodes many small chunks from here on, if that is what comes; how many bytes that were."""
        window = raw[at : at + self._try]
        if len(window) < _FEW:
            return 0
        decoded, body = _row(window) or _mixed(window)
        if not decoded:
            if len(window) <= _LEAST_TRIED:
                self._pauses = min(2 * self._pauses, _LONGEST_PAUSE)
                self._pause = self._pauses
                return 0
            self._try = max(_LEAST_TRIED, len(window) // 2)
            return self._many(raw, at)
        if len(self.body) + len(body) > self._limit:
            raise ResponseTooLarge(len(self.body) + len(body), self._limit)
        self.body += body
        self._try, self._pauses = min(2 * self._try, _MOST_TRIED), _PAUSE
        return decoded


def _check_line(length: int) -> None:
    """Of a line that has come whole as of one that has not: the pieces of a stream are the network's choice."""
    if length > _MAX_SIZE_LINE:
        raise AnswerOverBounds(f"a chunk of the answer has an extension of over {_MAX_SIZE_LINE} bytes")


def _row(window: bytes) -> tuple[int, bytes] | None:
    """Chunks of one size and one first line, by columns: how many bytes they are, and what is in them."""
    match = _SIZE.match(window)
    if match is None or not 0 < (size := int(match[1], 16)) < 32:
        return None
    first = match.end()
    period = first + size + 2
    count = len(window) // period
    end = count * period
    if count < 4 or window[end - period : end - period + first] != match[0]:
        return None
    for column, byte in (*enumerate(match[0]), (period - 2, 0x0D), (period - 1, 0x0A)):
        if window[column:end:period] != bytes((byte,)) * count:
            return None
    body = bytearray(count * size)
    for column in range(size):
        body[column::size] = window[first + column : end : period]
    return end, bytes(body)


def _mixed(window: bytes) -> tuple[int, bytes]:
    """Small chunks without extensions and without line ends in them: the same; (0, b"") if it is something else."""
    parts = window.split(b"\r\n")
    parts.pop()  # it may go on
    if len(parts) % 2:
        parts.pop()
    bodies = parts[1::2]
    if len(bodies) < 4 or list(map(_SMALL.get, parts[0::2])) != list(map(len, bodies)):
        return 0, b""
    return sum(map(len, parts)) + 2 * len(parts), b"".join(bodies)
