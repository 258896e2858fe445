"""Is a policy text valid? The one answer for a policy's status, for the gate, and for `kubectl curation check-policy`.

Traps of cedarpy 4.12.2, all measured: `validate_policies` never raises, not even for a text that does not parse (an
error with an empty policy id); `PolicySet.from_str` raises ValueError; `is_authorized` never raises on bad input but
answers NoDecision with an error; no error says line or column, nor a parse error which policy it is in, so the
statements are parsed one by one to find it; `len(PolicySet)` does not count templates, which nevertheless take a
positional id; a text that cannot be encoded as UTF-8 raises UnicodeEncodeError.
"""

import re
from typing import Final

import cedarpy

from curation.api.clipping import clip
from curation.authz.check_result import PolicyCheck
from curation.authz.lexer import Token, place, tokens
from curation.authz.parsed_schema import schema
from curation.authz.scan import ScanRefused, Statement, policy_name, scan

MAX_ERRORS: Final = 5
"""How many errors a message lists."""
MAX_PINPOINTED: Final = 8192
"""Characters of a statement in which the line of an error is searched for; of a longer one the first line is named."""
MAX_ERROR_CHARS: Final = 300
"""Of one error: Cedar prints whole types."""

_UNENDED: Final = "unexpected end of input"
_NAMED: Final = re.compile(r"(?<=['`])[^'`]+(?=['`])|(?<=: )\w+$")
_POSITIONAL: Final = re.compile(r"for policy `policy\d+`, ")


def check_policy(text: str) -> PolicyCheck:
    """Scan, parse and strictly validate a policy text against the shipped schema. Pure, and the same offline."""
    try:
        statements = scan(text)
    except ScanRefused as exc:
        return PolicyCheck(False, 0, "ParseError", str(exc))
    try:
        parsed = cedarpy.PolicySet.from_str(text)
    except ValueError as exc:
        return PolicyCheck(False, 0, "ParseError", _locate(text, statements, exc))
    return _templates(text, parsed, statements) or _validate(text, len(parsed), statements)


def _locate(text: str, statements: tuple[Statement, ...], whole: ValueError) -> str:
    for index, statement in enumerate(statements):
        try:
            cedarpy.PolicySet.from_str(text[statement.start : statement.end])
        except ValueError as exc:
            short = statement.end - statement.start <= MAX_PINPOINTED
            at, hint = _pinpoint(text, statement, str(exc)) if short else (statement.start, "")
            return f"{_where(text, statement, index, at)}: {_short(str(exc))}{hint}"
    return _short(str(whole))


def _pinpoint(text: str, statement: Statement, message: str) -> tuple[int, str]:
    """The place of a statement's error, which Cedar does not say, and a question where a semicolon may be missing.

    What comes before the error is the beginning of a policy, at whose end Cedar misses the rest: so the first token
    with which it says something else is where the error is. Found by halving: 13 parses of 8 KiB at the most.
    """
    found = list(tokens(text[statement.start : statement.end]))
    low, high = 0, len(found) - 1
    while low < high:
        middle = (low + high) // 2
        if _begins(text[statement.start : statement.start + found[middle].end]):
            low = middle + 1
        else:
            high = middle
    at, closed = found[low], low > 0 and found[low - 1].text in (")", "}")
    if at.text in ("permit", "forbid", "@") and closed:
        return statement.start + at.start, "; is a semicolon missing before it?"
    if low > 1 and found[low - 1].text in ("permit", "forbid") and found[low - 2].text in (")", "}"):
        return statement.start + found[low - 1].start, f"; is a semicolon missing before {found[low - 1].text}?"
    if _UNENDED in message:
        missing = at.text in (")", "}") and _balanced(found)
        return statement.start + at.start, "; is a semicolon missing at its end?" if missing else ""
    # Some errors come after the grammar's, when all is read: what is wrong is named then.
    return statement.start + (_named_in(found, message) or at).start, ""


def _named_in(found: list[Token], message: str) -> Token | None:
    """The one token that a message names, if there is one."""
    names = _NAMED.findall(message)
    named = [token for token in found if token.text in names or token.text.strip('"') in names]
    return named[0] if len(named) == 1 else None


def _balanced(found: list[Token]) -> bool:
    texts = [token.text for token in found]
    return all(texts.count(opened) == texts.count(closed) for opened, closed in ("()", "[]", "{}"))


def _begins(text: str) -> bool:
    """Whether nothing is wrong with the text but that it ends too early."""
    try:
        cedarpy.PolicySet.from_str(text)
    except ValueError as exc:
        return _UNENDED in str(exc)
    return True


def _templates(text: str, parsed: cedarpy.PolicySet, statements: tuple[Statement, ...]) -> PolicyCheck | None:
    # A template decides nothing until it is linked, and nothing links it here: a forbid written as one would be silent.
    names = [_named(text, str(template["id"]), statements) for template in parsed.templates()]
    if not names:
        return None
    message = (
        f"{_listed(sorted(names))}: a template (?principal or ?resource) decides nothing here; "
        'name the module or host instead, as in principal == Agent::"build-session-message"'
    )
    return PolicyCheck(False, len(parsed), "ValidationError", message)


def _validate(text: str, count: int, statements: tuple[Statement, ...]) -> PolicyCheck:
    result = cedarpy.validate_policies(text, schema())
    if result.validation_passed:
        return PolicyCheck(True, count, "Valid", _counted(count))
    errors = sorted({(_index(e.policy_id), _POSITIONAL.sub("", _short(e.error))) for e in result.errors})
    parts = [
        f"{_where(text, statements[i], i, _place_of(text, statements[i], error))}: {error}"
        if i < len(statements)
        else error
        for i, error in errors[: MAX_ERRORS + 1]
    ]
    parts += [error for _, error in errors[MAX_ERRORS + 1 :]]
    return PolicyCheck(False, count, "ValidationError", _listed(parts))


def _counted(count: int) -> str:
    if count == 0:
        return "no policies: this text permits and forbids nothing"
    return "1 policy" if count == 1 else f"{count} policies"


def _place_of(text: str, statement: Statement, error: str) -> int:
    """Where what an error names is, if it is there once; else where its policy begins."""
    if statement.end - statement.start > MAX_PINPOINTED:
        return statement.start
    named = _named_in(list(tokens(text[statement.start : statement.end])), error)
    return statement.start + (0 if named is None else named.start)


def _named(text: str, policy_id: str, statements: tuple[Statement, ...]) -> str:
    index = _index(policy_id)
    return _where(text, statements[index], index, statements[index].start) if index < len(statements) else policy_id


def _index(policy_id: str) -> int:
    digits = policy_id.removeprefix("policy")
    return int(digits) if digits.isdecimal() else 1 << 30


def _where(text: str, statement: Statement, index: int, at: int) -> str:
    return f"{policy_name(statement, index)}, {place(text, at)}"


def _listed(parts: list[str]) -> str:
    more = len(parts) - MAX_ERRORS
    return "; ".join(parts[:MAX_ERRORS]) + (f"; and {more} more" if more > 0 else "")


def _short(message: str) -> str:
    one_line = " ".join(message.split())
    return clip(one_line, MAX_ERROR_CHARS, "...")
