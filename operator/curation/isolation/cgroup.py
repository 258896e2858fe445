"""How much memory the kernel lets the processes of this container have: the limit of its cgroup (version 2)."""

from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_OWN: Final = Path("/proc/self/cgroup")


def memory_limit(root: Path = _ROOT, own: Path = _OWN) -> int | None:
    """Bytes: the least limit of this process's cgroup and of those above it, as far as they are seen; None: no limit.

    Where cgroups of version 1 count memory, None: their limits are not looked for.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    place = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
    if place is None:
        return None
    folder = root / place.strip("/")
    limits = []
    # A container sees its own cgroup as the root; one that shares the machine's sees all above it.
    for each in (folder, *folder.parents):
        limits += _limit(each / "memory.max")
        if each == root:
            break
    return min(limits, default=None)


def _limit(file: Path) -> list[int]:
    try:
        return [int(file.read_text())]
    except (OSError, ValueError):
        return []  # no such file, or "max"
