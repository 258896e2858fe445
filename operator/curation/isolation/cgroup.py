"""How much memory the kernel lets the processes of this container have, and whom it has ended for that: its cgroup."""

from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_OWN: Final = Path("/proc/self/cgroup")
_NO_LIMIT: Final = 1 << 60
"""Version 1 says so by a number near the greatest that there is."""


def memory_limit(root: Path = _ROOT, own: Path = _OWN) -> int | None:
    """Bytes: the least limit of this process's cgroup and of those above it that it sees; None: no limit."""
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return None
    for _, controllers, place in filter(lambda line: len(line) == 3, lines):
        # Of version 2 there is one line, without a controller; where version 1 counts memory, one that says so.
        if "memory" in controllers.split(","):
            return _least(root / "memory", place, "memory.limit_in_bytes")
    for _, controllers, place in filter(lambda line: len(line) == 3, lines):
        if not controllers:
            return _least(root, place, "memory.max")
    return None


def memory_kills(root: Path = _ROOT) -> int:
    """How many processes of this container the kernel has ended for want of memory; 0 where it does not say."""
    for name in ("memory.events", "memory/memory.oom_control"):  # of version 2, and of version 1
        try:
            words = (line.split() for line in (root / name).read_text().splitlines())
            return next(int(count) for word, count in words if word == "oom_kill")
        except (OSError, ValueError, StopIteration):
            continue
    return 0


def _least(root: Path, place: str, name: str) -> int | None:
    folder, limits = root / place.strip("/"), list[int]()
    # A container sees its own cgroup as the root; one that shares the machine's sees all above it.
    for each in (folder, *folder.parents):
        limits += _limit(each / name)
        if each == root:
            break
    return min((limit for limit in limits if limit < _NO_LIMIT), default=None)


def _limit(file: Path) -> list[int]:
    try:
        return [int(file.read_text())]
    except (OSError, ValueError):
        return []  # no such file, or "max"
