"""Words for a terminal: what others wrote made harmless, times as ages, tables as kubectl prints them."""

import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

COLUMN_GAP: Final = 3

# Cc: control (escape sequences too); Cf: format (bidi overrides, zero width); Cs, Co: surrogates, private use;
# Zl, Zp: line and paragraph separators.
_UNSAFE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def safe(text: str, *, multiline: bool = False) -> str:
    r"""The text with every character that could steer a terminal shown as an escape such as ``\x1b``.

    Modules, services and other users write messages, logs and URLs; a terminal must not obey them. Line feeds and tabs
    stay with ``multiline``, else they become spaces.
    """
    return text if text.isprintable() else "".join(_harmless(char, multiline) for char in text)


def _harmless(char: str, multiline: bool) -> str:
    if char in "\n\t":
        return char if multiline else " "
    if unicodedata.category(char) not in _UNSAFE:
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def age(since: datetime | None, now: datetime) -> str:
    """How long ago, in kubectl's words; a time that has not come is 0s."""
    return "<none>" if since is None else duration(max(now - since, timedelta()))


def duration(length: timedelta) -> str:
    """A length of time in one or two units, with the rounding of k8s.io/apimachinery's HumanDuration."""
    seconds = int(length.total_seconds())
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    if days < 365 * 8:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}{small}{small_unit}" if small else f"{big}{big_unit}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as kubectl prints them: left-aligned, three spaces between, no lines; empty cells are ``<none>``."""
    cells = [list(header), *([safe(cell) or "<none>" for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    gap = " " * COLUMN_GAP
    return "\n".join(
        gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def plural(count: int, word: str) -> str:
    """``1 job``, ``2 jobs``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
