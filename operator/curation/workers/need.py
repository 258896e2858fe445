"""What one execution may take of memory, and what a worker takes."""

from dataclasses import dataclass
from typing import Final

from curation.wasm.limits import Limits

WORKER_BYTES: Final = 20 << 20
"""A worker and its guest host, which execute nothing (docs/operations.md has the measured figures)."""
WORKER_DATA_BYTES: Final = 128 << 20
"""Of one of them and of what it shares with its template, as RLIMIT_DATA counts it."""
RUN_BYTES: Final = 1 << 20
"""A run's thread, engine and tasks, beside what its limits name."""
RESPONSE_COPIES: Final = 8
"""An answer is held as bytes, as text and as JSON at a time; of ordinary text that is less."""


TEMPLATE_BYTES: Final = 96 << 20
"""The supervisor, and both templates, most of which their children share."""
BESIDE_BYTES: Final = 2 << 30
"""A compiler, which may take half of it, and two checkers."""


def capacity(limit: int | None, *, apart: bool) -> int | None:
    """What workers may take together of the memory that their container has; None: it has no limit.

    Where they are not `apart` from the operator, a quarter is its own.
    """
    if limit is None:
        return None
    reserve = TEMPLATE_BYTES + min(BESIDE_BYTES, limit // 4) + (0 if apart else limit // 4)
    return max(0, limit - reserve)


def whole_mib(size: int) -> str:
    """Bytes as a person reads them, rounded up: 64Mi."""
    return f"{-(-size >> 20)}Mi"


@dataclass(frozen=True, slots=True)
class Need:
    """What one execution may take."""

    run_bytes: int
    digest: str = ""
    artifact_bytes: int = 0
    """Of its compiled module."""

    @classmethod
    def of(cls, limits: Limits, digest: str, artifact_bytes: int, *, in_pod: bool = False) -> "Need":
        """That of a module with these limits. A guest waits for one answer at a time; one in a pod has memory there."""
        memory = 0 if in_pod else limits.memory
        return cls(memory + RESPONSE_COPIES * limits.response_size + RUN_BYTES, digest, artifact_bytes)

    @property
    def alone(self) -> int:
        """What it takes in a namespace that has nothing yet."""
        return self.run_bytes + self.artifact_bytes + WORKER_BYTES
