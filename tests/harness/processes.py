"""The processes of an operator, found in /proc."""

import os
import signal
from pathlib import Path

from curation.guests.targets import TEMPLATE as GUEST_TEMPLATE
from curation.workers.targets import TEMPLATE


def state(pid: int) -> str:
    """Of a process, as the letter of ps; X: there is none any more."""
    fields = _fields(pid)
    return fields[0] if fields else "X"


def children(pid: int) -> set[int]:
    """Those that have this parent."""
    found = {int(path.name): _fields(int(path.name)) for path in Path("/proc").glob("[0-9]*")}
    return {child for child, fields in found.items() if fields and int(fields[1]) == pid}


def template(operator: int, target: str = TEMPLATE) -> int:
    """The template of an operator's workers, checkers and compilers, or of its guest hosts: they are its children."""
    (found,) = (child for child in children(operator) if target.encode() in _command(child))
    return found


def kill_workers(operator: int) -> None:
    """Kill all that an operator's template has forked."""
    for child in children(template(operator)):
        os.kill(child, signal.SIGKILL)


def kill_guest_hosts(operator: int) -> None:
    """Kill all guest hosts of an operator."""
    for child in children(template(operator, GUEST_TEMPLATE)):
        os.kill(child, signal.SIGKILL)


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names, not paths


def _fields(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
