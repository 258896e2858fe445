"""The compiler, in a process of its own for each module: nobody can predict from a module what it makes it do.

Cranelift's time and memory are not linear in the module's size: 7 KB of nested loops over many locals take minutes,
25 KB take gigabytes. Nor is what a run takes to open the artifact: 1.3 KB of nested instances take 187 MiB. So the
processor time and the memory of each compilation are bounded, the first opening of the artifact included, and that can
be done to a process only. Starting one takes some 0.15 s.
"""

import errno
import logging
import os
import signal
import subprocess
import tempfile
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, ValidationError

from curation.isolation.spawn import empty_environment, isolated_command, one_line
from curation.wasm import compile_child
from curation.wasm.compile_child import Bounds
from curation.wasm.limits import size_text

logger = logging.getLogger(__name__)

CPU_SECONDS = 20
"""Processor time of one compilation: a busy machine fails no good module. The shipped one's 80 KB take 0.2 s."""

CPU_SECONDS_PER_MIB = 10
"""What each whole MiB of the module adds, so that a processor of half the speed will do: 8 MiB of code like the shipped
module's take 24 s of a busy core, the 12 MB of a component of JavaScript 61 s, the 20 MB of one of Python 45 s."""

MEMORY_BYTES = 1 << 30
"""Address space of the process: measured, 52 MiB to begin with, 66 for the shipped module, 461 for 8 MiB like it,
774 for a component of JavaScript, 586 for one of Python. Of the 4 GiB of the Deployment's pod so much can be spared."""

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

_NOISE_KEPT = 4096
_NOISE_SHOWN = 200
_ANSWER_KEPT = 1 << 20

_NO_MEMORY = ("memory allocation of", "MemoryError")
"""What Rust and Python print when there is none left, before they end the process."""

_START = (
    "import sys; sys.path[:] = sys.argv[7:]; from curation.wasm.compile_child import Bounds, main; "
    "main(int(sys.argv[1]), int(sys.argv[2]), Bounds(*map(int, sys.argv[3:7])))"
)


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


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)

    kind: str
    text: str
    start_bytes: int


@dataclass(frozen=True, slots=True)
class _End:
    """How a process ended."""

    answer: _Answer | None
    ready: bool
    """It had begun with the module."""
    exit_code: int
    """Negative: the signal."""
    noise: str
    hung: bool


