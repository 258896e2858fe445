"""Shows a person that something slow goes on: what, and for how long.

On a terminal one line counts the seconds; elsewhere (a CI log, a pipe) a line every 30 seconds, so that no time-out for
silent jobs strikes. Called by `build`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

_TERMINAL_SECONDS = 0.5
_LOG_SECONDS = 30.0


@dataclass
class Step:
    """One slow step; `detail` may be set from any thread, and is shown behind the elapsed time."""

    title: str
    detail: str = ""


class Progress:
    """Writes to `out`, by default to stderr as it is now; a quiet one `say`s nothing."""

    def __init__(self, out: TextIO | None = None, *, quiet: bool = False) -> None:
        self._out = sys.stderr if out is None else out
        self._terminal = self._out.isatty()
        self._quiet = quiet

    def say(self, text: str) -> None:
        """Write a line."""
        if self._quiet:
            return
        self._out.write(text + "\n")
        self._out.flush()

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show `title` with the time elapsed until the block ends, and the total then."""
        step = Step(title)
        started = time.monotonic()
        done = threading.Event()

        def line(end: str) -> str:
            minutes, seconds = divmod(int(time.monotonic() - started), 60)
            detail = f"  {step.detail}" if step.detail else ""
            return f"  {step.title}  {minutes}:{seconds:02d}{detail}{end}"

        def tick() -> None:
            while not done.wait(_TERMINAL_SECONDS if self._terminal else _LOG_SECONDS):
                if self._terminal:
                    self._out.write("\r\x1b[K" + line(""))
                    self._out.flush()
                else:
                    self.say(line(" ..."))

        ticker = threading.Thread(target=tick, daemon=True)
        ticker.start()
        outcome = "failed"
        try:
            yield step
            outcome = "done"
        finally:
            done.set()
            ticker.join()
            if self._terminal:
                self._out.write("\r\x1b[K")
            self.say(line(f"  {outcome}"))
