"""The processes of an operator, found in /proc."""

import os
import signal
from contextlib import suppress
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


def kill_listener(operator: int, port: int) -> None:
    """Kill the process that an operator's template has forked and that listens at this port."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    inodes = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].partition(":")[2], 16) == port}
    (listener,) = (child for child in children(template(operator)) if inodes & _opened(child))
    os.kill(listener, signal.SIGKILL)


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names, not paths


def _opened(pid: int) -> set[str]:
    found = set()
    with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found.add(str(path.readlink()))
    return found


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
