"""Headers on the way out and back: what a module may set, what may be on the wire at all, what it gets to see.

Called by `execution.calls` (`module_headers`) and by the client (`wire_headers`, `response_headers`).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from curation.api.contract import MAX_REQUEST_HEADERS
from curation.api.identity_headers import as_variable, folded, says_who_is_calling
from curation.egress.errors import EgressRefused

MAX_HEADERS: Final = MAX_REQUEST_HEADERS + 32
"""Headers on the wire: a module's, and the host's own (those of the run, Idempotency-Key, up to 16 credentials)."""
MAX_HEADER_NAME: Final = 256
MAX_VALUE: Final = 8190
"""Bytes of one value: the field limit of common servers, and of aiohttp's parser."""
MAX_TOTAL: Final = 32 * 1024
"""Bytes of all names and values."""

# RFC 9110 section 5.6.2 (token) and 5.5 (field value); obs-text is left out, since servers read it differently.
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")

_HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings"}
)
_FRAMING: Final = frozenset({"host", "content-length", "expect"})
# What HTTP libraries of guests set by themselves and the host sets anew: dropping it changes nothing they meant.
_DROPPED: Final = frozenset({"connection", "keep-alive", "te", "content-length", "accept-encoding"})
_HOST_PREFIXES: Final = ("curation-", "proxy-")
_METHOD_OVERRIDES: Final = frozenset({"x-http-method", "x-http-method-override", "x-method-override"})
_NOT_SHOWN: Final = _HOP_BY_HOP | {"set-cookie", "set-cookie2", "proxy-authenticate", "proxy-authentication-info"}


def of_the_run(name: str) -> bool:
    """Whether the header is one that the host sets anew for each run and call, beside the credentials."""
    return folded(name).startswith("curation-") or folded(name) == "idempotency-key"


def module_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What a module's headers become on the wire. Raises `EgressRefused` naming the header.

    Dropped: what the host sets by itself (Connection, Content-Length, Accept-Encoding, TE, Keep-Alive). Refused: all
    else that frames or routes the request, that says who is calling, that names another method than the gate allowed.
    """
    if len(headers) > MAX_REQUEST_HEADERS:
        raise EgressRefused(f"the request has {len(headers)} headers, {MAX_REQUEST_HEADERS} are allowed")
    kept = {name: value for name, value in headers.items() if folded(name) not in _DROPPED}
    for name in kept:
        plain = as_variable(name)
        if plain.startswith(_HOST_PREFIXES) or says_who_is_calling(plain):
            raise EgressRefused(f"header {name[:64]!r} says who is calling, which only the operator may; remove it")
        if plain in _METHOD_OVERRIDES:
            raise EgressRefused(
                f"header {name[:64]!r} would change the method that the gate authorized; use that method itself"
            )
    return wire_headers(kept)


def wire_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Check the headers of a request, the host's own included. Raises `EgressRefused` naming the header."""
    if len(headers) > MAX_HEADERS:
        raise EgressRefused(f"the request has {len(headers)} headers, {MAX_HEADERS} are allowed")
    out: dict[str, str] = {}
    seen: set[str] = set()
    for name, value in headers.items():
        plain = folded(name)
        if not _NAME.fullmatch(name) or len(name) > MAX_HEADER_NAME:
            raise EgressRefused(f"header name {name[:64]!r} is not valid; use letters, digits and hyphens")
        if plain in seen:
            raise EgressRefused(f"header {name!r} is given twice, in different case or with _ for -; give it once")
        if plain in _HOP_BY_HOP or plain in _FRAMING:
            raise EgressRefused(f"header {name!r} is set by the operator; remove it")
        if not _VALUE.fullmatch(value):
            raise EgressRefused(f"the value of header {name!r} has a control or non-ASCII character; encode it")
        if len(value) > MAX_VALUE:
            raise EgressRefused(f"the value of header {name!r} has {len(value)} bytes, {MAX_VALUE} are allowed")
        seen.add(plain)
        out[name] = value.strip(" \t")
    total = sum(len(name) + len(value) for name, value in out.items())
    if total > MAX_TOTAL:
        raise EgressRefused(f"the headers have {total} bytes, {MAX_TOTAL} are allowed")
    return out


def response_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """What a module sees of an answer's headers: names in lower case, repeated ones joined by ", " (RFC 9110 5.3).

    Set-Cookie is left out, since it cannot be joined and the host keeps no cookies; so are hop-by-hop headers. The
    client's parser bounds count and size.
    """
    out: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name = raw_name.decode("ascii", "replace").lower()
        if name in _NOT_SHOWN:
            continue
        value = raw_value.decode("utf-8", "replace")
        out[name] = f"{out[name]}, {value}" if name in out else value
    return out
