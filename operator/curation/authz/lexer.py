"""Cedar's tokens, as far as a bound needs them: it must never take for a string or comment what Cedar takes for code.

Called by `scan` only. Cedar's lexer: strings are `"(\\.|[^"\\])*"` and may span lines; a comment runs from `//` to the
first line feed *or carriage return* (so `// \r ((((` is code, measured); any character that starts no token ends the
parse, so what follows it does no harm.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class TokenKind(Enum):
    """What a token is."""

    STRING = auto()
    WORD = auto()
    SYMBOL = auto()


@dataclass(frozen=True, slots=True)
class Token:
    """One token, with the line it starts on (from 1) and its place in the text."""

    kind: TokenKind
    text: str
    line: int
    start: int
    end: int


# DOTALL: an escape may be a backslash and a line feed.
_TOKEN: Final = re.compile(
    r"""
    (?P<skip>\s+|//[^\n\r]*)
  | (?P<string>"(?:\\.|[^"\\])*+")
  | (?P<word>[A-Za-z0-9_]+)
  | (?P<symbol>&&|\|\||==|!=|<=|>=|::|.)
    """,
    re.VERBOSE | re.DOTALL,
)

_LINE_FEED: Final = "\n"


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a text, without blanks and comments. Never fails: what is no token is a symbol.

    It ends at an unterminated string, as Cedar's lexer does; to go on after each lone quote would take quadratic time.
    """
    line = 1
    for match in _TOKEN.finditer(text):
        kind, start, end = match.lastgroup, match.start(), match.end()
        if kind != "skip":
            which = TokenKind.STRING if kind == "string" else TokenKind.WORD if kind == "word" else TokenKind.SYMBOL
            yield Token(which, match.group(), line, start, end)
            if match.group() == '"':
                return
        line += text.count("\n", start, end)


def place(text: str, at: int) -> str:
    """Where a character of a text is, in words, as editors count: both from 1."""
    return f"line {text.count(_LINE_FEED, 0, at) + 1}, column {at - text.rfind(_LINE_FEED, 0, at)}"
