"""`python -m hack.recording [FILE]`, for `make recording`: runs the demo, and makes an animated SVG of what it shows.

Each line of the demo's output, as it goes to a pipe, appears when it came. Pauses are shortened, so that the picture
lasts as long as a reader looks; the seconds that the demo prints are the real ones. Exit code: the demo's.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

ROOT: Final = Path(__file__).parents[1]
TARGET: Final = ROOT / "docs" / "demo.svg"

COLUMNS: Final = 112
ROWS: Final = 34
LINE: Final = 17.0
GLYPH: Final = 7.83
"""Width of a character at 13 px, in px."""
MARGIN: Final = 12.0
LONGEST_PAUSE: Final = 1.2
SHORTEST_PAUSE: Final = 0.03
"""Of two lines, in seconds: a table comes at once, and is read from its top."""
LAST_PAUSE: Final = 8.0

_STYLES: Final = (
    (re.compile(r"─{8,}"), "act"),
    (re.compile(r"^\s*\d+\.\d s \$ |^\s*\$ "), "command"),
    (re.compile(r"FAILED|\bFailed\b|Denied"), "bad"),
    (re.compile(r"stale completion|dropped|AwaitingApproval"), "late"),
    (re.compile(r"● Running|10 Running|no orphan"), "good"),
)


@dataclass(frozen=True)
class Line:
    """One line, and when it came, in seconds since the first."""

    at: float
    text: str


def record(command: Sequence[str]) -> tuple[int, list[Line]]:
    """Run a program; its exit code, and its lines."""
    lines: list[Line] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        began = time.monotonic()
        for text in process.stdout:
            print(text, end="", flush=True)
            lines.append(Line(time.monotonic() - began, text.rstrip("\n")))
    return process.returncode, lines


def shortened(lines: Iterable[Line]) -> list[Line]:
    """The same lines with shorter pauses."""
    paced: list[Line] = []
    before, now = 0.0, 0.0
    for line in lines:
        now += min(max(line.at - before, SHORTEST_PAUSE), LONGEST_PAUSE)
        before = line.at
        paced.append(Line(now, line.text))
    return paced


def svg(lines: Sequence[Line]) -> str:
    """The picture: it begins anew for ever, and shows the end to who sees no animation."""
    total = lines[-1].at + LAST_PAUSE
    times = ";".join(["0", *(f"{line.at / total:.5f}" for line in lines)])
    heights = ";".join(f"{count * LINE:g}" for count in range(len(lines) + 1))
    offsets = [-max(0, count - ROWS) * LINE for count in range(len(lines) + 1)]
    timing = f'calcMode="discrete" keyTimes="{times}" dur="{total:.2f}s" repeatCount="indefinite"'
    width, height = COLUMNS * GLYPH + 2 * MARGIN, ROWS * LINE + 2 * MARGIN
    texts = "\n".join(_text(number, line.text) for number, line in enumerate(lines) if line.text.strip())
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="make demo">
<style>
text {{ font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d8dee9; \
white-space: pre; }}
.act {{ fill: #88c0d0; font-weight: bold; }} .command {{ fill: #8fbcbb; }} .good {{ fill: #a3be8c; }}
.late {{ fill: #ebcb8b; }} .bad {{ fill: #d08770; }}
</style>
<rect width="100%" height="100%" rx="6" fill="#20252e"/>
<svg x="{MARGIN:g}" y="{MARGIN:g}" width="{COLUMNS * GLYPH:g}" height="{ROWS * LINE:g}">
<g transform="translate(0 {offsets[-1]:g})">
<animateTransform attributeName="transform" type="translate" \
values="{";".join(f"0 {offset:g}" for offset in offsets)}" {timing}/>
<clipPath id="shown"><rect width="{COLUMNS * GLYPH:g}" height="{len(lines) * LINE:g}">\
<animate attributeName="height" values="{heights}" {timing}/></rect></clipPath>
<g clip-path="url(#shown)">
{texts}
</g>
</g>
</svg>
</svg>
"""


def _text(number: int, text: str) -> str:
    style = next((name for pattern, name in _STYLES if pattern.search(text)), "")
    of_style = f' class="{style}"' if style else ""
    return f'<text x="0" y="{number * LINE + 12:g}"{of_style} xml:space="preserve">{escape(text[:COLUMNS])}</text>'


def main() -> int:
    """Returns the exit code."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    code, lines = record([sys.executable, "-u", "-m", "demo"])
    if code:
        print("error: the demo has failed; no picture is written", file=sys.stderr)
        return code
    target.write_text(svg(shortened(lines)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
