"""How much memory the C library has given out in this process, which is where wasmtime's own comes from."""

import ctypes
import resource
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path


class _Mallinfo2(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


@cache
def _mallinfo2() -> Callable[[], _Mallinfo2] | None:
    function = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if function is not None:
        function.restype = _Mallinfo2
    return function


def heap_bytes() -> int:
    """Bytes that are allocated and not freed; where the C library does not say, what is resident."""
    if (mallinfo := _mallinfo2()) is not None:
        info = mallinfo()
        return int(info.uordblks + info.hblkhd)
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
