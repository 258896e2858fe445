from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.cli.text import age, duration, safe, table

STEERING = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


@given(st.text(st.characters()))
def test_no_text_can_steer_a_terminal(text: str) -> None:
    shown = safe(text)
    assert not [char for char in shown if unicodedata.category(char) in STEERING]


@given(st.text(st.characters()))
def test_several_lines_keep_their_ends_and_nothing_else_that_steers(text: str) -> None:
    shown = safe(text, multiline=True)
    assert shown.count("\n") == text.count("\n")
    assert not [char for char in shown if unicodedata.category(char) in STEERING and char not in "\n\t"]


def test_harmless_text_stays_as_it_is() -> None:
    assert safe("Übung: 完了 ✓ 100%") == "Übung: 完了 ✓ 100%"
    assert safe("\x1b[31m\u202e\U000e0001") == r"\x1b[31m\u202e\U000e0001"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (599, "9m59s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"),
        (48 * 3600 - 1, "47h"),
        (48 * 3600, "2d"),
        (50 * 3600, "2d2h"),
        (8 * 86400, "8d"),
        (730 * 86400, "2y"),
        (731 * 86400, "2y1d"),
        (8 * 365 * 86400, "8y"),
    ],
)
def test_lengths_of_time_are_said_as_kubectl_says_them(seconds: float, words: str) -> None:
    assert duration(timedelta(seconds=seconds)) == words


def test_an_age_of_the_future_is_none_at_all_and_an_unknown_one_is_said() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    assert age(now + timedelta(seconds=5), now) == "0s"
    assert age(None, now) == "<none>"


def test_a_table_is_aligned_and_a_cell_cannot_break_its_line() -> None:
    assert table(["A", "LONGER"], [["x", ""], ["yy\nyy", "z"]]) == "A       LONGER\nx       <none>\nyy yy   z"
