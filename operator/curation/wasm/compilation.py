"""What `compiler` and its process say to each other. By itself, so that whoever compiles need not load wasmtime."""

from dataclasses import dataclass
from typing import ClassVar, Final

from curation.isolation.frames import Frame, Wire

NO_ROOM: Final = 75
"""The exit code of a process that had no room for its answer or its artifact (EX_TEMPFAIL of sysexits.h)."""
ARTIFACT: Final = "artifact"
"""Its text has the interfaces that the module imports and that trap, one a line."""
INVALID: Final = "invalid"
"""What wasmtime says of a module that it does not compile."""
MISFIT: Final = "misfit"
"""What keeps a compiled module from being a guest, one problem a line."""
BOUNDS: Final = "bounds"
"""What keeps a guest from being opened within the bounds."""
NO_MEMORY: Final = "memory"

TEXT_CHARACTERS: Final = 32_768
"""Of an answer."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one compilation may take and make."""

    memory_bytes: int
    """Address space of the process, beyond what it begins with."""
    cpu_seconds: int
    artifact_bytes: int
    open_bytes: int
    """Memory that each run of the module takes before its first instruction, its linear memory and code left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compile(Frame):
    """Compile a module; the descriptors are its file, and the file for its artifact."""

    NAME: ClassVar[str] = "compile"
    MAX_DESCRIPTORS: ClassVar[int] = 2

    bounds: Bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun(Frame):
    """Said before the module is read: a death after it may be the module's fault."""

    NAME: ClassVar[str] = "begun"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileEnd(Frame):
    """What came of it; the payload is a text about it."""

    NAME: ClassVar[str] = "compileEnd"
    MAX_PAYLOAD: ClassVar[int] = 4 * TEXT_CHARACTERS

    kind: str
    start_bytes: int = 0
    """Linear memory that the module begins with."""


TO_COMPILER: Final = Wire(Compile)
FROM_COMPILER: Final = Wire(Begun, CompileEnd)
