"""How long a 429 makes us wait: as long as it says, within reason; never not at all."""

import pytest

from curation.cluster.answers import Failure


@pytest.mark.parametrize(
    ("named", "seconds"),
    [(None, 1.0), (2.0, 2.0), (0.25, 0.25), (0.0, 1.0), (-3.0, 1.0), (86_400.0, 60.0), (float("inf"), 60.0)],
)
def test_a_429_is_waited_for(named: float | None, seconds: float) -> None:
    assert Failure(429, "TooManyRequests", "busy", named, {}, {}).wait == seconds


def test_a_time_that_is_no_number_means_about_a_second() -> None:
    assert Failure(429, "TooManyRequests", "busy", float("nan"), {}, {}).wait == 1.0
