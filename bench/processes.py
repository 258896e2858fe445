"""What a process has used, read from /proc: processor seconds say more than wall time on a shared machine."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def running_in(folder: Path) -> dict[str, int]:
    """Process ids by program name, of all processes whose working folder is this one (see `testing.controlplane`)."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "cwd").readlink() == folder:
                found[_name((entry / "cmdline").read_bytes().split(b"\0"))] = int(entry.name)
        except (OSError, ValueError):
            continue  # it has ended, or is not ours to read
    return found


def _name(argv: list[bytes]) -> str:
    """The program, and of an interpreter the script or module."""
    words = [word.decode() for word in argv if word]
    if Path(words[0]).name.startswith("python"):
        words = [word for word in words[1:] if not word.startswith("-")]
    return Path(words[0]).name


def cpu_seconds(pid: int) -> float:
    """Processor time so far, user and system, in seconds: of all threads, and of every process that it began.

    Those that have ended count with the one that took note of their end.
    """
    return sum(own_seconds(each) for each in tree(pid))


def own_seconds(pid: int) -> float:
    """The same of this process and of what it has taken note of the end of; 0 for one that has ended."""
    fields = _stat(pid)
    return sum(int(each) for each in fields[11:15]) / _TICKS if fields else 0.0


def tree(root: int) -> set[int]:
    """A process and every one that has come from it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    found, size = {root}, 0
    while size < len(found):
        size = len(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found


def _stat(pid: int) -> list[str]:
    """What follows the name in /proc/PID/stat; the name may hold blanks and brackets. Empty for one that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def rss_bytes(pid: int) -> int:
    """Resident memory now, in bytes."""
    return _kilobytes(pid, "VmRSS") * 1024


def peak_bytes(pid: int) -> int:
    """The most resident memory that it has ever had, in bytes."""
    return _kilobytes(pid, "VmHWM") * 1024


def descriptors(pid: int) -> int:
    """Its open file descriptors."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _kilobytes(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise ProcessLookupError(pid)
