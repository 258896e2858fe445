"""What people see on a terminal."""

import pytest

from curation.cli.output import colour


@pytest.mark.parametrize(
    ("no_color", "shown"), [(None, "\x1b[31mFailed\x1b[0m"), ("", "\x1b[31mFailed\x1b[0m"), ("1", "Failed")]
)
def test_a_phase_has_its_colour_unless_no_color_is_set(
    monkeypatch: pytest.MonkeyPatch, no_color: str | None, shown: str
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    assert colour("Failed") == shown
