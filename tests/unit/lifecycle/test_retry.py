"""Exponential backoff with full jitter."""

from datetime import timedelta

import pytest

from curation.api.job import Retry
from curation.lifecycle.retry import retry_at
from tests.unit.lifecycle.builders import NOW

RETRY = Retry(initial_delay_seconds=2, max_delay_seconds=10)


@pytest.mark.parametrize(("retries", "ceiling"), [(0, 2), (1, 4), (2, 8), (3, 10), (20, 10)])
def test_the_longest_delay_doubles_with_each_retry_up_to_the_maximum(retries: int, ceiling: int) -> None:
    assert retry_at(NOW, retries, RETRY, 0.999999) - NOW == pytest.approx(
        timedelta(seconds=ceiling), abs=timedelta(milliseconds=1)
    )


@pytest.mark.parametrize("sample", [0.0, 0.25, 0.5, 0.999])
def test_the_delay_is_drawn_from_all_of_the_range(sample: float) -> None:
    assert retry_at(NOW, 1, RETRY, sample) == NOW + timedelta(seconds=4 * sample)