class Compiler:
    """Compiles one module at a time, each in a process of its own, into files of a folder.

    Blocking, and for one thread, which must live as long as its processes; only `close` may be called from any.
    """

    def __init__(self, folder: Path) -> None:
        """The folder must be private to this user: machine code is written into it."""
        self._folder = folder
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def compile(self, wasm: bytes) -> Compiled:
        """The artifact of a binary component whose imports and exports are those of a guest, and which can be opened.

        Raises NotCompiled, or OSError if no process can be started, a file not be written or the compiler was closed.
        """
        seconds = CPU_SECONDS + CPU_SECONDS_PER_MIB * (len(wasm) >> 20)
        bounds = Bounds(
            memory_bytes=MEMORY_BYTES,
            cpu_seconds=seconds,
            artifact_bytes=min(max(ARTIFACT_BYTES, ARTIFACT_FACTOR * len(wasm)), MAX_ARTIFACT_BYTES),
            open_bytes=max(OPEN_BYTES, len(wasm)),
        )
        descriptor, name = tempfile.mkstemp(dir=self._folder, prefix=".new-")  # mode 0600
        path = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as artifact:
                answer = self._answer(wasm, artifact, bounds)
            if answer.kind == compile_child.ARTIFACT:
                return Compiled(path, answer.start_bytes, tuple(answer.text.split("\n")) if answer.text else ())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        path.unlink(missing_ok=True)
        match answer.kind:
            case compile_child.MISFIT:
                raise NotCompiled(ModuleFault.MISFIT, answer.text)
            case compile_child.BOUNDS:
                raise NotCompiled(ModuleFault.BOUNDS, answer.text)
            case _:
                raise _invalid(f"it does not compile: {' '.join(answer.text.split())}")

    def close(self) -> None:
        """Kills the process of a compilation, and lets no other start. Does not wait: whoever compiles gets OSError."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def _answer(self, wasm: bytes, artifact: IO[bytes], bounds: Bounds) -> _Answer:
        """What a process answers, of two at the most. Raises NotCompiled and OSError."""
        for last_try in (False, True):
            end = self._tried(wasm, artifact, bounds)
            no_memory = end.answer.kind == compile_child.NO_MEMORY if end.answer is not None else False
            if no_memory or any(text in end.noise for text in _NO_MEMORY):
                raise _over(f"{size_text(bounds.memory_bytes)} of memory")
            if end.answer is not None:
                return end.answer
            if end.hung:
                raise _over(f"{WALL_SECONDS:g} s")
            if end.exit_code == compile_child.NO_ROOM:
                raise OSError(errno.ENOSPC, f"no room for a compiled module in {self._folder}")
            if end.exit_code == -signal.SIGXCPU:
                raise _over(f"{bounds.cpu_seconds} s of processor time")
            died = f"{_exit_text(end.exit_code)}: {end.noise}" if end.noise else _exit_text(end.exit_code)
            if not end.ready:
                raise OSError(f"the process that compiles modules does not start ({died})")
            if last_try:
                # Whoever kills processes where memory is short may have done it: that is not to be held against it.
                raise _invalid(f"it does not compile: the compiler died of it, twice ({died})", lasting=False)
            logger.warning("the process that compiles modules has died (%s); another one tries the module", died)
        raise AssertionError("the second try returns or raises")

    def _tried(self, wasm: bytes, artifact: IO[bytes], bounds: Bounds) -> _End:
        # All that is exchanged are files: no peer of a pipe can be slow, and nothing has to be read meanwhile.
        with ExitStack() as files:
            module, said, noise = (files.enter_context(tempfile.TemporaryFile(dir=self._folder)) for _ in range(3))
            module.write(wasm)
            module.seek(0)
            artifact.seek(0)
            artifact.truncate()
            hung = False
            process = self._started(module, artifact, said, noise, bounds)

            def hangs() -> None:
                nonlocal hung
                hung = True
                process.kill()

            timer = threading.Timer(WALL_SECONDS, hangs)
            timer.start()
            try:
                exit_code = process.wait()
            finally:
                timer.cancel()
                timer.join()
                with self._lock:
                    self._process = None
                    closed = self._closed
            if closed:
                raise _closed()
            said.seek(0)
            answer = said.read(_ANSWER_KEPT)
            noise.seek(0)
            return _End(
                answer=_parsed(answer[len(compile_child.READY) :]) if exit_code == 0 else None,
                ready=answer.startswith(compile_child.READY),
                exit_code=exit_code,
                noise=one_line(noise.read(_NOISE_KEPT))[:_NOISE_SHOWN],
                hung=hung,
            )

    def _started(
        self, module: IO[bytes], artifact: IO[bytes], said: IO[bytes], noise: IO[bytes], bounds: Bounds
    ) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise _closed()
            self._process = subprocess.Popen(
                isolated_command(_START, str(said.fileno()), str(os.getpid()), *map(str, bounds)),
                stdin=module,
                stdout=artifact,
                stderr=noise,
                pass_fds=[said.fileno()],
                cwd="/",
                env=empty_environment(),
                start_new_session=True,  # the terminal's Ctrl-C is for the parent
            )
            return self._process


def _parsed(answer: bytes) -> _Answer | None:
    try:
        return _Answer.model_validate_json(answer)
    except ValidationError:
        return None


def _over(bound: str) -> NotCompiled:
    return NotCompiled(
        ModuleFault.BOUNDS,
        f"compiling it takes more than {bound}, which is all that it may take: make its functions smaller, with fewer "
        "nested loops and fewer locals",
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


def _exit_text(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
