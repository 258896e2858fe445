"""The module store: bytes in, checked and compiled modules out, by the digest of the bytes.

The module reconciler loads modules here and shows the reason when that fails; the executor takes them from here for
each run. One module is compiled at a time, in turn between namespaces, by a process of its own and within bounds: so
one that is hard to compile delays others that are to be compiled by a turn, and those that are compiled not at all.

What is kept here says nothing about anybody's source: whether a namespace has the bytes is for it to show.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cachetools import LRUCache

from curation.isolation.spawn import Start, spawn
from curation.turns import AwaitedTurns
from curation.wasm.artifacts import Artifact, ArtifactDir, CompileRefusal
from curation.wasm.compiler import Compiler, ModuleFault, NotCompiled
from curation.wasm.module_bytes import builtin_bytes, check_binary, check_size, digest_of
from curation.wasm.module_errors import ModuleLoadError, ModuleReason

MAX_LOADED = 256
"""Modules held ready. One costs a path: its code is mapped from the artifact by each run."""

OURS = ""
"""The namespace of what the operator ships: it is compiled before all others."""

Fetch = Callable[[], Awaitable[bytes]]


_REASONS = {
    ModuleFault.INVALID: ModuleReason.INVALID,
    ModuleFault.MISFIT: ModuleReason.ABI_MISMATCH,
    ModuleFault.BOUNDS: ModuleReason.TOO_LARGE,
}


@dataclass(frozen=True, slots=True)
class LoadedModule:
    """A module that fits the contract and is compiled."""

    digest: str
    artifact: Artifact

    @property
    def size_bytes(self) -> int:
        """Size of the WebAssembly bytes."""
        return self.artifact.size_bytes

    @property
    def path(self) -> Path:
        """Where its artifact is."""
        return self.artifact.path

    @property
    def start_bytes(self) -> int:
        """Linear memory that the module begins with."""
        return self.artifact.start_bytes


@dataclass(frozen=True, slots=True)
class Examined:
    """What compiling a module has shown."""

    problems: list[str]
    """What keeps the bytes from being a module, one sentence each; empty if nothing does."""
    trapping: tuple[str, ...] = ()
    """Interfaces of WASI that it imports: it fits, and a run traps when it calls one of their functions."""
    start_bytes: int = 0
    """Linear memory that it begins with."""


def examine_module(wasm: bytes, cache_dir: Path | None = None) -> Examined:
    """Compiles a module, if it is not compiled in `cache_dir`, and says what that shows. Blocking.

    Raises OSError if the compiler cannot be started, and what `ModuleStore` does for its folder.
    """

    async def artifact() -> Artifact:
        store = ModuleStore(cache_dir)
        try:
            return (await store.load_bytes(wasm)).artifact
        finally:
            await store.close()

    try:
        found = asyncio.run(artifact())
    except ModuleLoadError as error:
        return Examined(error.message.split("\n"))
    return Examined([], found.trapping, found.start_bytes)


def check_module(wasm: bytes) -> list[str]:
    """What keeps the bytes from being a module: see `Examined.problems`, and `examine_module`."""
    return examine_module(wasm).problems


class ModuleStore:
    """Compiled modules by digest, in memory and in a private folder. For one event loop; close it."""

    def __init__(self, cache_dir: Path | None = None, start: Start = spawn) -> None:
        """Keeps artifacts in `cache_dir`, or without one in a folder of its own that ends with the store.

        `start` begins the processes that compile: see `Compiler`.

        Raises CacheDirError for a folder that others can write or read.
        """
        self._temporary = None if cache_dir else tempfile.TemporaryDirectory(prefix="curation-modules-")
        self.folder = folder = cache_dir or Path(self._temporary.name if self._temporary else "")
        """Private to this user: for other files that come and go with modules, too."""
        self._artifacts = ArtifactDir(folder)
        self._loaded: LRUCache[str, LoadedModule] = LRUCache(MAX_LOADED)
        self._finding: dict[str, asyncio.Task[LoadedModule | CompileRefusal | None]] = {}
        self._compiling: set[asyncio.Task[LoadedModule]] = set()
        self._turns = AwaitedTurns(1, first=OURS)
        self._compiler = Compiler(folder, start)
        self._files = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wasm-artifacts")

    def get(self, digest: str) -> LoadedModule | None:
        """The module, if it is ready."""
        return self._loaded.get(digest)

    def has(self, digest: str) -> bool:
        """Whether the module is compiled, as far as is known at once; a run may still find it damaged, or removed."""
        return digest in self._loaded or self._artifacts.has(digest)

    @property
    def waiting(self) -> int:
        """How many wait to be compiled."""
        return self._turns.waiting

    async def find(self, digest: str) -> LoadedModule | None:
        """The module, if it is compiled; that waits for no compiler.

        Raises ModuleLoadError for one that is known to be none.
        """
        module = self.get(digest)
        if module is not None:
            return module
        task = self._finding.get(digest)
        if task is None:
            task = self._finding[digest] = asyncio.create_task(self._found(digest))
            task.add_done_callback(lambda _: self._finding.pop(digest, None))
        found = await asyncio.shield(task)
        if isinstance(found, CompileRefusal):
            raise ModuleLoadError(_REASONS[found.fault], found.message)
        return found

    async def load(self, digest: str, fetch: Fetch, namespace: str) -> LoadedModule:
        """The module with this digest. If it is not compiled its bytes are fetched, in a turn of the namespace.

        Raises ModuleLoadError, OSError if the folder cannot be written or the compiler not be started, or whatever
        `fetch` raises. A caller that is cancelled ends no compilation: what it makes is kept.
        """
        module = await self.find(digest)
        if module is not None:
            return module
        # Each caller waits in its own line, also for the same bytes: else another namespace could be the one to wait.
        release = await self._turns.take(namespace)
        task = asyncio.create_task(self._in_turn(digest, fetch, namespace))
        self._compiling.add(task)
        task.add_done_callback(partial(self._turn_ended, release))
        return await asyncio.shield(task)

    async def load_builtin(self, name: str) -> LoadedModule:
        """A module that the operator ships. Raises ModuleLoadError."""
        return await self.load_bytes(await asyncio.to_thread(builtin_bytes, name))

    async def load_bytes(self, wasm: bytes, namespace: str = OURS) -> LoadedModule:
        """A module whose bytes are at hand, under their own digest. Raises ModuleLoadError."""

        async def fetch() -> bytes:
            return wasm

        return await self.load(digest_of(wasm), fetch, namespace)

    def forget(self, digest: str) -> None:
        """Drops a module from memory, as when its artifact turned out to be gone: the next load reads the folder."""
        self._loaded.pop(digest, None)

    async def close(self) -> None:
        """Ends the compiler, whatever it is at, then removes the folder if it was the store's own."""
        self._compiler.close()
        self._turns.close()
        tasks = [*self._compiling, *self._finding.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Whoever still waits for a turn must not get one, and what is under way ends soon: off the loop.
        await asyncio.get_running_loop().run_in_executor(self._files, _nothing)
        self._files.shutdown(wait=True)
        if self._temporary is not None:
            self._temporary.cleanup()

    async def _found(self, digest: str) -> LoadedModule | CompileRefusal | None:
        found = await asyncio.get_running_loop().run_in_executor(self._files, self._usable, digest)
        return self._keep(digest, found) if isinstance(found, Artifact) else found

    async def _in_turn(self, digest: str, fetch: Fetch, namespace: str) -> LoadedModule:
        module = await self.find(digest)  # the one before may have compiled it
        if module is not None:
            return module
        wasm = await fetch()
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._files, _check, digest, wasm)
            compiled = await self._compiler.compile(wasm)
        except NotCompiled as error:
            if error.lasting:
                refusal = CompileRefusal(fault=error.fault, message=error.message)
                await loop.run_in_executor(self._files, self._artifacts.refuse, digest, refusal)
            raise ModuleLoadError(_REASONS[error.fault], error.message) from None
        put = self._artifacts.put
        return self._keep(digest, await loop.run_in_executor(self._files, put, digest, compiled, len(wasm), namespace))

    def _keep(self, digest: str, artifact: Artifact) -> LoadedModule:
        module = self._loaded[digest] = LoadedModule(digest, artifact)
        return module

    def _turn_ended(self, release: Callable[[], None], task: asyncio.Task[LoadedModule]) -> None:
        self._compiling.discard(task)
        release()
        if not task.cancelled():
            task.exception()  # whoever waited has it; if it was cancelled, it is nobody's

    def _usable(self, digest: str) -> Artifact | CompileRefusal | None:
        """The kept artifact, which was made for this wasmtime and this processor; or why there is none."""
        return self._artifacts.get(digest) or self._artifacts.refusal(digest)


def _check(digest: str, wasm: bytes) -> None:
    """Whether these are the bytes, and may reach the compiler. Blocking. Raises ModuleLoadError."""
    check_size(wasm)
    if digest_of(wasm) != digest:
        # The digest that they have is not shown: whoever wrote the spec may have no right to read the source.
        message = "the source holds other bytes than spec.digest says: fix whichever is wrong"
        raise ModuleLoadError(ModuleReason.DIGEST_MISMATCH, message)
    check_binary(wasm)


def _nothing() -> None:
    pass
