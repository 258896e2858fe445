"""`python -m demo` as a person runs it: it passes, it can be interrupted, it fails when the operator dies.

In each case nothing is left: no process, and no folder but the logs of a failure.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 300.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the demo makes its temporary folders. Not `tmp_path`: etcd's sockets have no room for a path so long."""
    made = Path(tempfile.mkdtemp(prefix="demo-"))
    yield made
    shutil.rmtree(made)


@contextmanager
def demo(folder: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "demo", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: "subprocess.Popen[str]", text: str) -> str:
    """What it prints up to this; it never prints so much that the other end of the pipe fills up."""
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if text in line:
            return read
    raise AssertionError(f"the demo ended without saying {text!r}:\n{read}")


def processes(folder: Path) -> dict[int, list[str]]:
    """The processes that the demo with this folder has started, and that still run."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            # A zombie has no environment left.
            if str(folder).encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_text().split("\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def test_the_demo_passes_and_leaves_nothing_behind(folder: Path) -> None:
    transcript = folder / "transcript.txt"
    with demo(folder, "--transcript", str(transcript)) as process:
        printed, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, printed
    assert "Of ten jobs 10 Running, none killed, 3 stale completions dropped, no orphan session left." in printed
    assert printed.count("g1.a1 superseded, unanswered") == 3
    assert "\x1b" not in printed
    # Standard error is among what was printed: a first build shows its progress there.
    assert set(transcript.read_text().splitlines()) <= set(printed.splitlines())
    assert list(folder.iterdir()) == [transcript]
    assert processes(folder) == {}


def test_an_interrupted_demo_stops_everything_it_has_started(folder: Path) -> None:
    with demo(folder, "--keep") as process:
        read_until(process, "manifests/jobs.yaml")
        programs = " ".join(word for command in processes(folder).values() for word in command)
        assert "curation-operator" in programs
        assert "kube-apiserver" in programs
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 130, printed
    assert list(folder.iterdir()) == []
    assert processes(folder) == {}


def test_a_demo_whose_operator_dies_fails_and_says_why(folder: Path) -> None:
    with demo(folder) as process:
        read_until(process, "manifests/jobs.yaml")
        for number, command in processes(folder).items():
            if any(word.endswith("bin/curation-operator") for word in command):
                os.kill(number, signal.SIGKILL)
        printed, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 1, printed
    assert "FAILED: the curation-operator has ended with -9" in printed
    (kept,) = folder.iterdir()
    assert f"The logs are kept in {kept}" in " ".join(printed.split())
    assert "launching run" in (kept / "curation-operator.log").read_text()
    assert processes(folder) == {}
