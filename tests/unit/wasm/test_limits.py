"""Limits in plain numbers, in words, and the tail of the log."""

import pytest

from curation.api.module import ModuleLimits
from curation.wasm.limits import LimitHit, LimitName, Limits, LogTail, size_text
from curation.wasm.module_limits import limits_of


def test_the_defaults_are_those_of_the_api() -> None:
    assert limits_of(ModuleLimits()) == Limits()


def test_quantities_become_bytes() -> None:
    limits = limits_of(ModuleLimits(memory="128Mi", response_size="2M", output_size="100"))
    assert (limits.memory, limits.response_size, limits.output_size) == (128 << 20, 2_000_000, 100)


@pytest.mark.parametrize(
    ("size", "text"), [(64 << 20, "64Mi"), (32 << 10, "32Ki"), (1 << 30, "1Gi"), (1000, "1000 bytes"), (0, "0 bytes")]
)
def test_sizes_are_written_as_people_write_them(size: int, text: str) -> None:
    assert size_text(size) == text


def test_a_limit_that_was_hit_names_itself_used_and_allowed() -> None:
    text = str(LimitHit(LimitName.HTTP_CALLS, "65", "64"))
    assert "httpCalls" in text
    assert "used 65" in text
    assert "allowed 64" in text


def test_the_log_keeps_the_last_twenty_lines() -> None:
    log = LogTail()
    for n in range(50):
        log.append("info", f"line {n}")
    assert log.text().split("\n") == [f"info: line {n}" for n in range(30, 50)]


def test_the_log_is_at_most_two_kibibytes_of_whole_lines() -> None:
    log = LogTail()
    for n in range(20):
        log.append("error", f"{n} " + "é" * 400)
    text = log.text()
    assert len(text.encode()) <= 2048
    assert text.split("\n")[-1].startswith("error: 19 ")
    assert all(line.startswith("error: ") for line in text.split("\n"))


def test_one_giant_line_is_cut_and_does_not_hide_that_it_was_there() -> None:
    log = LogTail()
    log.append("info", "x" * 10_000_000)
    assert log.text().startswith("info: xxx")
    assert len(log.text()) <= 2048


def test_terminal_escapes_and_unknown_levels_do_not_get_through() -> None:
    log = LogTail()
    log.append("\x1b[31m", "red \x1b[31malert\x07\x00\nsecond line")
    assert log.text() == "info: red  [31malert\ninfo: second line"
