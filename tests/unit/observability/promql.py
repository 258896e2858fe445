"""What a PromQL expression reads: its metrics, the labels it matches on, the labels it groups or joins by.

A tokenizer and no parser: enough for expressions of our own, which promtool parses (`test_alert_rules`).
"""

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*")|(?P<variable>\$__?\w+)|(?P<duration>\d+[smhdwy])|(?P<number>\d+(?:\.\d+)?)'
    r"|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)|(?P<operator>=~|!~|!=|==|<=|>=|[-+*/%^<>=(){}\[\],])|(?P<space>\s+)"
)
_GROUPING = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_WORDS = frozenset({"and", "or", "unless", "offset", "bool"})


@dataclass
class Query:
    """What an expression reads."""

    metrics: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    """Each metric, with the matchers on it: label and value."""
    grouped_by: set[str] = field(default_factory=set)
    """Labels of by, on and the like."""
    aggregates: bool = False


def read(expression: str) -> Query:
    """Read an expression. Raises ValueError at what is no token of PromQL."""
    query, tokens = Query(), _tokens(expression)
    at = 0
    while at < len(tokens):
        kind, text = tokens[at]
        following = tokens[at + 1][1] if at + 1 < len(tokens) else ""
        at += 1
        if kind != "name" or text in _WORDS:
            continue
        if text in _GROUPING:
            query.aggregates = query.aggregates or text == "by"
            end = tokens.index(("operator", ")"), at)
            query.grouped_by.update(name for what, name in tokens[at:end] if what == "name")
            at = end
        elif following == "(":
            query.aggregates = query.aggregates or text in ("sum", "max", "min", "count", "avg")
        elif not (following in _GROUPING and text in ("sum", "max", "min", "count", "avg")):
            matchers = query.metrics.setdefault(text, set())
            if following == "{":
                end = tokens.index(("operator", "}"), at)
                inside = [token for token in tokens[at + 1 : end] if token[1] != ","]
                for label, _, value in zip(inside[::3], inside[1::3], inside[2::3], strict=True):
                    matchers.add((label[1], value[1].strip('"')))
                at = end
    return query


def _tokens(expression: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None:
            raise ValueError(f"no token of PromQL at {expression[at:]!r}")
        if match.lastgroup != "space":
            found.append((str(match.lastgroup), match.group()))
        at = match.end()
    return found
