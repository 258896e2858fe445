"""The credentials of one origin: the headers that a request to it gets, and that its answer must not reveal.

Called by `calls` for each request of a module.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from curation.egress.url import CanonicalURL

MASK: Final = "[credential]"
"""Replaces a credential that the service had written into an answer."""

_SHORTEST_MASKED: Final = 8
"""Characters of a value; shorter ones are no secret, and replacing them would change unrelated text."""


@dataclass(frozen=True, slots=True)
class OriginCredential:
    """A header that the host adds to requests to exactly one origin; the module never sees it."""

    scheme: str
    host: str
    port: int
    header: str
    value: str = field(repr=False)


def of_origin(credentials: Iterable[OriginCredential], url: CanonicalURL) -> dict[str, str]:
    """The headers and values that a request to this URL gets."""
    return {
        each.header: each.value
        for each in credentials
        if (each.scheme, each.host, each.port) == (url.scheme, url.host, url.port)
    }


def masked(text: str, values: Iterable[str]) -> str:
    """The text without the values, as far as they occur word for word, with or without their scheme (Bearer).

    Else a service that repeats what it was sent (an error page, a debugging endpoint) would reveal it to the module.
    """
    parts = {part for value in values for part in (value, value.partition(" ")[2].strip())}
    # The longest first: one that another begins with would leave the rest of the longer one readable.
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= _SHORTEST_MASKED:
            text = text.replace(part, MASK)
    return text
