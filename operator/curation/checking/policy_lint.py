"""What is valid in a policy and most likely not meant: warnings, each with its place and the remedy.

They are heuristics over the tokens: a warning keeps nothing from taking effect, and none proves nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from curation.api.clipping import clip
from curation.authz.lexer import Token, TokenKind, place, tokens
from curation.authz.scan import Statement, policy_name, scan
from curation.egress.errors import EgressRefused
from curation.egress.host import canonical_host

MAX_WARNINGS: Final = 10
"""Of one text. The API server shows 4096 characters of all warnings of a request."""
MAX_WARNING_CHARS: Final = 250
"""Of one: the API server cuts them at 256."""

_SHOWN: Final = 60
_HOST: Final = ("resource", ".", "host")
_METHOD: Final = ("context", ".", "method")
_PATHS: Final = (("context", ".", "path"), ("resource", ".", "path"), ("context", ".", "url"))
_NAMING: Final = (("principal", ".", "digest"), ("context", ".", "module"), _HOST, ("context", ".", "url"))
_BINDING: Final = (("principal", ".", "digest"), ("principal", ".", "namespace"), ("context", ".", "namespace"))
# A pattern that goes on after one of these matches no longer name than was meant.
_ENDS: Final = "/?=&#"


def lint_policy(text: str, *, cluster: bool) -> list[str]:
    """Warnings about a text that is valid; `cluster` says that it counts in every namespace."""
    found: list[str] = []
    for index, statement in enumerate(scan(text)):
        inside = list(tokens(text[statement.start : statement.end]))
        for token, said in _warnings(statement, inside, cluster):
            where = f"{policy_name(statement, index)}, {place(text, statement.start + token.start)}"
            found.append(clip(f"{where}: {said}", MAX_WARNING_CHARS, "..."))
    more = len(found) - MAX_WARNINGS
    return [*found[:MAX_WARNINGS], f"and {more} warnings more"] if more > 0 else found


def _warnings(statement: Statement, inside: list[Token], cluster: bool) -> Iterator[tuple[Token, str]]:
    code = _without_annotations(inside)
    for at, token in enumerate(code):
        if token.kind is TokenKind.STRING:
            yield from ((token, said) for said in _of_string(code, at, _value(token)))
    if statement.forbids or not code:
        return
    if not _names(code):
        yield (
            code[0],
            "this permit names neither a module nor a host, so any module may call any server: add "
            'principal == Agent::"NAME" and resource == HttpEndpoint::"HOST"',
        )
    elif cluster and not any(_has(code, binding) for binding in _BINDING):
        yield (
            code[0],
            "this permit counts in every namespace, and anybody can give a module any name: bind it with "
            "principal.digest or principal.namespace",
        )


def _of_string(code: Sequence[Token], at: int, value: str) -> Iterator[str]:
    before = _texts(code, at - 4, at)
    # An escape is Cedar's to resolve: what the text means is not known here.
    if "\\" in value:
        return
    if before[-2:] == ("HttpEndpoint", "::") or _compared(code, at, _HOST):
        yield from _host(value)
    if (_compared(code, at, _METHOD) or _listed_for(code, at, _METHOD)) and value != value.upper():
        yield f'a method is in upper case, so "{_cut(value)}" matches no call: write "{_cut(value.upper())}"'
    if before[-1:] == ("like",) and before[-4:-1] in _PATHS:
        stem = value.removesuffix("*")
        if stem != value and stem and stem[-1] not in _ENDS and not stem.endswith("*"):
            yield (
                f'"{_cut(value)}" also matches names that merely begin like "{_cut(stem)}": end it with "/*", and '
                "compare with == for the name itself"
            )


def _host(value: str) -> Iterator[str]:
    try:
        canonical = canonical_host(value)
    except EgressRefused as error:
        yield f"no call has this host: {error}"
        return
    if canonical != value:
        yield f'a call\'s host is in its canonical form, so "{_cut(value)}" matches none: write "{canonical}"'


def _compared(code: Sequence[Token], at: int, value: tuple[str, str, str]) -> bool:
    """Whether the string is compared with this attribute, on either side."""
    before, after = _texts(code, at - 4, at), _texts(code, at + 1, at + 5)
    return (before[-1:] in (("==",), ("!=",)) and before[-4:-1] == value) or (
        after[:1] in (("==",), ("!=",)) and after[1:] == value
    )


def _listed_for(code: Sequence[Token], at: int, value: tuple[str, str, str]) -> bool:
    """Whether the string is in a set that is asked for this attribute: ["A", "b"].contains(value)."""
    start, end = at, at
    while start > 0 and (code[start - 1].text == "," or code[start - 1].kind is TokenKind.STRING):
        start -= 1
    while end + 1 < len(code) and (code[end + 1].text == "," or code[end + 1].kind is TokenKind.STRING):
        end += 1
    return (
        _texts(code, start - 1, start) == ("[",)
        and _texts(code, end + 1, end + 5) == ("]", ".", "contains", "(")
        and _texts(code, end + 5, end + 8) == value
    )


def _names(code: Sequence[Token]) -> bool:
    """Whether a permit names a module or a host anywhere."""
    texts = [token.text for token in code]
    return "Agent" in texts or "HttpEndpoint" in texts or any(_has(code, naming) for naming in _NAMING)


def _has(code: Sequence[Token], texts: tuple[str, ...]) -> bool:
    return any(_texts(code, at, at + len(texts)) == texts for at in range(len(code)))


def _texts(code: Sequence[Token], start: int, end: int) -> tuple[str, ...]:
    return tuple(token.text for token in code[max(start, 0) : max(end, 0)])


def _cut(text: str) -> str:
    return clip(text, _SHOWN)


def _value(token: Token) -> str:
    return token.text[1:-1]


def _without_annotations(inside: list[Token]) -> list[Token]:
    """The policy from its effect on."""
    depth, before = 0, ""
    for at, token in enumerate(inside):
        if depth == 0 and token.kind is TokenKind.WORD and before != "@":
            return inside[at:]
        depth += (token.text == "(") - (token.text == ")")
        before = token.text
    return []
