"""Values that a CRD's schema admits, as a hypothesis strategy: drawn from the generated schema alone."""

import re
from datetime import datetime
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Schema = dict[str, Any]

_VALIDATIONS: Final = "x-kubernetes-validations"
_MATCHES: Final = re.compile(r"self\.matches\(r'([^']*)'\)")
_TEXT: Final = st.characters(codec="utf-8")
_JSON: Final = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.text(_TEXT, max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(_TEXT, max_size=6), inner, max_size=3),
    max_leaves=5,
)


def values(schema: Schema) -> SearchStrategy[Any]:
    """What the schema admits. Of its rules only those that match a pattern are kept to: the API server knows all."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object":
            return _objects(schema)
        case "array":
            return _lists(schema)
        case "string":
            return _strings(schema)
        case "integer":
            low, high = schema.get("minimum", -(2**63)), schema.get("maximum", 2**63 - 1)
            return st.integers(low, high) | st.sampled_from([low, high])
        case "boolean":
            return st.booleans()
        case _:
            return _JSON


def _objects(schema: Schema) -> SearchStrategy[Any]:
    if "additionalProperties" in schema:
        most = min(schema.get("maxProperties", 4), 4)
        return st.dictionaries(st.text(_TEXT, max_size=8), values(schema["additionalProperties"]), max_size=most)
    properties, required = schema.get("properties", {}), set(schema.get("required", ()))
    if not properties:
        return st.dictionaries(st.text(_TEXT, max_size=6), _JSON, max_size=3)
    return st.fixed_dictionaries(
        {name: values(child) for name, child in properties.items() if name in required},
        optional={name: values(child) for name, child in properties.items() if name not in required},
    )


def _lists(schema: Schema) -> SearchStrategy[Any]:
    keys = schema.get("x-kubernetes-list-map-keys")
    most = min(schema.get("maxItems", 3), 3)
    unique = (lambda item: tuple(str(item.get(key)) for key in keys)) if keys else None
    return st.lists(values(schema["items"]), min_size=schema.get("minItems", 0), max_size=most, unique_by=unique)


def _strings(schema: Schema) -> SearchStrategy[str]:
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", 64)
    patterns = [schema["pattern"]] if "pattern" in schema else []
    patterns += [found for rule in schema.get(_VALIDATIONS, ()) for found in _MATCHES.findall(rule["rule"])]
    drawn = (
        st.from_regex(re.compile(patterns[0], re.ASCII)).filter(lambda text: not text.endswith("\n"))
        if patterns
        else st.text(_TEXT, min_size=shortest, max_size=min(longest, 24))
    )
    for pattern in patterns[1:]:
        drawn = drawn.filter(re.compile(pattern, re.ASCII).search)
    drawn = drawn.filter(lambda text: shortest <= len(text) <= longest)
    if schema.get("format") == "date-time" or any(
        "format.datetime()" in rule["rule"] for rule in schema.get(_VALIDATIONS, ())
    ):
        drawn = drawn.filter(_is_a_time)
    return drawn


def _is_a_time(text: str) -> bool:
    """As the API server's format date-time decides: a day that is in the calendar, and a time of day."""
    try:
        datetime.fromisoformat(text[:10])
    except ValueError:
        return False
    return text[11:13] <= "23" and text[14:16] <= "59" and text[17:19] <= "59"
