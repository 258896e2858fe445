"""The operator's log: no text that others wrote makes a line of it, hides one, or steers a terminal."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

_FORGERY = "no\n2026-01-01 00:00:00,000 INFO    the lease was released"
_FORGERY += "\r\x1b[2K\x1b]0;title\x07\x9b31m\u202e\u2028\u0085\x00\t\x7f"
# All ways into the log: messages, their arguments, exceptions with their causes, stacks, Python's own last words.
_PROGRAM = """
import gc, logging, sys, threading, warnings
from curation.cli.logs import configure_logging
configure_logging(sys.argv[1], "debug")
text = sys.argv[2].encode().decode("unicode_escape")
log = logging.getLogger("curation.some")
log.warning("message %s", text, extra={"job": text})
log.warning("plain " + text)
log.warning("with its stack", stack_info=True)
logging.getLogger("kopf.objects").error("of kopf %s", text)
try:
    try:
        raise ValueError(text)
    except ValueError as error:
        error.add_note(text)
        raise RuntimeError(text) from error
except RuntimeError:
    log.exception("exception")
warnings.warn("a warning: " + text)
def fail(): raise OSError(text)
thread = threading.Thread(target=fail, name=text)
thread.start()
thread.join()
class Bad:
    def __del__(self): raise OSError(text)
Bad()
raise KeyError(text + "last words")
"""


def written(log_format: str) -> list[str]:
    text = _FORGERY.encode("unicode_escape").decode()
    program = [sys.executable, "-c", _PROGRAM, log_format, text]
    done = subprocess.run(program, capture_output=True, cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == 1, done.stderr.decode()
    return done.stderr.decode().removesuffix("\n").split("\n")


def test_a_line_of_the_text_log_begins_with_its_time_or_is_marked_as_part_of_the_one_before() -> None:
    lines = written("text")
    assert sum(line.startswith("20") for line in lines) == 9
    for line in lines:
        assert line.isprintable(), ascii(line)
        assert line[:4].isdigit() or line.startswith("    | "), line
    assert not [line for line in lines if line.startswith("2026-01-01 00:00:00,000")]
    assert any(r"message no\n2026-01-01" in line for line in lines)
    assert any("last words" in line for line in lines)


def test_a_line_of_the_json_log_is_a_document_of_ascii() -> None:
    lines = written("json")
    assert len(lines) == 9
    for line in lines:
        assert line.isascii()
        assert line.isprintable()
        assert json.loads(line)["level"] in ("WARNING", "ERROR", "CRITICAL")
    first = json.loads(lines[0])
    assert first["message"] == f"message {_FORGERY}"
    assert first["job"] == _FORGERY


@pytest.mark.parametrize("text", ["plain words", "Grüße, 日本 ✓", "{'a': \"b\"} \\n"])
def test_what_people_write_stays_as_it_is(text: str) -> None:
    program = "import logging\nfrom curation.cli.logs import configure_logging\nconfigure_logging('text', 'info')\n"
    program += f"logging.info({text!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert done.stderr.endswith(f" INFO    {text}\n")
