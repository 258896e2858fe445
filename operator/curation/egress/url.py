"""One parser and one form for URLs: what a policy decides about, what is connected to, and what an approval records.

Called by `execution.calls` before the gate is asked. Strict where leniency has made parsers disagree: what another
program could read differently is refused, never repaired.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from curation.api.approval import EvaluatedRequest
from curation.api.names import Trigger
from curation.egress.errors import EgressRefused
from curation.egress.host import canonical_host

MAX_URL: Final = 8192
"""Characters of a canonical path, and of a query: the bounds of an approval's tuple. A common server's limit, too."""

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""CONNECT opens a tunnel, TRACE echoes credentials; others have no meaning that a policy author could know."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_SPLIT: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?]*)(?P<path>[^?]*)(?:\?(?P<query>.*))?"
)
# RFC 3986 sections 2.2, 2.3 and 3.3: unreserved, sub-delims, ":" and "@"; the query may have "/" and "?" as well.
_UNRESERVED: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
_PATH_SAFE: Final = "!$&'()*+,;=:@/"
_QUERY_SAFE: Final = _PATH_SAFE + "?"
# Reserved characters that servers read alike with and without the escape. Were they two forms, a forbid of "*:delete"
# would not match "%3Adelete". Not among them: what separates something ("/" and "?" in a path, ";" and "=" of path
# parameters, "&" and "=" of a query) and "+", which some take for a blank.
_PATH_PLAIN: Final = "!$&'()*,:@"
_QUERY_PLAIN: Final = "!$'()*,:@/?"
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})?")
_MAX_DECODINGS: Final = 4
_KNOWN: Final = 1024
"""URLs whose form is kept, those that were asked about last."""
_MAX_KNOWN: Final = 512
"""Characters of one; longer ones are parsed each time."""


@dataclass(frozen=True, slots=True)
class CanonicalURL:
    """A URL in its one form: lower-case scheme and host, explicit port, path from "/", query without "?"."""

    scheme: str
    host: str
    port: int
    path: str
    query: str

    @property
    def origin(self) -> str:
        """``scheme://host:port``, the port always given."""
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def target(self) -> str:
        """The request target: path, and "?" with the query if there is one."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def url(self) -> str:
        """The whole text."""
        return self.origin + self.target

    def __str__(self) -> str:
        return self.url


def canonical_method(text: str) -> str:
    """The method in upper case. Raises `EgressRefused` for one that is not allowed."""
    method = text.upper() if text.isascii() else text
    if method not in METHODS:
        raise EgressRefused(f"method {text[:32]!r} is not allowed; use one of {', '.join(sorted(METHODS))}")
    return method


def parse_url(text: str) -> CanonicalURL:
    """Parse an absolute http or https URL into its one form. Raises `EgressRefused` with the remedy."""
    return _known(text) if len(text) <= _MAX_KNOWN else _parsed(text)


def _parsed(text: str) -> CanonicalURL:
    _plain(text)
    match = _SPLIT.fullmatch(text)
    if match is None:
        raise EgressRefused(f"{text[:64]!r} is no absolute URL; write http://HOST/PATH or https://HOST/PATH")
    scheme = match["scheme"].lower()
    if scheme not in _DEFAULT_PORTS:
        raise EgressRefused(f"scheme {scheme[:32]!r} is not supported; use http or https")
    host, port = _authority(match["authority"], _DEFAULT_PORTS[scheme])
    query = _normal(match["query"] or "", _QUERY_SAFE, _QUERY_PLAIN, "query")
    return CanonicalURL(scheme, host, port, _path(match["path"]), query)


# A session is asked about at the same URL again and again.
_known: Final = lru_cache(_KNOWN)(_parsed)


def evaluated_request(
    url: CanonicalURL, method: str, *, module: str, digest: str, trigger: Trigger
) -> EvaluatedRequest:
    """What the gate is asked of a call: the one way to make it, so that every command asks what a run does.

    Raises `EgressRefused` for a method that is not allowed, ValidationError for what an approval could not record.
    """
    known = len(url.path) + len(url.query) <= _MAX_KNOWN
    return (_made_before if known else _made)(url, canonical_method(method), module, digest, trigger)


def _made(url: CanonicalURL, method: str, module: str, digest: str, trigger: Trigger) -> EvaluatedRequest:
    return EvaluatedRequest(
        module=module,
        module_digest=digest,
        trigger=trigger,
        method=method,
        scheme=url.scheme,
        host=url.host,
        port=url.port,
        path=url.path,
        query=url.query,
    )


_made_before: Final = lru_cache(_KNOWN)(_made)


def _plain(text: str) -> None:
    if len(text) > 2 * MAX_URL:
        raise EgressRefused(f"the URL has {len(text)} characters, {2 * MAX_URL} are allowed")
    # What is printable ASCII has none of these, and need not be looked at character by character.
    for char in "" if text.isascii() and text.isprintable() and " " not in text else text:
        # Blanks and controls of any script; Cf has the zero-width and bidirectional marks, Cs what is no Unicode.
        if char.isspace() or unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"}:
            raise EgressRefused(f"the URL contains {char!a}; percent-encode it in a path or query, or remove it")
    if "\\" in text:
        raise EgressRefused("the URL contains a backslash; use / or write %5C in a query")
    if "#" in text:
        raise EgressRefused(
            "the URL has a fragment (#), which is never sent; remove it, or write %23 in a path or query"
        )


def _authority(text: str, default_port: int) -> tuple[str, int]:
    if "@" in text:
        raise EgressRefused("the URL has a user name or password before @; use spec.credentials of the module instead")
    host, colon, port = text, "", ""
    if not text.endswith("]"):
        host, colon, port = text.rpartition(":") if ":" in text else (text, "", "")
    host = canonical_host(host)
    if not colon or not port:
        return host, default_port
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise EgressRefused(f"port {port[:16]!r} is not a number from 1 to 65535")
    return host, int(port)


def _normal(text: str, safe: str, plain: str, part: str) -> str:
    """One way to write each octet: itself if RFC 3986 allows it there, else ``%XX`` in upper case.

    An escape of an unreserved or plain character becomes that character; one of another reserved character stays an
    escape, since the two mean different things (``%2F`` is not ``/`` in a path).
    """

    def escape(match: re.Match[str]) -> str:
        if match[1] is None:
            raise EgressRefused(f"the {part} has a % that starts no escape; write %25 for a percent sign")
        char = chr(int(match[1], 16))
        return char if char in _UNRESERVED or char in plain else f"%{match[1].upper()}"

    unescaped = _ESCAPE.sub(escape, text)
    out = "".join(
        char if char in _UNRESERVED or char in safe or char == "%" else quote_from_bytes(char.encode(), safe="")
        for char in unescaped
    )
    if len(out) > MAX_URL:
        raise EgressRefused(f"the {part} has {len(out)} characters, {MAX_URL} are allowed")
    return out


def _path(text: str) -> str:
    path = _remove_dot_segments(_normal(text, _PATH_SAFE, _PATH_PLAIN, "path"))
    _unambiguous(path)
    return path or "/"


def _remove_dot_segments(path: str) -> str:
    # RFC 3986 section 5.2.4, for a path that is empty or starts with a slash.
    out: list[str] = []
    segments = path.split("/")[1:]
    for last, segment in ((at == len(segments) - 1, segment) for at, segment in enumerate(segments)):
        if segment == "..":
            del out[-1:]
        if segment not in {".", ".."}:
            out.append(segment)
        elif last:
            out.append("")
    return "/" + "/".join(out) if segments else ""


def _unambiguous(path: str) -> None:
    """Refuse what a server that decodes once more, or knows path parameters, would take for another path."""
    decoded = path.encode("ascii")
    for _ in range(_MAX_DECODINGS):
        if any(octet < 0x20 or octet == 0x7F for octet in decoded):
            raise EgressRefused("the path has an encoded control character; remove it")
        for segment in decoded.replace(b"\\", b"/").split(b"/"):
            if segment.split(b";")[0] in {b".", b".."}:
                raise EgressRefused(
                    "the path has a hidden dot segment (such as ..%2f, %252e%252e or ..;); write the path it leads to"
                )
        once_more = unquote_to_bytes(decoded)
        if once_more == decoded:
            return
        decoded = once_more
    raise EgressRefused(f"the path is percent-encoded more than {_MAX_DECODINGS - 1} times; encode it once")
