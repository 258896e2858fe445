"""How a guest ended, in words of ours. By itself, so that whoever deals with ends need not load wasmtime."""

from dataclasses import dataclass
from enum import StrEnum

from curation.wasm.limits import LimitHit


class StopCause(StrEnum):
    """Why a guest was interrupted."""

    CPU = "cpu"
    WALL = "wall"
    KILLED = "killed"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Returned:
    """The guest returned: its ok or its error document, not yet parsed."""

    ok: bool
    document: str


@dataclass(frozen=True, slots=True)
class Trapped:
    """The guest trapped: what the trap says, and in which function."""

    message: str
    function: str | None = None

    def __str__(self) -> str:
        return f"{self.message} (in {self.function})" if self.function else self.message


@dataclass(frozen=True, slots=True)
class Exceeded:
    """The guest hit a limit that ends it."""

    hit: LimitHit


@dataclass(frozen=True, slots=True)
class Stopped:
    """We stopped the guest: its run was killed, or the executor closes."""

    cause: StopCause


GuestEnd = Returned | Trapped | Exceeded | Stopped
