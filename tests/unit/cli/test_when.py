from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest

from curation.cli.when import Duration, When, parse_duration


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90", timedelta(seconds=90)),
        ("90s", timedelta(seconds=90)),
        ("24h", timedelta(days=1)),
        ("1d12h", timedelta(hours=36)),
        ("0s", None),
        ("-5m", None),
        ("5", timedelta(seconds=5)),
        ("\u0665m", None),
        ("1.5h", None),
        ("9999999999d", None),
        ("h", None),
        ("", None),
    ],
)
def test_a_length_of_time_is_a_positive_sum_of_whole_units(text: str, length: timedelta | None) -> None:
    assert parse_duration(text) == length


def test_a_moment_is_a_length_of_time_or_a_time_with_its_zone() -> None:
    assert When().convert("24h", None, None) == timedelta(days=1)
    assert When().convert("2030-01-31T12:00:00+02:00", None, None) == datetime(2030, 1, 31, 10, tzinfo=UTC)
    assert When().convert("2030-01-31T12:00:00Z", None, None) == datetime(2030, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(("text", "remedy"), [("tomorrow", "such as 24h"), ("2030-01-31T12:00:00", "Z for UTC")])
def test_another_moment_is_refused_with_an_example(text: str, remedy: str) -> None:
    with pytest.raises(click.BadParameter, match=remedy):
        When().convert(text, None, None)


def test_a_length_that_is_none_is_refused_with_an_example() -> None:
    with pytest.raises(click.BadParameter, match="such as 30m, 24h or 1d12h"):
        Duration().convert("soon", None, None)
