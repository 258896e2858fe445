"""What a pull's child is told, and what it answers; the module itself goes into the file that it is given."""

from dataclasses import dataclass
from typing import ClassVar, Final

from curation.egress.reach import Reach
from curation.isolation.frames import Frame, Wire
from curation.oci.pull_secret import MAX_SECRET_BYTES
from curation.wasm.module_errors import ModuleReason

MAX_KEYS: Final = 16
"""Public keys of one demand."""
MAX_KEY_CHARACTERS: Final = 4096


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key as text, and what people call it."""

    name: str
    pem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull(Frame):
    """One pull. The payload is the pull Secret's content; the descriptor is of the file for the module's bytes."""

    NAME: ClassVar[str] = "pull"
    MAX_HEADER: ClassVar[int] = 512 << 10
    MAX_PAYLOAD: ClassVar[int] = MAX_SECRET_BYTES
    MAX_DESCRIPTORS: ClassVar[int] = 1

    ref: str
    digest: str
    module_digest: str
    namespace: str
    required: tuple[PublicKey, ...]
    verify: tuple[PublicKey, ...]
    reach: Reach
    seconds: float
    with_secret: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Frame):
    """The module is in the file."""

    NAME: ClassVar[str] = "done"
    MAX_HEADER: ClassVar[int] = 16 << 10

    size: int
    signed_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Frame):
    """It is not, and why."""

    NAME: ClassVar[str] = "failed"
    MAX_HEADER: ClassVar[int] = 16 << 10

    reason: ModuleReason
    message: str
    may_pass: bool


TO_CHILD: Final = Wire(Pull)
FROM_CHILD: Final = Wire(Done, Failed)
