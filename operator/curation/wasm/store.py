"""The module store: bytes in, checked and compiled modules out, by the digest of the bytes.

The module reconciler loads modules here and shows the reason when that fails; the executor takes them from here for
each run. One module is compiled at a time, by a process of its own and within bounds, so that one that is hard to
compile delays other modules for a while but no running job.
"""

import asyncio
import hashlib
import tempfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path

from wasmtime import Engine, WasmtimeError
from wasmtime.component import Component

from curation.wasm.abi import RUN, binary_problem
from curation.wasm.artifacts import Artifact, ArtifactDir
from curation.wasm.compiler import Compiler, Fault, NotCompiled
from curation.wasm.engine import new_engine, new_store
from curation.wasm.host import NO_HOST, link
from curation.wasm.limits import Limits
from curation.wasm.watchdog import Watchdog

MAX_MODULE_BYTES = 8 << 20
"""What is kept of a module in memory, more than once, before anything is known about it."""

CONFIG_MAP_BYTES = 1 << 20
"""What the API server lets a ConfigMap hold, all its keys together."""

MAX_LOADED = 256
"""Modules held ready. One costs a path: its code is mapped from the artifact by each run."""

MAX_REFUSED = 1024
"""Modules remembered as those that take too much to compile: they are loaded again whenever their object changes."""

IDLE_SECONDS = 30.0
"""How long the compiler's process is kept for another module: it holds as much memory as the last ones took."""

Fetch = Callable[[], Awaitable[bytes]]


class ModuleReason(StrEnum):
    """Reasons of a CurationModule's Ready condition."""

    COMPILED = "Compiled"
    DIGEST_MISMATCH = "DigestMismatch"
    ABI_MISMATCH = "AbiMismatch"
    TOO_LARGE = "TooLarge"
    NOT_FOUND = "NotFound"
    INVALID = "Invalid"


