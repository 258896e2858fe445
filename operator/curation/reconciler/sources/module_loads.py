"""Loads of modules under way: what is to be compiled, in the background.

Used by `modules` alone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from curation.api.module import ModuleSpec
from curation.cluster.answers import APIError, Unreachable
from curation.reconciler.runtime.key import Key
from curation.wasm.module_errors import ModuleLoadError
from curation.wasm.store import ModuleStore

log = logging.getLogger(__name__)


class BeingCompiled(Exception):
    """The source is as it should be, and its module waits for the compiler."""


class Compilations:
    """What is being compiled, for which module; and what could not be."""

    def __init__(
        self,
        store: ModuleStore,
        read: Callable[[str, ModuleSpec], Awaitable[bytes]],
        built: Callable[[Key, ModuleSpec, str], None],
        wake: Callable[[Key], None],
    ) -> None:
        """`read` gives a module's bytes, `built` is called for a new build, `wake` asks for work on the module."""
        self._store = store
        self._read = read
        self._built = built
        self._wake = wake
        self._compiling: dict[Key, tuple[str, asyncio.Task[None]]] = {}
        self._not_compiled: dict[Key, tuple[str, Exception]] = {}

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Those under way, for whoever ends them."""
        return [task for _, task in self._compiling.values()]

    async def settled(self, keys: Iterable[Key]) -> None:
        """Wait until what is to be compiled of these modules is, or is found not to be compiled."""
        tasks = [self._compiling[key][1] for key in keys if key in self._compiling]
        if tasks:
            await asyncio.wait(tasks)

    def start(self, key: Key, spec: ModuleSpec, digest: str) -> None:
        """Have it compiled in a turn of its namespace, then wake the module. Raises what an earlier try has raised."""
        failed = self._not_compiled.get(key)
        if failed is not None and failed[0] == digest:
            if not isinstance(failed[1], ModuleLoadError):
                del self._not_compiled[key]  # another try may do
            raise failed[1].with_traceback(None)
        known = self._compiling.get(key)
        if known is not None and known[0] == digest:
            return
        self.drop(key)

        async def fetch() -> bytes:
            return await self._read(key.namespace, spec)

        async def work() -> None:
            try:
                await self._store.load(digest, fetch, key.namespace)
                self._built(key, spec, digest)
            except ModuleLoadError as error:
                if not error.may_pass:  # else the next check of its source finds out
                    self._not_compiled[key] = digest, error
            except (APIError, Unreachable, OSError) as error:
                self._not_compiled[key] = digest, error
            except Exception as error:
                # A bug of ours: to be tried again, and not to be waited for without end.
                log.exception("%s could not be compiled", key)
                self._not_compiled[key] = digest, OSError(f"the operator failed: {type(error).__name__}: {error}")
            finally:
                if self._compiling.get(key) == (digest, task):
                    del self._compiling[key]
            self._wake(key)

        task = asyncio.create_task(work(), name=f"compile {key}")
        self._compiling[key] = digest, task

    def drop(self, key: Key) -> None:
        """Nobody waits for it any more; what is being compiled is finished and kept."""
        known = self._compiling.pop(key, None)
        if known is not None:
            known[1].cancel()

    def forget(self, key: Key) -> None:
        """The module is gone."""
        self._not_compiled.pop(key, None)
        self.drop(key)
