"""What a registry asks for in `WWW-Authenticate` (RFC 9110 section 11.6.1). Pure."""

import re
from dataclasses import dataclass
from typing import Final

_MAX_HEADER: Final = 8192
_SCHEME: Final = re.compile(r"[\s,]*([A-Za-z][A-Za-z0-9-]*)(?:[ \t]+|$|(?=,))")
_PARAMETER: Final = re.compile(r"[\s,]*([A-Za-z_][A-Za-z0-9_-]*)[ \t]*=[ \t]*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]+))")
_QUOTED: Final = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One of them: its scheme in lower case, and its parameters."""

    scheme: str
    parameters: dict[str, str]


def challenges(header: str) -> list[Challenge]:
    """All that the header has, until something in it is not of the form."""
    header = header[:_MAX_HEADER]
    found: list[Challenge] = []
    at = 0
    while (scheme := _SCHEME.match(header, at)) is not None and scheme.end() > at:
        at = scheme.end()
        parameters: dict[str, str] = {}
        while (parameter := _PARAMETER.match(header, at)) is not None:
            name, quoted, plain = parameter.groups()
            parameters.setdefault(name.lower(), plain if quoted is None else _QUOTED.sub(r"\1", quoted))
            at = parameter.end()
        found.append(Challenge(scheme[1].lower(), parameters))
    return found
