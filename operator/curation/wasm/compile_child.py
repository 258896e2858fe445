"""What a compiler's process does: one module comes in as a file, its artifact goes out as one.

`compiler` starts it, for one module. Only what compiling takes is imported here (no pydantic, so no `limits`).
"""

import errno
import math
import os
import re
import resource
import signal
import socket
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from wasmtime import Engine, WasmtimeError
from wasmtime.component import Component

from curation.isolation.blocking import BlockingChannel
from curation.isolation.hardening import limit
from curation.wasm.abi import RUN, abi_problems, trapping_imports
from curation.wasm.compilation import (
    ARTIFACT,
    BOUNDS,
    FROM_COMPILER,
    INVALID,
    MISFIT,
    NO_MEMORY,
    NO_ROOM,
    TEXT_CHARACTERS,
    TO_COMPILER,
    Begun,
    Bounds,
    Compile,
    CompileEnd,
)
from curation.wasm.engine import compiling_engine, new_engine, new_store
from curation.wasm.heap import heap_bytes
from curation.wasm.host_functions import NO_HOST, link
from curation.wasm.watchdog import Watchdog

MOST_MEMORY = 1 << 30
"""The most that spec.limits.memory can be: a module that begins with more can never run."""

_began_with: int | None = None
_PAGE = 1 << 16
_LEAST_FILE = 1 << 20
_STARTS_WITH = re.compile(r"memory minimum size of (\d{1,15}) pages exceeds memory limits")
_OVER = re.compile(r"resource limit exceeded: (.{1,200})|((?:memory|table) minimum size of .{1,200} exceeds .{1,80})")
_MIB = 1 << 20


class _Limits(NamedTuple):
    """As much of `limits.Limits` as a store and a watch need."""

    memory: int
    cpu_seconds: float = 1
    wall_seconds: float = 5


class _Answer(NamedTuple):
    kind: str
    text: str = ""
    start_bytes: int = 0


def main(channel: socket.socket) -> None:
    """Compile one module."""
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    frames = BlockingChannel(channel, outgoing=FROM_COMPILER, incoming=TO_COMPILER)
    asked = frames.receive()
    if asked is None:
        return
    assert isinstance(asked, Compile)
    module, artifact = asked.descriptors
    bounds = asked.bounds
    limit(resource.RLIMIT_FSIZE, max(bounds.artifact_bytes, _LEAST_FILE))
    _limit_memory(bounds.memory_bytes)
    # The limit counts from the start of the process, in whole seconds.
    limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + bounds.cpu_seconds)
    frames.send(Begun())
    try:
        with os.fdopen(module, "rb") as file:
            answer = _compiled(file.read(), artifact, bounds)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            os._exit(NO_ROOM)
        raise
    text = answer.text[:TEXT_CHARACTERS].encode(errors="replace")
    frames.send(CompileEnd(kind=answer.kind, start_bytes=answer.start_bytes, payload=text))
    # What is left need not be torn down piece by piece: a module can make that slow too.
    os._exit(0)


def _compiled(wasm: bytes, artifact_file: int, bounds: Bounds) -> _Answer:
    with compiling_engine() as engine:
        try:
            component = Component(engine, wasm)
        except WasmtimeError as error:
            return _Answer(NO_MEMORY if _no_memory(error) else INVALID, str(error))
        with component:
            problems = abi_problems(engine, component)
            if problems:
                return _Answer(MISFIT, "\n".join(problems))
            artifact = bytes(component.serialize())
            trapping = trapping_imports(engine, component)
    if len(artifact) > bounds.artifact_bytes:
        return _Answer(
            BOUNDS,
            f"its machine code has {len(artifact)} bytes, at most {bounds.artifact_bytes} are accepted of a module of "
            f"{len(wasm)} bytes: it instantiates the same component or function too often",
        )
    answer = _opened(artifact, bounds)
    if answer.kind == ARTIFACT:
        with os.fdopen(artifact_file, "wb") as file:
            file.write(artifact)
            file.flush()
            os.fsync(file.fileno())
        return answer._replace(text="\n".join(trapping))
    return answer


def _opened(artifact: bytes, bounds: Bounds) -> _Answer:
    """Opens it as a run does, up to the first instruction of `run`, and says what that has shown."""
    before = heap_bytes()
    with new_engine() as engine, Component.deserialize(engine, artifact) as component:
        # Trap: what instances take can be hidden behind a start function that traps here and not in a run. It is at
        # most a few times what opening takes, which cannot be hidden.
        taken = heap_bytes() - before
        if taken > bounds.open_bytes:
            return _too_much(taken, bounds)
        # The first try is to show how much memory it begins with: none fits.
        found = _STARTS_WITH.search(_instantiated(engine, component, 0)[1])
        start_bytes = int(found.group(1)) * _PAGE if found else 0
        if start_bytes > MOST_MEMORY:
            return _Answer(
                BOUNDS,
                f"it begins with {start_bytes // _MIB} MiB of memory, and spec.limits.memory is at most "
                f"{MOST_MEMORY // _MIB} MiB: give it less (a linker's --initial-memory)",
            )
        _limit_memory(bounds.memory_bytes + start_bytes)
        instance, text = _instantiated(engine, component, max(start_bytes, 64 * _MIB))
        if taken + instance > bounds.open_bytes:
            return _too_much(taken + instance, bounds)
    text = " ".join(text.split())
    if "async-lifted" in text:
        return _Answer(MISFIT, f"export {RUN} is async: declare it as a plain `func`, as the contract does")
    if over := _OVER.search(text):
        return _Answer(
            BOUNDS,
            f"it cannot be instantiated within the limits of a run: {over.group(1) or over.group(2)}; link it into "
            "fewer core modules, with one memory",
        )
    if _no_memory(text):
        return _Answer(NO_MEMORY, text)
    if "linker" in text or "import" in text:
        return _Answer(MISFIT, f"it cannot be linked: {text}")
    # Another trap, or the time: a run will show it.
    return _Answer(ARTIFACT, start_bytes=start_bytes)


def _instantiated(engine: Engine, component: Component, memory: int) -> tuple[int, str]:
    """The memory that an instance takes, and what ended it; `run` is interrupted before its first instruction.

    It takes a short run, that of the start functions.
    """
    limits = _Limits(memory)
    watchdog = Watchdog()
    before = heap_bytes()
    try:
        with (
            link(engine, component, NO_HOST) as linker,
            closing(new_store(engine, limits)) as store,
            watchdog.watch(store, limits),
        ):
            try:
                function = linker.instantiate(store, component).get_func(store, RUN)
                assert function is not None, "its type was checked before"
                engine.increment_epoch()
                function(store, "")
            except WasmtimeError as error:
                return heap_bytes() - before, str(error)
            return heap_bytes() - before, ""
    except WasmtimeError as error:  # of linking
        return 0, str(error)
    finally:
        watchdog.stop()


def _limit_memory(more: int) -> None:
    """Bound the address space to what this process began with, and so many bytes more."""
    global _began_with
    if sys.platform == "darwin":
        return  # which refuses such a limit
    if _began_with is None:
        with suppress(OSError):
            _began_with = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit(resource.RLIMIT_AS, (_began_with or 0) + more)


def _too_much(taken: int, bounds: Bounds) -> _Answer:
    return _Answer(
        BOUNDS,
        f"each run of it takes {taken // 1024} KiB of memory before its first instruction, beside its linear memory, "
        f"at most {bounds.open_bytes // 1024} KiB are accepted: it has too many instances, imports or exports",
    )


def _no_memory(error: object) -> bool:
    return os.strerror(12) in str(error)
