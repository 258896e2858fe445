"""What a compiler's process runs: modules come in by stdin, artifacts go out by stdout, each within bounds.

`compiler` starts it and speaks to it. Only what compiling takes is imported here (no pydantic, so no `limits`): the
process is started by every operator, `check` and test that compiles anything.
"""

import ctypes
import math
import os
import resource
import signal
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from wasmtime import WasmtimeError
from wasmtime.component import Component

from curation.wasm.abi import abi_problems
from curation.wasm.engine import new_engine

REQUEST = struct.Struct(">IQ")
"""Before a module: the seconds of processor time that it may take, and how many bytes follow."""

ANSWER = struct.Struct(">cQ")
"""Before an answer: what it is, one of those below, and how many bytes follow."""

READY = b"R"
"""Said once, before the first request is read: from here on a death may be a module's fault."""
ARTIFACT = b"A"
INVALID = b"I"
"""What wasmtime says of a module that it does not compile."""
MISFIT = b"P"
"""What keeps a compiled module from being a guest, one problem a line."""
NO_MEMORY = b"M"

_PR_SET_PDEATHSIG = 1


def main(memory_bytes: int) -> None:
    """Answers requests until stdin ends. `memory_bytes` bounds the process's address space."""
    requests = sys.stdin.buffer
    # Whatever else is printed must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _end_with_parent()
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    _limit(resource.RLIMIT_CORE, 0)
    if sys.platform != "darwin":  # which refuses such a limit
        _limit(resource.RLIMIT_AS, memory_bytes)
    _answer(answers, READY, b"")
    while head := requests.read(REQUEST.size):
        seconds, size = REQUEST.unpack(head)
        wasm = requests.read(size)
        # The limit counts from the start of the process, in whole seconds.
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + seconds)
        _answer(answers, *_compiled(wasm))


def _answer(answers: BinaryIO, kind: bytes, content: bytes) -> None:
    answers.write(ANSWER.pack(kind, len(content)))
    answers.write(content)
    answers.flush()


def _compiled(wasm: bytes) -> tuple[bytes, bytes]:
    with new_engine() as engine:
        try:
            component = Component(engine, wasm)
        except WasmtimeError as error:
            text = str(error)
            kind = NO_MEMORY if os.strerror(12) in text else INVALID
            return kind, text.encode(errors="replace")
        with component:
            problems = abi_problems(engine, component)
            if problems:
                return MISFIT, "\n".join(problems).encode(errors="replace")
            return ARTIFACT, bytes(component.serialize())


def _limit(which: int, value: int) -> None:
    """Sets a limit of this process, as far as it is let: only the soft one, since that can be raised again."""
    hard = resource.getrlimit(which)[1]
    resource.setrlimit(which, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _end_with_parent() -> None:
    """While it compiles it does not see stdin end. And if memory runs short, this process is to go, not the parent."""
    if sys.platform == "linux":
        # Trap: the signal comes when the thread ends that started the process. The store's lives as long as the store.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
