"""Times on the command line: how long from now, or a moment."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import click

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"(\d+[smhd])+")
_PART: Final = re.compile(r"(\d+)([smhd])")
# Ten years: more than anyone means, and far from the end of the calendar.
MAX_SECONDS: Final = 10 * 366 * 86400


class Duration(click.ParamType[timedelta, object]):
    """``90s``, ``24h``, ``1d12h``; a bare number is seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The length of time."""
        if isinstance(value, timedelta):
            return value
        length = parse_duration(str(value))
        if length is None:
            self.fail(f"{value!r} is not a length of time such as 30m, 24h or 1d12h", param, ctx)
        return length


NEVER: Final = "never"


class LifeTime(click.ParamType[timedelta | None, object]):
    """A length of time, or ``never``, which is None."""

    name = "duration"

    def __init__(self, least: timedelta = timedelta(seconds=1)) -> None:
        """What is shorter than ``least`` is refused."""
        self._least = least

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta | None:
        """The length of time; None if there is no end."""
        if isinstance(value, timedelta):
            return value
        if str(value) == NEVER:
            return None
        length = parse_duration(str(value))
        if length is None:
            self.fail(f"{value!r} is neither a length of time such as 24h or 30d nor {NEVER}", param, ctx)
        if length < self._least:
            self.fail(f"{value!r} is too short: the least is {self._least}", param, ctx)
        return length


class When(click.ParamType[timedelta | datetime | str, object]):
    """A length of time from now, an RFC 3339 time, or ``never``: a timedelta, an aware datetime, or `NEVER`."""

    name = "when"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta | datetime | str:
        """What was asked for; a length of time stays one, since now is the server's to say."""
        if isinstance(value, timedelta | datetime):
            return value
        text = str(value)
        if text == NEVER:
            return NEVER
        length = parse_duration(text)
        if length is not None:
            return length
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.fail(
                f"{text!r} is neither a length of time such as 24h nor a time such as 2030-01-31T12:00:00Z nor {NEVER}",
                param,
                ctx,
            )
        if moment.tzinfo is None:
            self.fail(f"{text!r} has no time zone; write {text}Z for UTC", param, ctx)
        return moment.astimezone(UTC)


def parse_duration(text: str) -> timedelta | None:
    """The length of time that the text says, or None."""
    if text.isascii() and text.isdigit():
        seconds = int(text)
    elif _DURATION.fullmatch(text) and text.isascii():
        seconds = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    else:
        return None
    return timedelta(seconds=seconds) if 0 < seconds <= MAX_SECONDS else None
