"""A scan of policy text before Cedar gets it: bounds that keep the parser's process alive, and where each policy is.

cedarpy's parser recurses on the native stack without a guard; a text that nests too deeply ends the whole process with
SIGSEGV, which no `except` can catch. Measured with cedarpy 4.12.2 on x86-64, first size that crashes or misbehaves:

    text                              8 MiB stack     2 MiB stack
    ((( ... )))  or [[[ or {a:{a:     640 levels      160 levels     SIGSEGV
    (!(-( ... )))                     620 levels      153 levels     SIGSEGV
    (if true then true else ( ...     570 levels      140 levels     SIGSEGV
    if .. else if .. else if          none in 64 KiB  1068           SIGSEGV
    a && b && c, ||, +, *             1640 operators  390 operators  "recursion limit reached" in each decision
    a.b.c.d  (chains of members)      1640            390            the same
    context has a.a.a.a               32740: 50 s of validation, cubic in the length
    path like "*aa...ab"              0.7 s in each decision, for 64 KiB of it and a path of 8 KiB
    !!!!!! and ------                 Cedar itself refuses more than four

Python threads have 8 MiB where `ulimit -s` says so, 2 MiB where it says unlimited. The bounds hold for both, but for
the operator chains: 1000 operators need 5 MiB of stack, and where there is less the decision is a deny with an error.
"""

from dataclasses import dataclass
from typing import Final

from curation.api.names import MAX_CEDAR_BYTES
from curation.authz.lexer import Token, TokenKind, place, tokens

MAX_BRACKETS: Final = 64
"""Brackets of any kind inside each other."""
MAX_IFS: Final = 256
"""`if` expressions in one text."""
MAX_OPERATORS: Final = 1000
"""`&&`, `||`, `+`, `-`, `*` in one policy: a chain of n nests n deep in Cedar's tree."""
MAX_MEMBER_CHAIN: Final = 16
"""`.a`, `.f()`, `["a"]` after one another on the same value; our schema needs two."""

MAX_SEARCHED: Final = 2048
"""Characters after the first `*` of all `like` patterns of one text: each is searched for at every place of a value."""

_OPEN: Final = {"(": ")", "[": "]", "{": "}"}
_CLOSE: Final = frozenset(_OPEN.values())
_CHAINED: Final = frozenset({"&&", "||", "+", "-", "*"})
_KEYWORDS: Final = frozenset({"if", "then", "else", "has", "like", "in", "is", "when", "unless"})


class ScanRefused(ValueError):
    """The text is over a bound, or no text at all; the message says where, and which bound."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One policy of a text: where it is, and the value of its ``@id`` annotation if that is plain."""

    line: int
    start: int
    end: int
    id: str | None
    forbids: bool
    """Whether it is a forbid; of a text that does not parse it means nothing."""


@dataclass(slots=True)
class _Frame:
    """One open bracket: how many members are chained on the value last seen in it, and whether it indexes a value."""

    closes: str
    indexes: bool
    members: int = 0
    on_value: bool = False


def scan(text: str) -> tuple[Statement, ...]:
    """Check the bounds and find the statements, in order. Raises `ScanRefused`."""
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as exc:
        raise ScanRefused("the text is not Unicode: it has a lone surrogate; save it as UTF-8") from exc
    if size > MAX_CEDAR_BYTES:
        raise ScanRefused(f"the text has {size} bytes, {MAX_CEDAR_BYTES} are allowed; split it into several policies")
    return _Scan(text).run()


def name_of(statement: Statement, index: int) -> str:
    """The @id of a policy, or its index in the text, counted from 0 as Cedar counts."""
    return str(index) if statement.id is None else statement.id


def policy_name(statement: Statement, index: int) -> str:
    """How messages name a policy of a text."""
    return f"policy {index}" if statement.id is None else f'policy {index} (@id "{statement.id}")'


