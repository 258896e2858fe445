"""The compiler, in a process of its own: what a module makes it do cannot be told from the module.

Cranelift's time and memory are not linear in the module's size: 7 KB of nested loops over many locals take minutes,
25 KB take gigabytes. So the processor time and the memory of each compilation are bounded, and that can be done to a
process only.
"""

import errno
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from curation.wasm import compile_child
from curation.wasm.compile_child import ANSWER, REQUEST
from curation.wasm.limits import size_text

logger = logging.getLogger(__name__)

CPU_SECONDS = 20
"""Processor time of one compilation: a busy machine fails no good module. The shipped one's 80 KB take 0.2 s."""

CPU_SECONDS_PER_MIB = 5
"""What each whole MiB of the module adds: 8 MiB of code like the shipped module's take 24 s of a shared core."""

MEMORY_BYTES = 1 << 30
"""Address space of the process: measured, 52 MiB to begin with, 66 for the shipped module, 461 for 8 MiB like it. Of
the 4 GiB of the Deployment's pod so much can be spared."""

WALL_SECONDS = 600.0
"""Time of one compilation, against one that hangs without using processor time."""

_EXIT_SECONDS = 5.0
_READ_BYTES = 1 << 20
_NOISE_KEPT = 4096
_NOISE_SHOWN = 200
_DIED = b""
"""Stands for an answer, where there was none."""

_NO_MEMORY = ("memory allocation of", "MemoryError")
"""What Rust and Python print when there is none left, before they end the process."""

_START = "import sys; sys.path[:] = sys.argv[2:]; from curation.wasm.compile_child import main; main(int(sys.argv[1]))"
# The interpreter itself may need it to start.
_NEEDED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
# A thread's arena would take 64 MiB of the address space.
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}


class Fault(StrEnum):
    """What is wrong with a module that is not compiled."""

    INVALID = "invalid"
    MISFIT = "misfit"
    BOUNDS = "bounds"


class NotCompiled(Exception):
    """A module's fault, with what is wrong and what helps: one problem a line."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message


class Compiler:
    """Compiles one module at a time, in a process that is started when first needed and then kept.

    Blocking, and for one thread, which must live as long as the process is to; only `close` may be called from any.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._closed = False

    def compile(self, wasm: bytes) -> bytes:
        """The artifact of a binary component whose imports and exports are those of a guest.

        Raises NotCompiled, or OSError if no process can be started or the compiler was closed.
        """
        kind, content, died = self._try(wasm)
        if kind == _DIED:
            # A module is to blame only for what it does to a fresh process too.
            logger.warning("the process that compiles modules has died (%s); another one tries the module", died)
            kind, content, died = self._try(wasm)
        match kind:
            case compile_child.ARTIFACT:
                return content
            case compile_child.MISFIT:
                raise NotCompiled(Fault.MISFIT, content.decode())
            case compile_child.INVALID:
                what = f"it does not compile: {' '.join(content.decode().split())}"
            case _:
                what = f"it does not compile: the compiler died of it, twice ({died})"
        raise NotCompiled(
            Fault.INVALID,
            f"{what}; the file is damaged, or it uses a feature of WebAssembly that is not enabled here: build it "
            "anew, for the features that all engines have",
        )

    def end(self) -> None:
        """Ends the process, if there is one. The next module has another one started."""
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.end()

    def close(self) -> None:
        """Kills the process, also under a compilation, and has no other one started. Does not wait: `end` does."""
        with self._lock:
            self._closed = True
            if self._child is not None:
                self._child.kill()

    def _try(self, wasm: bytes) -> tuple[bytes, bytes, str]:
        """What the process answers; or _DIED, and how. Raises NotCompiled for a bound, and OSError."""
        seconds = CPU_SECONDS + CPU_SECONDS_PER_MIB * (len(wasm) >> 20)
        while True:
            child, fresh = self._current()
            try:
                kind, content = child.ask(seconds, wasm)
                exit_code, noise = 0, ""
            except _Hangs:
                self.end()
                raise _over(f"{WALL_SECONDS:g} s") from None
            except _Ended:
                kind, content = _DIED, b""
                exit_code, noise = self._reap()
            if exit_code == -signal.SIGXCPU:
                raise _over(f"{seconds} s of processor time")
            if kind != compile_child.NO_MEMORY and not any(text in noise for text in _NO_MEMORY):
                died = f"{_exit_text(exit_code)}: {noise}" if noise else _exit_text(exit_code)
                if kind == _DIED and not child.ready:
                    raise OSError(f"the process that compiles modules does not start ({died})")
                return kind, content, died
            self.end()
            if fresh:
                raise _over(f"{size_text(MEMORY_BYTES)} of memory")
            # Some of the memory may be what modules before it have left behind.

    def _current(self) -> tuple["_Child", bool]:
        """The process, and whether it is a new one. Raises OSError."""
        with self._lock:
            if self._closed:
                raise _closed()
            if self._child is not None:
                return self._child, False
            self._child = _Child()
            return self._child, True

    def _reap(self) -> tuple[int, str]:
        """How a process has ended that is dead or about to be. Raises OSError if `close` has done it."""
        with self._lock:
            # From here on `close` does not find it: its id may be another's once it is reaped.
            child, self._child = self._child, None
            closed = self._closed
        assert child is not None, "only this thread takes it away"
        end = child.end(_EXIT_SECONDS)
        if closed:
            raise _closed()
        return end


