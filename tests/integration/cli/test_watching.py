"""watch: lines for pipes, a table for terminals, and its ends."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration.cli.running import PLUGIN, SECONDS, Objects, Plugin, micro

JOBS = "curationjobs"


@contextmanager
def watching(plugin: Plugin, *args: str, stdout: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """The plugin in the background; it is gone at the end, whatever happens."""
    environment = {**plugin.environment(), "TERM": "xterm", "COLUMNS": "160", "LINES": "40"}
    process = subprocess.Popen(
        [*PLUGIN, "watch", *args],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(descriptor: int, pattern: str) -> str:
    """Everything that is written up to a match of the pattern."""
    text, deadline = "", time.monotonic() + SECONDS
    while not re.search(pattern, text):
        left = deadline - time.monotonic()
        assert left > 0, f"no {pattern!r} within {SECONDS} s in: {text!r}"
        if select.select([descriptor], [], [], left)[0]:
            chunk = os.read(descriptor, 65536)
            assert chunk, f"the output ended without {pattern!r}: {text!r}"
            text += chunk.decode(errors="replace")
    return text


def test_each_change_is_a_line_until_all_jobs_have_finished(plugin: Plugin, objects: Objects) -> None:
    for name in ("one", "two"):
        objects.job(name)
        objects.status(JOBS, name, phase="Submitted", phaseSince=micro(0), run=objects.run(name))
    objects.job("other")
    with watching(plugin, "one", "two", "--until-finished") as process:
        assert process.stdout is not None
        seen = read_until(process.stdout.fileno(), r"one  Submitted  attempt 1\n(.|\n)*two  Submitted  attempt 1\n")
        objects.status(JOBS, "one", phase="Completed", reason="Completed", message="done")
        seen += read_until(process.stdout.fileno(), r"one  Completed  Completed  attempt 1  done\n")
        assert process.poll() is None, "two has not finished"
        objects.status(JOBS, "two", phase="Completed", reason="Completed")
        rest, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, errors
        assert "two  Completed" in rest
        assert "other" not in seen + rest
        assert seen.count("two  Submitted") == 1, "nothing is printed twice"


def test_a_failed_job_fails_the_wait(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    objects.status(JOBS, "build", phase="Failed", reason="Trap", phaseSince=micro(0))
    assert "1 job failed: build" in plugin("watch", "--until-finished", code=1).stderr


def test_one_job_that_fails_ends_the_wait_while_another_runs(plugin: Plugin, objects: Objects) -> None:
    for name in ("one", "two", "old"):
        objects.job(name)
        objects.status(JOBS, name, phase="Submitted", phaseSince=micro(0), run=objects.run(name))
    objects.status(JOBS, "old", phase="Failed", reason="Trap", phaseSince=micro(0))
    objects.patch(JOBS, "old", {"spec": {"rerun": "again"}})
    with watching(plugin, "one", "two", "old", "--until-finished") as process:
        assert process.stdout is not None
        read_until(process.stdout.fileno(), r"one  Submitted (.|\n)*two  Submitted ")
        assert process.poll() is None, "a failure of an older generation is none"
        objects.status(JOBS, "one", phase="Failed", reason="Trap")
        out, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert "one  Failed  Trap" in out
    assert errors == "1 job failed: one\n"


def test_an_end_of_an_older_generation_is_not_the_end(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    objects.status(JOBS, "build", phase="Completed", phaseSince=micro(0))
    objects.patch(JOBS, "build", {"spec": {"rerun": "again"}})
    said = plugin("watch", "build", "--until-finished", "--timeout", "2s", code=1).stderr
    assert "not finished in time: build" in said


def test_a_watch_that_ends_by_its_time_with_nothing_left_open_says_just_that(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    objects.status(JOBS, "build", phase="Completed", reason="Completed", phaseSince=micro(-1))
    assert plugin("watch", "build", "--timeout", "2s", code=1).stderr == "error: --timeout is over\n"


def test_a_job_that_is_deleted_meanwhile_fails_the_wait(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    with watching(plugin, "build", "--until-finished") as process:
        assert process.stdout is not None
        read_until(process.stdout.fileno(), r"build  \(new\)")
        objects.delete(JOBS, "build")
        objects.patch_if_there(JOBS, "build", {"metadata": {"finalizers": None}})
        out, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 1
        assert "build  (deleted)" in out
        assert "deleted meanwhile: build" in errors


def test_control_c_ends_a_watch_as_it_should_end(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    with watching(plugin) as process:
        assert process.stdout is not None
        read_until(process.stdout.fileno(), "build")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=SECONDS)
        assert (process.returncode, errors) == (0, "")


def test_on_a_terminal_it_is_a_table_that_changes_in_place(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    ours, theirs = pty.openpty()
    try:
        with watching(plugin, stdout=theirs) as process:
            read_until(ours, r"PHASE(.|\n|\r)*build")
            run = objects.run("build")
            session = objects.session(run)
            objects.status(JOBS, "build", phase="Running", phaseSince=micro(0), run=run, session=session)
            text = read_until(ours, r"Running")
            assert "\x1b[36m" in text, "Running has its colour"
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == 0
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_name_that_does_not_exist_is_an_error_at_once(plugin: Plugin) -> None:
    assert "there is no CurationJob" in plugin("watch", "nothing", code=1).stderr