class _Scan:
    """State of one pass over the tokens."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._frames = [_Frame("", False)]
        self._ifs = 0
        self._operators = 0
        self._searched = 0
        self._after_like = False
        self._statements: list[Statement] = []
        self._current: list[Token] = []

    def run(self) -> tuple[Statement, ...]:
        for token in tokens(self._text):
            self._bracket(token)
            self._count(token)
            self._collect(token)
        if self._current:
            self._finish(len(self._text))
        return tuple(self._statements)

    def _bracket(self, token: Token) -> None:
        if token.text in _OPEN:
            indexes = token.text == "[" and self._frames[-1].on_value
            self._frames.append(_Frame(_OPEN[token.text], indexes))
            if len(self._frames) - 1 > MAX_BRACKETS:
                raise ScanRefused(
                    f"{self._at(token)}: brackets nest deeper than {MAX_BRACKETS}; write a flatter policy"
                )
        elif token.text in _CLOSE and token.text == self._frames[-1].closes:
            indexed = self._frames.pop().indexes
            self._frames[-1].on_value = True
            if indexed:
                self._member(token)
        # An unmatched closing bracket is Cedar's to report: its parser stops there.

    def _count(self, token: Token) -> None:
        frame = self._frames[-1]
        if token.text == ".":
            self._member(token)
        elif token.kind is TokenKind.STRING or (token.kind is TokenKind.WORD and token.text not in _KEYWORDS):
            frame.on_value = True
        elif token.text not in _OPEN and token.text not in _CLOSE:
            frame.on_value, frame.members = False, 0
        if self._after_like and token.kind is TokenKind.STRING:
            self._searched += len(token.text.partition("*")[2])
            if self._searched > MAX_SEARCHED:
                raise ScanRefused(
                    f"{self._at(token)}: more than {MAX_SEARCHED} characters after the first * of `like` patterns in "
                    "one text; split it, or compare with == where nothing varies"
                )
        self._after_like = token.text == "like"
        if token.text == "if":
            self._ifs += 1
            if self._ifs > MAX_IFS:
                raise ScanRefused(f"{self._at(token)}: more than {MAX_IFS} `if` in one text; split it")
        elif token.text in _CHAINED:
            self._operators += 1
            if self._operators > MAX_OPERATORS:
                raise ScanRefused(
                    f"{self._at(token)}: more than {MAX_OPERATORS} operators (&& || + - *) in one policy; "
                    'split it, or use a set: ["a", "b"].contains(resource.host)'
                )

    def _at(self, token: Token) -> str:
        return place(self._text, token.start)

    def _member(self, token: Token) -> None:
        frame = self._frames[-1]
        frame.members += 1
        if frame.members > MAX_MEMBER_CHAIN:
            raise ScanRefused(f"{self._at(token)}: more than {MAX_MEMBER_CHAIN} members chained on one value")

    def _collect(self, token: Token) -> None:
        self._current.append(token)
        if token.text == ";" and len(self._frames) == 1:
            self._finish(token.end)
            self._operators = 0

    def _finish(self, end: int) -> None:
        first = self._current[0]
        self._statements.append(Statement(first.line, first.start, end, _id(self._current), _forbids(self._current)))
        self._current = []


def _forbids(statement: list[Token]) -> bool:
    depth, before = 0, ""
    for token in statement:
        # The effect is the first word outside of annotations: @forbid("...") is one.
        if depth == 0 and token.kind is TokenKind.WORD and before != "@":
            return token.text == "forbid"
        depth += (token.text == "(") - (token.text == ")")
        before = token.text
    return False


def _id(statement: list[Token]) -> str | None:
    for at, name, paren, value in zip(statement, statement[1:], statement[2:], statement[3:], strict=False):
        if at.text != "@" and at is statement[0]:
            return None
        if (at.text, name.text, paren.text) == ("@", "id", "(") and value.kind is TokenKind.STRING:
            literal = value.text[1:-1]
            # Only what is safe to print and unambiguous names a policy; any other is named by its index.
            plain = literal.isprintable() and "\\" not in literal and "#" not in literal
            return literal if plain and 0 < len(literal) <= 128 else None
        if name.text == "{":
            return None
    return None
