"""What a child does first, before it imports or reads anything that a stranger can choose.

Each step holds on Linux; elsewhere those that the system has. Nothing here needs a right that a container under the
restricted profile lacks.
"""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NO_MEMORY_EXIT: Final = 71
"""The exit code of a child that had no memory left to go on with."""
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_STDERR: Final = 2
_ORPHANED: Final = 70
"""The exit code of a child whose parent was gone before it could ask for the signal."""


@dataclass(frozen=True, slots=True)
class Hardening:
    """What one child may take."""

    data_bytes: int | None = None
    """Memory that it may write to (RLIMIT_DATA): unlike a bound on addresses, it spares what is only reserved."""
    nice: int = 0
    """How much lower its priority is than its parent's."""
    open_files: int | None = None
    """Descriptors at once."""


def harden(hardening: Hardening, *, parent: int, keep: Iterable[int]) -> None:
    """All of it, for a child whose parent has this pid; of its descriptors only `keep` and stderr stay open."""
    end_with_parent(parent)
    go_first_where_memory_is_short()
    close_all_but(keep)
    limit(resource.RLIMIT_CORE, 0, hard=True)
    if hardening.data_bytes is not None:
        limit(resource.RLIMIT_DATA, hardening.data_bytes, hard=True)
    if hardening.open_files is not None:
        limit(resource.RLIMIT_NOFILE, hardening.open_files, hard=True)
    if hardening.nice:
        os.nice(hardening.nice)
    gain_no_privileges()
    be_unreadable()


def end_with_parent(parent: int) -> None:
    """Be killed when the parent ends.

    Trap: the signal comes when the *thread* ends that started this process. That thread must live as long.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(_ORPHANED)  # it ended before the signal was asked for


def go_first_where_memory_is_short() -> None:
    """What the kernel kills for memory is to be this process, and never its parent."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def close_all_but(keep: Iterable[int]) -> None:
    """Close every descriptor but these and stderr; stdin is then /dev/null, and what is printed goes to stderr."""
    kept = {*keep, _STDERR}
    null = os.open(os.devnull, os.O_RDWR)
    for each, source in ((0, null), (1, _STDERR)):
        if each not in kept:
            os.dup2(source, each)
    kept |= {0, 1}
    for each in _open_descriptors():
        if each not in kept:
            with suppress(OSError):
                os.close(each)


def gain_no_privileges() -> None:
    """No program that this process could execute gives it rights that it has not (setuid, file capabilities)."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def be_unreadable() -> None:
    """No other process of this user reads its memory, its environment or its descriptors, nor traces it."""
    _prctl(_PR_SET_DUMPABLE, 0)


def limit(which: int, value: int, *, hard: bool = False) -> None:
    """Set a limit of this process as far as it is let. Only a soft one can be raised again."""
    most = resource.getrlimit(which)[1]
    least = value if most == resource.RLIM_INFINITY else min(value, most)
    try:
        resource.setrlimit(which, (least, least if hard else most))
    except ValueError:
        if sys.platform != "darwin":  # which refuses some
            raise


def _open_descriptors() -> list[int]:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return [int(name) for name in os.listdir(folder) if name.isdecimal()]  # noqa: PTH208 - names, not paths
    return list(range(3, min(os.sysconf("SC_OPEN_MAX"), 65_536)))


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")
