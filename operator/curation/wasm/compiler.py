"""The compiler, in a process of its own for each module: nobody can predict from a module what it makes it do.

Cranelift's time and memory are not linear in the module's size: 7 KB of nested loops over many locals take minutes,
25 KB take gigabytes. Nor is what a run takes to open the artifact: 1.3 KB of nested instances take 187 MiB. So the
processor time and the memory of each compilation are bounded, the first opening of the artifact included, and that can
be done to a process only. Starting one takes some 0.15 s.
"""

import asyncio
import errno
import logging
import os
import tempfile
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import IO

from curation.isolation.child import Child
from curation.isolation.frames import Frame
from curation.isolation.hardening import Hardening
from curation.isolation.spawn import ChildEnd, Limit, Start, spawn
from curation.wasm import compilation
from curation.wasm.compilation import FROM_COMPILER, TO_COMPILER, Bounds, Compile, CompileEnd
from curation.wasm.limits import size_text

logger = logging.getLogger(__name__)

CPU_SECONDS = 20
"""Processor time of one compilation: a busy machine fails no good module. The shipped one's 80 KB take 0.2 s."""

CPU_SECONDS_PER_MIB = 10
"""What each whole MiB of the module adds, so that a processor of half the speed will do: 8 MiB of code like the shipped
module's take 24 s of a busy core, the 12 MB of a component of JavaScript 61 s, the 20 MB of one of Python 45 s."""

MEMORY_BYTES = 1 << 30
"""Address space of the process, beyond what it begins with: measured, 14 MiB for the shipped module, 409 for 8 MiB
like it, 800 for a component of JavaScript, 600 for one of Python."""

WALL_SECONDS = 600.0
"""Time of one compilation, against one that hangs without using processor time."""

ARTIFACT_BYTES = 4 << 20
"""Size of an artifact, unless the module is large: then ARTIFACT_FACTOR times the module."""

ARTIFACT_FACTOR = 25
"""Measured: 5.3 for the shipped module, 18 for a small one that is all frame, 41 for 600 KB of empty functions."""

MAX_ARTIFACT_BYTES = 256 << 20
"""Of any artifact: what is kept of all has a bound too. JavaScript's has 70 MiB, Python's 48."""

OPEN_BYTES = 4 << 20
"""Memory that a run takes before its first instruction, its linear memory left out; or as much as the module has.
Measured: 30 KiB for the shipped module, 0.4 MiB for 5 MiB of code."""

_NOISE_SHOWN = 200
_TARGET = "curation.wasm.compile_child:main"
_HARDENING = Hardening(nice=5)


class ModuleFault(StrEnum):
    """What is wrong with a module that is not compiled."""

    INVALID = "invalid"
    MISFIT = "misfit"
    BOUNDS = "bounds"


class NotCompiled(Exception):
    """A module's fault, with what is wrong and what helps: one problem a line.

    `lasting` says that the next compilation would end in the same way.
    """

    def __init__(self, fault: ModuleFault, message: str, *, lasting: bool = True) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.lasting = lasting


@dataclass(frozen=True, slots=True)
class Compiled:
    """An artifact that was made: a file, for the caller to keep or to remove."""

    path: Path
    start_bytes: int
    """Linear memory that the module begins with."""
    trapping: tuple[str, ...] = ()
    """Interfaces of WASI that it imports: a run traps when it calls one of their functions."""


@dataclass(frozen=True, slots=True)
class _Tried:
    """What one process came to."""

    answer: CompileEnd | None
    begun: bool
    """It had begun with the module."""
    end: ChildEnd
    hung: bool


