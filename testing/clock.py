"""The clock of tests: it stays until it is moved."""


class SetClock:
    """A monotonic clock, in seconds. A test sets or advances `now`."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Seconds."""
        return self.now
