"""Files and networks that a process takes from itself, for good (Landlock, Linux 5.13 and later)."""

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

_CREATE, _ADD, _RESTRICT = 444, 445, 446
"""The same numbers on every machine."""
_GET_VERSION: Final = 1
_BENEATH: Final = 1
_READ: Final = 1 << 2 | 1 << 3
"""Files, and what is in folders."""
_FILES: Final = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
"""By the version since which they can be taken: all that can be done to files."""
_NETWORK: Final = 3
"""Since version 4: to bind, and to connect, by TCP."""
_SCOPES: Final = 3
"""Since version 6: abstract Unix sockets of others, and signals to others."""


def version() -> int:
    """Of what this kernel has; 0: nothing."""
    if sys.platform != "linux":
        return 0
    found: int = ctypes.CDLL(None, use_errno=True).syscall(_CREATE, None, 0, _GET_VERSION)
    return max(0, found)


def confine(readable: Iterable[Path]) -> bool:
    """Leave this process no file but what is beneath these folders, to be read, and no network. Whether that is done.

    It can gain no privileges before. What is open stays so; files in memory are not concerned.
    """
    known = version()
    if not known:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    files = sum(rights for since, rights in _FILES.items() if since <= known)
    rules = struct.pack("=QQQ", files, _NETWORK, _SCOPES)[: 8 if known < 4 else 16 if known < 6 else 24]
    descriptor = libc.syscall(_CREATE, rules, ctypes.c_size_t(len(rules)), 0)
    if descriptor < 0:
        return False
    try:
        for folder in readable:
            with suppress(OSError):
                beneath = os.open(folder, os.O_PATH | os.O_CLOEXEC)
                try:
                    libc.syscall(_ADD, descriptor, _BENEATH, struct.pack("=Qi", _READ, beneath), 0)
                finally:
                    os.close(beneath)
        return bool(libc.syscall(_RESTRICT, descriptor, 0) == 0)
    finally:
        os.close(descriptor)
