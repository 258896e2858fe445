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
    """Processor time of all threads so far, user and system, in seconds."""
    # The name of the program may hold blanks; what follows the last bracket does not.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss_bytes(pid: int) -> int:
    """Resident memory now, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)