class ModuleLoadError(Exception):
    """A module that cannot be used: the reason of its Ready condition, and what is wrong and what helps."""

    def __init__(self, reason: ModuleReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


_REASONS = {
    Fault.INVALID: ModuleReason.INVALID,
    Fault.MISFIT: ModuleReason.ABI_MISMATCH,
    Fault.BOUNDS: ModuleReason.TOO_LARGE,
}


class ModuleUnreadable(Exception):
    """What a run needs of a module cannot be read now: that says nothing about the module, and another try may do."""


@dataclass(frozen=True, slots=True)
class LoadedModule:
    """A module that fits the contract and is compiled."""

    digest: str
    artifact: Artifact

    @property
    def size_bytes(self) -> int:
        """Size of the WebAssembly bytes."""
        return self.artifact.size_bytes

    def open(self) -> tuple[Engine, Component]:
        """A fresh engine with the module in it, for one run. Raises WasmtimeError if the artifact is gone."""
        engine = new_engine()
        try:
            return engine, Component.deserialize_file(engine, str(self.artifact.path))
        except WasmtimeError:
            engine.close()
            raise


def digest_of(wasm: bytes) -> str:
    """``sha256:`` and the hexadecimal hash of the bytes."""
    return f"sha256:{hashlib.sha256(wasm).hexdigest()}"


def check_module(wasm: bytes) -> list[str]:
    """What keeps the bytes from being a module, one sentence each; empty if nothing does. Compiles them: blocking.

    Raises OSError if the compiler cannot be started.
    """
    compiler = Compiler()
    try:
        _compile(compiler, wasm)
    except ModuleLoadError as error:
        return error.message.split("\n")
    finally:
        compiler.end()
    return []


def builtin_bytes(name: str) -> bytes:
    """The bytes of a module that the operator ships. Raises ModuleLoadError, naming those there are."""
    names = builtin_names()
    if name not in names:
        shipped = ", ".join(names) or "none"
        raise ModuleLoadError(
            ModuleReason.NOT_FOUND, f"there is no builtin module {name!r}; this operator ships: {shipped}"
        )
    return (resources.files("curation.wasm") / "builtins" / f"{name}.wasm").read_bytes()


def builtin_names() -> list[str]:
    """Names of the modules that the operator ships, each with its version."""
    folder = resources.files("curation.wasm") / "builtins"
    if not folder.is_dir():
        return []
    return sorted(each.name.removesuffix(".wasm") for each in folder.iterdir() if each.name.endswith(".wasm"))


class ModuleStore:
    """Compiled modules by digest, in memory and in a private folder. For one event loop; close it."""

    def __init__(self, cache_dir: Path | None = None) -> None:
        """Keeps artifacts in `cache_dir`, or without one in a folder of its own that ends with the store.

        Raises CacheDirError for a folder that others can write or read.
        """
        self._temporary = None if cache_dir else tempfile.TemporaryDirectory(prefix="curation-modules-")
        self._artifacts = ArtifactDir(cache_dir or Path(self._temporary.name if self._temporary else ""))
        self._loaded: OrderedDict[str, LoadedModule] = OrderedDict()
        self._loading: dict[str, asyncio.Task[LoadedModule]] = {}
        self._refused: OrderedDict[str, str] = OrderedDict()
        self._compiler = Compiler()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wasm-compiler")
        self._idle: asyncio.TimerHandle | None = None

    def get(self, digest: str) -> LoadedModule | None:
        """The module, if it is ready."""
        module = self._loaded.get(digest)
        if module is not None:
            self._loaded.move_to_end(digest)
        return module

    async def load(self, digest: str, fetch: Fetch) -> LoadedModule:
        """The module with this digest; its bytes are fetched only if it was never compiled here.

        Raises ModuleLoadError, OSError if the folder cannot be written or the compiler not be started, or whatever
        `fetch` raises. Callers that load the same digest at once share one load; but an error of it is the first
        caller's alone, since it may be about that caller's source: the others try with their own.
        """
        while True:
            module = self.get(digest)
            if module is not None:
                return module
            task = self._loading.get(digest)
            if task is not None:
                await asyncio.wait({task})
                continue
            task = self._loading[digest] = asyncio.create_task(self._load(digest, fetch))
            task.add_done_callback(lambda done: self._load_ended(digest, done))
            return await asyncio.shield(task)

    async def load_builtin(self, name: str) -> LoadedModule:
        """A module that the operator ships. Raises ModuleLoadError."""
        wasm = await asyncio.get_running_loop().run_in_executor(self._thread, builtin_bytes, name)
        return await self.load_bytes(wasm)

    async def load_bytes(self, wasm: bytes) -> LoadedModule:
        """A module whose bytes are at hand, under their own digest. Raises ModuleLoadError."""

        async def fetch() -> bytes:
            return wasm

        return await self.load(digest_of(wasm), fetch)

    def forget(self, digest: str) -> None:
        """Drops a module from memory, as when its artifact turned out to be gone: the next load looks at the folder."""
        self._loaded.pop(digest, None)

    async def close(self) -> None:
        """Ends the compiler, whatever it is at, then removes the folder if it was the store's own."""
        self._compiler.close()
        for task in list(self._loading.values()):
            task.cancel()
        await asyncio.gather(*self._loading.values(), return_exceptions=True)
        self._keep_compiler(None)
        # What a module's start functions do is let end first (5 s at the most): it must not stop the loop.
        await asyncio.get_running_loop().run_in_executor(self._thread, self._compiler.end)
        self._thread.shutdown(wait=True)
        if self._temporary is not None:
            self._temporary.cleanup()

    async def _load(self, digest: str, fetch: Fetch) -> LoadedModule:
        loop = asyncio.get_running_loop()
        artifact = await loop.run_in_executor(self._thread, self._usable, digest)
        if artifact is None:
            wasm = await fetch()
            try:
                artifact = await loop.run_in_executor(self._thread, self._compiled, digest, wasm)
            finally:
                self._keep_compiler(IDLE_SECONDS)
        module = self._loaded[digest] = LoadedModule(digest, artifact)
        while len(self._loaded) > MAX_LOADED:
            self._loaded.popitem(last=False)
        return module

    def _keep_compiler(self, seconds: float | None) -> None:
        """Has the compiler's process ended after so many seconds without a module, or never."""
        if self._idle is not None:
            self._idle.cancel()
        loop = asyncio.get_running_loop()
        self._idle = None if seconds is None else loop.call_later(seconds, self._thread.submit, self._compiler.end)

    def _load_ended(self, digest: str, task: asyncio.Task[LoadedModule]) -> None:
        self._loading.pop(digest, None)
        if not task.cancelled():
            task.exception()  # whoever waited has it; if all were cancelled, it is nobody's

    def _usable(self, digest: str) -> Artifact | None:
        """The kept artifact, if this machine's processor and wasmtime take it."""
        artifact = self._artifacts.get(digest)
        if artifact is None:
            return None
        try:
            engine, component = LoadedModule(digest, artifact).open()
        except WasmtimeError:
            self._artifacts.drop(digest)
            return None
        component.close()
        engine.close()
        return artifact

    def _compiled(self, digest: str, wasm: bytes) -> Artifact:
        _check_size(wasm)
        actual = digest_of(wasm)
        if actual != digest:
            message = f"the bytes have digest {actual}, spec.digest says {digest}: fix whichever is wrong"
            raise ModuleLoadError(ModuleReason.DIGEST_MISMATCH, message)
        if digest in self._refused:
            raise ModuleLoadError(ModuleReason.TOO_LARGE, self._refused[digest])
        try:
            artifact = _compile(self._compiler, wasm)
        except ModuleLoadError as error:
            if error.reason is ModuleReason.TOO_LARGE:
                self._refused[digest] = error.message
                while len(self._refused) > MAX_REFUSED:
                    self._refused.popitem(last=False)
            raise
        return self._artifacts.put(digest, artifact, len(wasm))


def _check_size(wasm: bytes) -> None:
    if len(wasm) > MAX_MODULE_BYTES:
        message = (
            f"the module has {len(wasm)} bytes, at most {MAX_MODULE_BYTES} are accepted: strip it, optimize for size"
        )
        raise ModuleLoadError(ModuleReason.TOO_LARGE, message)


def _compile(compiler: Compiler, wasm: bytes) -> bytes:
    """The artifact of a module that fits the contract. Raises ModuleLoadError, with one problem a line, and OSError."""
    _check_size(wasm)
    problem = binary_problem(wasm)
    if problem is not None:
        raise ModuleLoadError(ModuleReason.INVALID, problem)
    try:
        artifact = compiler.compile(wasm)
    except NotCompiled as error:
        raise ModuleLoadError(_REASONS[error.fault], error.message) from None
    with new_engine() as engine, Component.deserialize(engine, artifact) as component:
        problems = _link_problems(engine, component)
    if problems:
        raise ModuleLoadError(ModuleReason.ABI_MISMATCH, "\n".join(problems))
    return artifact


def _link_problems(engine: Engine, component: Component) -> list[str]:
    """What only an instance shows, since the types of functions do not say whether they are `async`.

    It takes a short run, that of the start functions; `run` is interrupted before its first instruction.
    """
    watchdog, limits = Watchdog(), Limits(cpu_seconds=1, wall_seconds=5)
    try:
        with (
            link(engine, component, NO_HOST) as linker,
            closing(new_store(engine, limits)) as store,
            watchdog.watch(store, limits),
        ):
            function = linker.instantiate(store, component).get_func(store, RUN)
            assert function is not None, "its type was checked before"
            engine.increment_epoch()
            function(store, "")
    except WasmtimeError as error:
        text = " ".join(str(error).split())
        if "async-lifted" in text:
            return [f"export {RUN} is async: declare it as a plain `func`, as the contract does"]
        if "linker" in text or "import" in text:
            return [f"it cannot be linked: {text}"]
        # A trap or a limit: the run's to tell.
    finally:
        watchdog.stop()
    return []