class _Ended(Exception):
    """The process has closed its stdout: it is dead, or about to be."""


class _Hangs(Exception):
    """No answer within WALL_SECONDS."""


class _Child:
    """One process, and the pipes to it. Raises OSError if it cannot be started."""

    def __init__(self) -> None:
        # What is importable here is there too, from the same places: -I and -S leave PYTHONPATH and .pth files out.
        path = [str(Path(entry).absolute()) for entry in sys.path]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-c", _START, str(MEMORY_BYTES), *path],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={name: os.environ[name] for name in _NEEDED if name in os.environ} | _ENVIRONMENT,
            start_new_session=True,  # the terminal's Ctrl-C is for the parent
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._requests, self._answers, self._stderr = self._process.stdin, self._process.stdout, self._process.stderr
        for pipe in (self._requests, self._answers, self._stderr):
            os.set_blocking(pipe.fileno(), False)
        self._received = bytearray()
        self._noise = b""
        self.ready = False

    def ask(self, seconds: int, wasm: bytes) -> tuple[bytes, bytes]:
        """What it answers about a module that may take so much processor time. Raises _Ended and _Hangs."""
        hangs_at = time.monotonic() + WALL_SECONDS
        unsent = memoryview(REQUEST.pack(seconds, len(wasm)) + wasm)
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_WRITE)
            selector.register(self._answers, selectors.EVENT_READ)
            selector.register(self._stderr, selectors.EVENT_READ)
            while True:
                left = hangs_at - time.monotonic()
                if left <= 0:
                    raise _Hangs
                ready = {key.fileobj for key, _ in selector.select(left)}
                if self._requests in ready:
                    try:
                        unsent = unsent[os.write(self._requests.fileno(), unsent) :]
                    except BrokenPipeError:
                        unsent = unsent[:0]  # its stdout ends too
                    if not unsent:
                        selector.unregister(self._requests)
                if self._stderr in ready and not self._listen():
                    selector.unregister(self._stderr)
                if self._answers in ready:
                    received = os.read(self._answers.fileno(), _READ_BYTES)
                    if not received:
                        raise _Ended
                    self._received += received
                    answer = self._answer()
                    if answer is not None:
                        return answer

    def kill(self) -> None:
        """Kills it; `end` reaps it."""
        self._process.kill()

    def end(self, patience: float = 0) -> tuple[int, str]:
        """Its exit code (negative: the signal) and the first of what it has printed, after so many seconds killed."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with suppress(BlockingIOError):
            while self._listen():
                pass
        for pipe in (self._requests, self._answers, self._stderr):
            pipe.close()
        text = " ".join(self._noise.decode(errors="replace").split())
        return self._process.returncode, "".join(char for char in text if char.isprintable())[:_NOISE_SHOWN]

    def _answer(self) -> tuple[bytes, bytes] | None:
        """The answer, once it has come whole."""
        while len(self._received) >= ANSWER.size:
            kind, size = ANSWER.unpack_from(self._received)
            if len(self._received) < ANSWER.size + size:
                return None
            content = bytes(memoryview(self._received)[ANSWER.size : ANSWER.size + size])
            self._received = self._received[ANSWER.size + size :]
            if kind != compile_child.READY:
                return kind, content
            self.ready = True
        return None

    def _listen(self) -> bool:
        """Takes what it has printed, and keeps the beginning. False once it cannot print any more."""
        printed = os.read(self._stderr.fileno(), _READ_BYTES)
        self._noise += printed[: _NOISE_KEPT - len(self._noise)]
        return bool(printed)


def _over(bound: str) -> NotCompiled:
    return NotCompiled(
        Fault.BOUNDS,
        f"compiling it takes more than {bound}, which is all that it may take: make its functions smaller, with fewer "
        "nested loops and fewer locals",
    )


def _closed() -> OSError:
    return OSError(errno.ECANCELED, "the compiler is closed")


def _exit_text(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