class Compiler:
    """Compiles each module in a process of its own, into files of a folder. For one event loop.

    The thread must live as long as its processes.
    """

    def __init__(self, folder: Path, start: Start = spawn) -> None:
        """The folder must be private to this user: machine code is written into it.

        `start` begins a process: that of a `nursery.Nursery`, or `spawn.spawn`.
        """
        self._folder = folder
        self._start = start
        self._children: set[Child] = set()
        self._closed = False

    async def compile(self, wasm: bytes) -> Compiled:
        """The artifact of a binary component whose imports and exports are those of a guest, and which can be opened.

        Raises NotCompiled, or OSError if no process can be started, a file not be written or the compiler was closed.
        """
        bounds = Bounds(
            memory_bytes=MEMORY_BYTES,
            cpu_seconds=CPU_SECONDS + CPU_SECONDS_PER_MIB * (len(wasm) >> 20),
            artifact_bytes=min(max(ARTIFACT_BYTES, ARTIFACT_FACTOR * len(wasm)), MAX_ARTIFACT_BYTES),
            open_bytes=max(OPEN_BYTES, len(wasm)),
        )
        descriptor, name = tempfile.mkstemp(dir=self._folder, prefix=".new-")  # mode 0600
        path, kept = Path(name), False
        try:
            with os.fdopen(descriptor, "wb") as artifact:
                answer = await self._answer(wasm, artifact, bounds)
            text = answer.payload.decode(errors="replace")
            match answer.kind:
                case compilation.ARTIFACT:
                    kept = True
                    return Compiled(path, answer.start_bytes, tuple(text.split("\n")) if text else ())
                case compilation.MISFIT:
                    raise NotCompiled(ModuleFault.MISFIT, text)
                case compilation.BOUNDS:
                    raise NotCompiled(ModuleFault.BOUNDS, text)
                case _:
                    raise _invalid(f"it does not compile: {' '.join(text.split())}")
        finally:
            if not kept:
                path.unlink(missing_ok=True)  # noqa: ASYNC240 - of a local folder, as `mkstemp` is

    def close(self) -> None:
        """End the processes, and let no other start. Does not wait: whoever compiles gets OSError."""
        self._closed = True
        for child in self._children:
            child.kill()

    async def _answer(self, wasm: bytes, artifact: IO[bytes], bounds: Bounds) -> CompileEnd:
        """What a process answers, of two at the most. Raises NotCompiled and OSError."""
        for last_try in (False, True):
            tried = await self._tried(wasm, artifact, bounds)
            answer, end = tried.answer, tried.end
            if (answer is not None and answer.kind == compilation.NO_MEMORY) or end.limit is Limit.MEMORY:
                raise _over(f"{size_text(bounds.memory_bytes)} of memory")
            if answer is not None:
                return answer
            if tried.hung:
                # A compiler computes. One that hangs was stopped, or had no processor: no fault of the module's.
                raise _over(f"{WALL_SECONDS:g} s", lasting=False)
            if end.exit_code == compilation.NO_ROOM:
                raise OSError(errno.ENOSPC, f"no room for a compiled module in {self._folder}")
            if end.limit is Limit.PROCESSOR_TIME:
                raise _over(f"{bounds.cpu_seconds} s of processor time")
            died = str(replace(end, stderr=end.stderr[-_NOISE_SHOWN:]))
            if not tried.begun:
                raise OSError(f"the process that compiles modules does not start ({died})")
            if last_try:
                # Whoever kills processes where memory is short may have done it: that is not to be held against it.
                raise _invalid(f"it does not compile: the compiler died of it, twice ({died})", lasting=False)
            logger.warning("the process that compiles modules has died (%s); another one tries the module", died)
        raise AssertionError("the second try returns or raises")

    async def _tried(self, wasm: bytes, artifact: IO[bytes], bounds: Bounds) -> _Tried:
        begun, answer = False, None

        def hear(frame: Frame) -> None:
            nonlocal begun, answer
            if isinstance(frame, CompileEnd):
                answer = frame
            else:
                begun = True

        with tempfile.TemporaryFile(dir=self._folder) as module:
            await asyncio.to_thread(_write, module, wasm)
            artifact.seek(0)
            artifact.truncate()
            if self._closed:
                raise _closed()
            child = Child(
                _TARGET, _HARDENING, to_child=TO_COMPILER, from_child=FROM_COMPILER, on_frame=hear, start=self._start
            )
            self._children.add(child)
            hung = False
            try:
                child.send(Compile(bounds=bounds, descriptors=(module.fileno(), artifact.fileno())))
                async with asyncio.timeout(WALL_SECONDS):
                    await asyncio.shield(child.ended)
            except TimeoutError:
                hung = True
            finally:
                end = await child.close()
                self._children.discard(child)
        if self._closed:
            raise _closed()
        return _Tried(answer, begun, end, hung)


def _write(file: IO[bytes], content: bytes) -> None:
    file.write(content)
    file.flush()
    file.seek(0)


def _over(bound: str, *, lasting: bool = True) -> NotCompiled:
    return NotCompiled(
        ModuleFault.BOUNDS,
        f"compiling it takes more than {bound}, which is all that it may take: make its functions smaller, with fewer "
        "nested loops and fewer locals",
        lasting=lasting,
    )


def _invalid(what: str, *, lasting: bool = True) -> NotCompiled:
    return NotCompiled(
        ModuleFault.INVALID,
        f"{what}; the file is damaged, or it uses a feature of WebAssembly that is not enabled here: build it "
        "anew, for the features that all engines have",
        lasting=lasting,
    )


def _closed() -> OSError:
    return OSError(errno.ECANCELED, "the compiler is closed")
