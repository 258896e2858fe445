"""What the person sees: lines about what is done, a table of the jobs that lives on a terminal, the summary.

On anything but a terminal, and in a transcript, the table is printed at the end of each act instead.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.rule import Rule
from rich.spinner import Spinner
from rich.text import Text

from demo.board import Board
from demo.table import jobs_table

WIDTH: Final = 110
_INDENT: Final = 8  # of what follows the elapsed time
_REFRESHES_PER_SECOND: Final = 8


class Screen:
    """Prints to standard output, and to `transcript` as plain text; a context manager that closes the latter."""

    def __init__(self, transcript: Path | None = None) -> None:
        self._started = time.monotonic()
        self._file = transcript.open("w", encoding="utf-8") if transcript else None
        self._plain: list[TextIO] = [self._file] if self._file else []
        self._terminal: Console | None = Console(highlight=False)
        self._width = WIDTH
        if self._terminal.is_terminal:
            self._terminal.width = self._width = min(self._terminal.width, WIDTH)
        else:
            self._terminal = None
            self._plain.append(sys.stdout)
        self._now = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()

    @contextmanager
    def live(self, board: Board) -> Iterator[None]:
        """Show the table of the jobs, on a terminal, until the block ends; its last state stays."""
        if self._terminal is None:
            yield
            return
        spinner = Spinner("dots", style="cyan")

        def picture() -> Group:
            spinner.update(text=Text(self._now, style="cyan"))
            return Group("", _indented(jobs_table(board)), "", _indented(spinner))

        console, rate = self._terminal, _REFRESHES_PER_SECOND
        with Live(console=console, get_renderable=picture, refresh_per_second=rate, transient=True):
            yield
        console.print(Group("", _indented(jobs_table(board))))

    def act(self, title: str) -> None:
        """The heading of an act."""
        self.show(Group("", Rule(Text(title, style="bold"), align="left", style="dim", characters="─")))

    def say(self, text: str, style: str = "") -> None:
        """One line about what has happened."""
        self._timed(Text(text, style=style))

    def command(self, command: str, outcome: str) -> None:
        """A command that was run, and its outcome in a few words."""
        line = Text.assemble(("$ ", "dim"), (command, "bold"))
        result = f"  → {outcome}"
        if _INDENT + line.cell_len + len(result) > self._width:
            line.append("\n")
        line.append(result, style="green")
        self._timed(line)

    def now(self, text: str) -> None:
        """What is being waited for; shown below the live table only."""
        self._now = text

    def end_of_act(self, board: Board) -> None:
        """Print the table where no live one is shown."""
        self._print_plain(Group("", _indented(jobs_table(board))))

    def show(self, renderable: RenderableType) -> None:
        """Anything else, such as the summary."""
        if self._terminal is not None:
            self._terminal.print(renderable)
        self._print_plain(renderable)

    def lines_to_copy(self, lines: Iterable[str]) -> None:
        """Lines that a person pastes into a shell: however long, each stays one line."""
        text = "".join(f"  {line}".rstrip() + "\n" for line in lines)
        if self._terminal is not None:
            self._terminal.print(Text(text), soft_wrap=True, end="")
        self._write(text)

    def _timed(self, text: Text) -> None:
        elapsed = Text(f"{time.monotonic() - self._started:5.1f} s ", style="dim")
        for line in text.wrap(Console(width=self._width), self._width - _INDENT):
            self.show(Text.assemble(elapsed, line))
            elapsed = Text(" " * _INDENT)

    def _print_plain(self, renderable: RenderableType) -> None:
        console = Console(file=StringIO(), width=WIDTH, highlight=False, force_terminal=False, color_system=None)
        with console.capture() as capture:
            console.print(renderable)
        # Tables are padded to their width; nobody wants that in a file.
        self._write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))

    def _write(self, text: str) -> None:
        for out in self._plain:
            out.write(text)
            out.flush()


def _indented(renderable: RenderableType) -> Padding:
    return Padding(renderable, (0, 0, 0, 1))
