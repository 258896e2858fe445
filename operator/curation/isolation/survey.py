"""What this machine gives to the walls around workers: each wall is tried, not guessed. Standard library only."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from curation.isolation.nursery import FORKS
from curation.isolation.sealing import F_SEAL_FUTURE_WRITE, seal
from curation.isolation.spawn import empty_environment, isolated_command

_UNLIMITED: Final = 1 << 60


@dataclass(frozen=True, slots=True)
class Finding:
    """One wall."""

    name: str
    active: bool
    text: str
    """What it does; where it is not active, what is lost."""


def survey() -> Iterator[Finding]:
    """Try all of them."""
    yield _finding(
        "template",
        FORKS,
        "workers are forked in milliseconds from a process that holds nothing",
        "each worker is executed, which takes a second and more memory",
    )
    yield _finding(
        "parent-death signal",
        sys.platform == "linux",
        "a worker ends with its parent",
        "a killed operator leaves workers",
    )
    yield _finding(
        "unreadable memory",
        sys.platform == "linux",
        "no process of the same user reads a worker's memory",
        "any process of the same user can read a worker's memory",
    )
    yield _finding(
        "seccomp",
        _holds("seccomp"),
        "a guest host can make no socket, start no program and touch no other process",
        "a guest that is broken out of has every system call",
    )
    yield _finding(
        "Landlock",
        _holds("landlock"),
        "a guest host can open no file but Python's own code",
        "a guest that is broken out of can read what its user can",
    )
    yield _finding(
        "sealed fence page",
        _tried(_sealed_page),
        "the operator alone can write which executions may send",
        "a worker that is broken out of could write the page",
    )
    limit = _memory_limit()
    yield _finding(
        "memory limit of this container",
        limit is not None,
        f"{(limit or 0) >> 20} MiB: what takes more is ended here, and nowhere else",
        "none: what workers take is taken from the whole machine",
    )
    yield _finding(
        "user",
        not hasattr(os, "geteuid") or os.geteuid() != 0,
        f"uid {os.geteuid() if hasattr(os, 'geteuid') else '?'}",
        "root: whoever breaks out of a worker is root in this container",
    )


def _finding(name: str, active: bool, text: str, lost: str) -> Finding:
    return Finding(name, active, text if active else lost)


def _tried(what: Callable[[], bool]) -> bool:
    with suppress(OSError, AttributeError):
        return what()
    return False


_TRIED: Final = {
    "seccomp": "from curation.isolation import seccomp as wall; done = wall.confine(); import socket; socket.socket()",
    "landlock": "from curation.isolation import landlock as wall; done = wall.confine([]); open('/proc/self/status')",
}
_TRY: Final = (
    "import sys; arguments, sys.path[:] = sys.argv[1:2], sys.argv[2:]\n"
    "from curation.isolation.hardening import gain_no_privileges\n"
    "gain_no_privileges(); done = False\n"
    "try: exec(arguments[0])\n"
    "except PermissionError: sys.exit(0 if done else 1)\n"
    "sys.exit(1)"
)


def _holds(wall: str) -> bool:
    """Whether a process that has built it runs into it."""
    command = isolated_command(_TRY, _TRIED[wall])
    return subprocess.run(command, env=empty_environment(), capture_output=True, check=False).returncode == 0


def _sealed_page() -> bool:
    descriptor = os.memfd_create("survey", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, 4096)
        seal(descriptor, F_SEAL_FUTURE_WRITE)
        try:
            os.write(descriptor, b"x")
        except PermissionError:
            return True
        return False
    finally:
        os.close(descriptor)


def _memory_limit() -> int | None:
    """Of the cgroup that this process is in, as it sees it: version 2, then 1."""
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limit = int(Path(place).read_text())
            return limit if limit < _UNLIMITED else None
    return None
