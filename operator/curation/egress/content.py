"""An answer's body as it is meant: its content coding undone within the limit, its characters by its own charset.

Called by the client (`decoded`) and by `execution.calls` (`body_text`). No request asks for a coding, but servers and
the caches before them send what they hold.
"""

import codecs
import re
import zlib
from collections.abc import Iterator
from typing import Final

import brotli

from curation.egress.errors import AnswerOverBounds, ResponseTooLarge, Unavailable

MAX_CODINGS: Final = 4
"""Codings that one body may have, one over the other."""
MAX_GZIP_MEMBERS: Final = 1024
"""Members of a gzip body: they may be empty, and each costs as much as a kilobyte."""

_STEP: Final = 16 * 1024
"""Bytes of input, and four times so many of output, at a time."""
_OUT: Final = 4 * _STEP
_KNOWN: Final = frozenset({"gzip", "x-gzip", "deflate", "br"})

# The encodings of the WHATWG Encoding Standard, and UTF-32, by Python's names. Not every codec of Python's: some
# are no encodings of text, and some take a time that grows with the square of the text's length.
_CHARSETS: Final = frozenset(
    {
        *("ascii", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"),
        *("gb2312", "gbk", "gb18030", "big5", "big5hkscs", "euc_jp", "shift_jis", "cp932", "iso2022_jp", "euc_kr"),
        *("cp949", "cp866", "cp874", "koi8-r", "koi8-u", "mac-roman", "mac-cyrillic", "tis-620"),
        *(f"iso8859-{part}" for part in range(1, 17) if part != 12),
        *(f"cp125{page}" for page in range(9)),
    }
)
_BOMS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_CHARSET: Final = re.compile(r""";\s*charset\s*=\s*["']?([^"';,\s]+)""", re.IGNORECASE)
_TEXTUAL: Final = re.compile(
    r"(text/|[^;]*[/+](json|xml|yaml|javascript|ecmascript|x-www-form-urlencoded)\s*(;|$))", re.I
)


def codings(content_encoding: str) -> list[str]:
    """The codings that can be undone, the last one applied first; empty if one of them is not known."""
    names = [name.strip().lower() for name in content_encoding.split(",")]
    names = [name for name in names if name not in ("", "identity")]
    return names[::-1] if set(names) <= _KNOWN else []


def decoded(body: bytearray, names: list[str], limit: int) -> bytearray:
    """The body without these codings, at most ``limit`` bytes at each step. For a thread: brotli takes 10 ms to begin.

    Raises `ResponseTooLarge`, `AnswerOverBounds`, and `Unavailable` for what is not of the coding.
    """
    if len(names) > MAX_CODINGS:
        raise AnswerOverBounds(f"its answer has {len(names)} content codings, {MAX_CODINGS} are allowed")
    for name in names if body else ():
        out = bytearray()
        try:
            for piece in _brotli(body) if name == "br" else _zlib(body, raw=name == "deflate" and not _has_zlib(body)):
                out += piece
                if len(out) > limit:
                    raise ResponseTooLarge(len(out), limit)
        except (zlib.error, brotli.error, EOFError) as exc:
            raise Unavailable(f"the answer's content coding {name} is damaged or cut short") from exc
        body = out
    return body


def _has_zlib(body: bytearray) -> bool:
    # RFC 1950 section 2.2: what "deflate" means (RFC 9110 section 8.4.1.2). Many servers send it without that frame.
    return len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0


def _zlib(body: bytearray, *, raw: bool) -> Iterator[bytes]:
    """Every member, as gzip's have any number."""
    wbits = -zlib.MAX_WBITS if raw else zlib.MAX_WBITS | 32
    at = 0
    for _ in range(MAX_GZIP_MEMBERS):
        unpacker = zlib.decompressobj(wbits)
        while not unpacker.eof:
            data = unpacker.unconsumed_tail or bytes(body[at : at + _STEP])
            if not unpacker.unconsumed_tail:
                at += len(data)
            out = unpacker.decompress(data, _OUT)
            if not out and not data:
                raise EOFError
            yield out
        at -= len(unpacker.unused_data)
        if body[at : at + 2] != b"\x1f\x8b":
            return  # whatever else follows, padding for one, is ignored by common clients
    raise AnswerOverBounds(f"the gzip body of its answer has over {MAX_GZIP_MEMBERS} members")


def _brotli(body: bytearray) -> Iterator[bytes]:
    unpacker = brotli.Decompressor()
    for at in range(0, len(body), _STEP):
        yield unpacker.process(bytes(body[at : at + _STEP]), output_buffer_limit=_OUT)
        while not unpacker.can_accept_more_data():
            yield unpacker.process(b"", output_buffer_limit=_OUT)
    if not unpacker.is_finished():
        raise EOFError


def body_text(body: bytes, content_type: str) -> str:
    """The body's text: by its byte order mark, else by the charset of its content type, else as UTF-8.

    A mark is skipped. What cannot be decoded becomes U+FFFD.
    """
    textual = not content_type.strip() or _TEXTUAL.match(content_type.strip()) is not None
    for mark, encoding in _BOMS:
        if body.startswith(mark) and (textual or encoding == "utf-8"):
            return body[len(mark) :].decode(encoding, "replace")
    match = _CHARSET.search(content_type)
    return body.decode(_known(match[1]) if match else "utf-8", "replace")


def _known(charset: str) -> str:
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        return "utf-8"
    return name if name in _CHARSETS else "utf-8"
