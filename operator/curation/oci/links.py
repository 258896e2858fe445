"""What a registry's `Link` header (RFC 8288) names as the next part of a list. Pure."""

import re
from typing import Final

_MAX_HEADER: Final = 8192
_TARGET: Final = re.compile(r"[\s,]*<([^<>]*)>")
_PARAMETER: Final = re.compile(r"\s*;\s*(?:([A-Za-z][A-Za-z*_-]*)(?:\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s\",;]*)))?)?")


def next_part(header: str) -> str | None:
    """The target of the first link with the relation `next`; None if there is none."""
    header = header[:_MAX_HEADER]
    at = 0
    while (target := _TARGET.match(header, at)) is not None:
        at = target.end()
        relations: list[str] | None = None
        while (parameter := _PARAMETER.match(header, at)) is not None:
            at = parameter.end()
            name, quoted, plain = parameter.groups()
            # Section 3.3: of several the first one counts.
            if relations is None and (name or "").lower() == "rel":
                relations = ((quoted if quoted is not None else plain) or "").lower().split()
        if "next" in (relations or ()):
            return target[1].strip()
    return None
