"""Documents in and out say exactly what Python's own json would make of them."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.cluster import documents

TEXTS = [
    "123456789012345678901234567890",
    "-9223372036854775809",
    "18446744073709551616",
    "-0",
    "-0.0",
    "1e400",
    "-1e400",
    "1E5",
    "12345678901234567890.5",
    "2.2250738585072011e-308",
    "NaN",
    "[Infinity, -Infinity]",
    '"\\ud800"',
    '"\\ud83d\\ude00 \\u0000 \\/ \u2028"',
    '{"a": 1, "b": 2, "a": 3}',
    '{"\\ud800": 1}',
    ' { "a" : [ ] } ',
    "[" * 500 + "]" * 500,
]


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_read_is_what_json_reads(text: str) -> None:
    wanted, found = json.loads(text), documents.loads(text.encode())
    assert repr(found) == repr(wanted), "types and signs of zero too"


@pytest.mark.parametrize("text", [b"", b"{", b"[1,]", b"01", b"\xff", b"{} x", b"'a'"])
def test_what_is_no_json_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):
        documents.loads(text)


def test_other_encodings_are_read_as_json_reads_them() -> None:
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert documents.loads('{"a": "\u00e9"}'.encode(encoding)) == {"a": "\u00e9"}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_has_not_is_never_written_as_null(number: float) -> None:
    document = {"a": [number, None]}
    assert documents.body(document) == json.dumps(document).encode()
    assert documents.stored(document) == json.dumps(document, separators=(",", ":")).encode()


def test_a_lone_surrogate_leaves_as_an_escape_and_is_not_kept() -> None:
    assert documents.body({"a": "\ud800"}) == b'{"a": "\\ud800"}'
    with pytest.raises(UnicodeEncodeError):
        documents.stored({"a": "\ud800"})


DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def written(write: Any, document: Any) -> str:
    try:
        return repr(json.loads(write(document)))
    except UnicodeEncodeError:
        return "no UTF-8"


@given(DOCUMENTS)
def test_what_is_written_is_read_as_what_json_writes(document: Any) -> None:
    assert written(documents.body, document) == written(json.dumps, document)
    compact = written(documents.stored, document)
    assert compact == written(lambda each: json.dumps(each, ensure_ascii=False).encode(), document)
    assert repr(documents.loads(json.dumps(document).encode())) == repr(json.loads(json.dumps(document)))
