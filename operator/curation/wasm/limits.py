"""What a run may use, in plain numbers, and how a limit that was hit is said. Neither the models nor wasmtime."""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from curation.api.names import MAX_LOG_BYTES

MAX_REQUEST_BYTES = 1 << 20
"""One http-call's JSON document: our own bound, since the host holds several copies of it for a moment."""

MAX_LOG_LINES = 20
_MAX_LINE = 500
_LEVELS = frozenset({"debug", "info", "warning", "error"})


class LimitName(StrEnum):
    """The fields of CurationModule.spec.limits, and requestSize, which is ours."""

    MEMORY = "memory"
    CPU_SECONDS = "cpuSeconds"
    WALL_SECONDS = "wallSeconds"
    HTTP_CALLS = "httpCalls"
    RESPONSE_SIZE = "responseSize"
    OUTPUT_SIZE = "outputSize"
    REQUEST_SIZE = "requestSize"


@dataclass(frozen=True, slots=True)
class LimitHit:
    """One limit that was hit: which, how much was used or asked for, how much is allowed."""

    name: LimitName
    used: str
    allowed: str

    def __str__(self) -> str:
        where = (
            "" if self.name is LimitName.REQUEST_SIZE else "; raise spec.limits of the CurationModule if it needs more"
        )
        return f"limit {self.name} was hit: used {self.used}, allowed {self.allowed}{where}"


@dataclass(frozen=True, slots=True)
class Limits:
    """CurationModule.spec.limits in bytes, seconds and calls."""

    memory: int = 64 << 20
    cpu_seconds: float = 1
    wall_seconds: float = 120
    http_calls: int = 64
    response_size: int = 1 << 20
    output_size: int = 32 << 10


def size_text(size: int) -> str:
    """Bytes as a person reads them: 64Mi, 32Ki, 1000 bytes."""
    for unit, factor in (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)):
        if size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size} bytes"


def output_size_hit(size: int, limits: Limits) -> LimitHit:
    """What is said of a result of so many bytes."""
    return LimitHit(LimitName.OUTPUT_SIZE, f"{size} bytes", size_text(limits.output_size))


class LogTail:
    """The last 20 lines that a module logged. Not thread-safe: only the guest's own thread writes, then it is read."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=MAX_LOG_LINES)

    def append(self, level: str, message: str) -> None:
        """Keeps the end of a message. Control characters (terminal escapes) become spaces."""
        prefix = level if level in _LEVELS else "info"
        # Only the end can survive; splitting a message of many megabytes would be work that the guest chose.
        for line in message[-MAX_LOG_BYTES:].splitlines()[-MAX_LOG_LINES:]:
            text = line[:_MAX_LINE]
            if not text.isprintable():
                text = "".join(char if char.isprintable() else " " for char in text)
            self._lines.append(f"{prefix}: {text.rstrip()}")

    def text(self) -> str:
        """The newest lines, whole, that together are at most 2 KiB of UTF-8."""
        kept: list[str] = []
        size = 0
        for line in reversed(self._lines):
            size += len(line.encode()) + 1
            if size > MAX_LOG_BYTES + 1:
                break
            kept.append(line)
        return "\n".join(reversed(kept))
