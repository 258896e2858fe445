"""What people see on a terminal."""

import click
import pytest

from curation.cli import output
from curation.cli.output import colour, say


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


def test_a_line_obeys_no_escape_but_our_own_colours(capsys: pytest.CaptureFixture[str]) -> None:
    """A text that somebody forgot to make harmless."""
    say(f"{click.style('Running', fg='cyan')} a\x1b[2K\x1b[8mhidden\x9b1A\u202e\rb")
    assert capsys.readouterr().out in (
        "Running a\\x1b[2K\\x1b[8mhidden\\x9b1A\\u202e\\x0db\n",
        "\x1b[36mRunning\x1b[0m a\\x1b[2K\\x1b[8mhidden\\x9b1A\\u202e\\x0db\n",
    )


def test_every_style_of_a_phase_is_one_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for word in (
        "Completed",
        "Approved",
        "Running",
        "Submitted",
        "AwaitingApproval",
        "Pending",
        "Failed",
        "Denied",
        "x",
    ):
        parts = output._OUR_STYLES.split(colour(word))
        assert all(part.isprintable() for part in parts[::2]), parts
