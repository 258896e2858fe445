"""The recording of the demo: an SVG in which each line appears when it came, made of what the program printed."""

import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hack import recording
from hack.recording import LONGEST_PAUSE, ROWS, Line, record, shortened, svg

SVG = "{http://www.w3.org/2000/svg}"
LINES = [Line(0.0, "first <&>"), Line(0.0, ""), *(Line(60.0 + n, f"line {n}  two spaces") for n in range(2 * ROWS))]


def test_it_is_well_formed_and_each_line_has_its_moment() -> None:
    root = ElementTree.fromstring(svg(shortened(LINES)))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts == [line.text for line in LINES if line.text]
    animations = [*root.iter(f"{SVG}animate"), *root.iter(f"{SVG}animateTransform")]
    assert len(animations) == 2
    for animation in animations:
        times = [float(time) for time in animation.attrib["keyTimes"].split(";")]
        values = animation.attrib["values"].split(";")
        assert len(times) == len(values) == len(LINES) + 1
        assert times[0] == 0
        assert all(before <= after for before, after in pairwise(times))
        assert times[-1] < 1


def test_who_sees_no_animation_sees_the_end() -> None:
    root = ElementTree.fromstring(svg(shortened(LINES)))
    (scroll,) = root.iter(f"{SVG}animateTransform")
    (clip,) = root.iter(f"{SVG}animate")
    last = scroll.attrib["values"].split(";")[-1]
    assert [g.attrib["transform"] for g in root.iter(f"{SVG}g") if "transform" in g.attrib] == [f"translate({last})"]
    full = clip.attrib["values"].split(";")[-1]
    assert full in [rect.attrib["height"] for rect in root.iter(f"{SVG}rect")]


def test_a_pause_is_shortened_and_the_order_stays() -> None:
    paced = shortened(LINES)
    assert [line.text for line in paced] == [line.text for line in LINES]
    gaps = [after.at - before.at for before, after in pairwise(paced)]
    assert min(gaps) > 0
    assert max(gaps) <= LONGEST_PAUSE + 1e-9


def test_the_lines_are_those_of_the_program_and_so_is_its_exit_code() -> None:
    code, lines = record([sys.executable, "-u", "-c", "print('a'); print('ü'); raise SystemExit(3)"])
    assert (code, [line.text for line in lines]) == (3, ["a", "ü"])
    assert 0 <= lines[0].at <= lines[1].at


def test_of_a_demo_that_has_failed_no_picture_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = tmp_path / "demo.svg"
    monkeypatch.setattr(sys, "argv", ["recording", str(target)])
    monkeypatch.setattr(recording, "record", lambda _: (1, LINES))
    assert recording.main() == 1
    assert not target.exists()


def test_the_picture_in_the_readme_is_one_of_these() -> None:
    root = ElementTree.parse(recording.TARGET).getroot()
    shown = "\n".join(element.text or "" for element in root.iter(f"{SVG}text"))
    assert "stale completions, each carrying a session" in shown
    assert "Of ten jobs 10 Running, none killed" in shown
    readme = (recording.ROOT / "README.md").read_text(encoding="utf-8")
    assert "docs/demo.svg" in readme
    assert "make recording" in readme
