"""The API server's clock, as far as its ``Date`` headers show it: all times of a status are of this clock.

A ``Date`` header is the server's time cut to whole seconds, so one answer bounds the offset only to an interval: the
header D, sent between our ``sent`` and ``received``, means that offset lies in (D - received, D + 1 - sent). Taking D
itself would be half a second late on average. The intervals of many answers are intersected (Marzullo's algorithm for
one source): the true offset is in all of them, so the bounds close in to about one round trip, without bias. They are
widened with age, since clocks drift, and start anew when a step of a clock empties them.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

# Crystal oscillators stay within 100 ppm; both clocks may drift, in opposite directions.
MAX_DRIFT: Final = 200e-6
# The first answer is wrong by half a second and half its round trip at most; more is no learning, but a step.
MAX_CORRECTION: Final = 2.0


class ServerClock:
    """The server's time. Before the first answer it is the local wall clock.

    It runs on the monotonic clock, so a step of the local wall clock moves nothing.
    """

    def __init__(
        self, *, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.monotonic = monotonic
        self._start = wall() - monotonic()
        self._low = self._high = 0.0
        self._seen: float | None = None
        # One answer a second gives all there is to know from one header; parsing each would cost 10 us a call.
        self._last_reading = 0.0
        self._last_header = ""
        self._last_date = 0.0

    def observe(self, date: str | None, sent: float, received: float) -> None:
        """Learn from one answer: its ``Date`` header, and when (monotonic) the request left and the headers came."""
        if not date:
            return
        if date != self._last_header:
            try:
                self._last_date = parsedate_to_datetime(date).timestamp()
            except ValueError:
                return
            self._last_header = date
        low, high = self._last_date - received, self._last_date + 1 - sent
        if self._seen is not None:
            slack = MAX_DRIFT * max(0.0, received - self._seen)
            merged_low, merged_high = max(low, self._low - slack), min(high, self._high + slack)
            if merged_low <= merged_high:
                low, high = merged_low, merged_high
        self._low, self._high, self._seen = low, high, received

    @property
    def offset(self) -> float:
        """Seconds from the monotonic clock to the server's Unix time."""
        return self._start if self._seen is None else (self._low + self._high) / 2

    @property
    def uncertainty(self) -> float:
        """Half the width of what the offset may be, in seconds; infinite before the first answer."""
        return float("inf") if self._seen is None else (self._high - self._low) / 2

    def now(self) -> datetime:
        """The server's time now, in UTC.

        It stops rather than go back while the offset is learnt; a real step back of the server is followed.
        """
        now = self.monotonic() + self.offset
        if self._last_reading - MAX_CORRECTION < now < self._last_reading:
            now = self._last_reading
        self._last_reading = now
        return datetime.fromtimestamp(now, UTC)
