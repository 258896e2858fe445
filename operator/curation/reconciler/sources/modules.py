"""CurationModules: load each one, say in its status whether it can be run, wake the jobs that wait for it."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from curation.api.module import CurationModule, ModuleSpec, ModuleStatus
from curation.api.reading import Unreadable
from curation.cluster.answers import APIError, Unreachable
from curation.cluster.cache import Stored
from curation.cluster.resources import MODULES
from curation.execution.seam import ModuleBuild
from curation.oci.puller import Puller
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key, namespace_of
from curation.reconciler.runtime.result import NOTHING, Result
from curation.reconciler.runtime.writes import module_conditions, result_of, write_own_status
from curation.reconciler.sources.in_use import TERMINATING, InUse
from curation.reconciler.sources.module_loading import Loading
from curation.reconciler.sources.module_loads import BeingCompiled
from curation.reconciler.sources.module_sources import origin
from curation.reconciler.sources.module_states import ModuleState, ModuleStates
from curation.turns import Turns
from curation.wasm.module_errors import ModuleLoadError, ModuleReason, ModuleUnreadable
from curation.wasm.module_limits import limits_of
from curation.wasm.store import ModuleStore
from curation.workers.admission import artifact_bytes
from curation.workers.need import Need

log = logging.getLogger(__name__)

# The source may be applied a moment after the module (kubectl apply -f DIR has no order).
RETRY_SECONDS: Final = (1.0, 2.0, 5.0, 15.0, 60.0)
# Loads that may be under way, of all the workers: a job is never to wait for a source that is slow to be read. What is
# to be compiled waits in the background. One namespace alone may have all but one.
LOADS_AT_ONCE: Final = 5
LOADS_SHARE: Final = 4


@dataclass(frozen=True, slots=True)
class _Readiness:
    """What a module's status says."""

    digest: str | None
    reason: str
    message: str
    size_bytes: int | None
    stalled: bool = False
    """Only another spec can help."""


class ModuleReconciler(ModuleStates):
    """Loads the modules and keeps their states."""

    def __init__(
        self,
        context: Context,
        store: ModuleStore,
        in_use: InUse,
        puller: Puller,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(context)
        self._in_use = in_use
        self._store = store
        self._failures: dict[Key, int] = {}
        self._turns: Turns[Key] = Turns(LOADS_AT_ONCE, context.wake, namespace_of, share=LOADS_SHARE)
        self._loading = Loading(context, store, puller, self._built, monotonic)
        self._rechecks: dict[Key, asyncio.Task[None]] = {}

    def fresh(self, namespace: str, name: str) -> bool:
        """Whether what is known of the module's source is young enough to claim a run with it; see `recheck`."""
        stored = self._context.caches[MODULES].get(namespace, name)
        try:
            if stored is None:
                return True
            module = stored.parse(CurationModule)
            if module.spec.source.oci is not None:
                return self._store.has(module.spec.digest or "")
            return self._loading.fresh(_key(stored), module)
        except Unreadable:
            return False

    async def recheck(self, namespace: str, name: str) -> None:
        """Check the module's source now; if the API server does not allow it, all stays as it was."""
        key = Key(MODULES, namespace, name)
        task = self._rechecks.get(key)
        if task is None:
            task = self._rechecks[key] = asyncio.create_task(self._recheck(key), name=f"recheck {key}")
            task.add_done_callback(lambda _: self._rechecks.pop(key, None))
        await asyncio.shield(task)

    async def _recheck(self, key: Key) -> None:
        before = self.state(key.namespace, key.name)
        await self.load(key)
        if self.state(key.namespace, key.name) != before:
            self._context.wake(key)  # which writes what it is, or forgets it

    def build(self, namespace: str, name: str, digest: str) -> tuple[ModuleBuild, ModuleSpec]:
        """The build of a module to execute, and the spec that bounds it.

        The recorded build while the store has it, else the module's present one. Raises ModuleLoadError, or
        ModuleUnreadable while the module is still being loaded.
        """
        state = self.state(namespace, name)
        if state.spec is None:
            if self._context.caches[MODULES].get(namespace, name) is not None:
                raise ModuleUnreadable(state.message)
            raise ModuleLoadError(ModuleReason.NOT_FOUND, state.message)
        if state.build is not None and not self._store.has(digest):
            digest = state.build
        return ModuleBuild(name, digest, limits_of(state.spec.limits)), state.spec

    def limits_changed(self) -> None:
        """A run may take more memory than before, or less: so a module may fit that did not, or fit no more."""
        for stored in self._context.caches[MODULES]:
            self._context.wake(_key(stored))

    def takes(self, namespace: str, name: str, digest: str, *, in_pod: bool = False) -> Need:
        """What a run of this build may take of the workers' memory; of one in a pod, without its guest."""
        return Need.of(self.limits(namespace, name), digest, artifact_bytes(self._store.get(digest)), in_pod=in_pod)

    async def reconcile(self, key: Key) -> Result:
        """Load the module and write its status; in its turn, when many are being loaded."""
        try:
            return await self._reconcile(key)
        finally:
            # Whatever this one came to: else the turn that is kept for it would be nobody's.
            self._turns.decline(key)

    async def _reconcile(self, key: Key) -> Result:
        stored = self._context.cache(key).get(key.namespace, key.name)
        if stored is None:
            self._set((key.namespace, key.name), None)
            self._failures.pop(key, None)
            self._turns.leave(key)
            self._loading.forget(key)
            return Result(gone=True)
        try:
            module = stored.parse(CurationModule)
        except Unreadable as error:
            self._mark_unreadable(key, error)
            return await self._in_use.let_go(key, stored)

        async def show(message: str) -> Result:
            generation, now = module.metadata.generation, self._context.clock.now()
            found = module_conditions(module.status.conditions, False, False, TERMINATING, message, generation, now)
            return await write(
                module.status.model_copy(update={"observed_generation": generation, "conditions": found})
            )

        async def write(status: ModuleStatus) -> Result:
            left_out = stored.left_out(CurationModule)
            return result_of(await write_own_status(self._context, key, stored, module.status, status, left_out))

        kept = await self._in_use.advance(key, module.metadata, show=show)
        if kept is not None:
            self._mark_deleted(key, module)
            return kept
        if not self._turns.take(key):
            return NOTHING
        try:
            readiness = await self.load(key)
        finally:
            self._turns.release(key)
        if readiness is None:
            return NOTHING
        status = ModuleStatus(
            observed_generation=module.metadata.generation,
            digest=readiness.digest or "",
            size_bytes=readiness.size_bytes,
            conditions=module_conditions(
                module.status.conditions,
                readiness.digest is not None,
                readiness.stalled,
                readiness.reason,
                readiness.message,
                module.metadata.generation,
                self._context.clock.now(),
                self._loading.conditions(key, module.spec),
            ),
        )
        return await write(status)

    def to_load(self) -> list[Key]:
        """Those that are new, or another than the one that was loaded."""
        return [key for stored in self._context.caches[MODULES] if not self._knows(key := _key(stored), stored)]

    def _knows(self, key: Key, stored: Stored) -> bool:
        known = self._states.get((key.namespace, key.name))
        try:
            return known is not None and known.spec == stored.parse(CurationModule).spec
        except Unreadable:
            return False  # to be marked as such

    async def load(self, key: Key) -> _Readiness | None:
        """Load a module that is known, and note whether it can be run; what is to be compiled is, in the background.

        None if there is nothing to report: the API server did not answer, or it is being compiled.
        """
        stored = self._context.cache(key).get(key.namespace, key.name)
        if stored is None:
            return None
        try:
            module = stored.parse(CurationModule)
        except Unreadable as error:
            self._mark_unreadable(key, error)
            return None
        place = (key.namespace, key.name)
        known = self._states.get(place)
        same = known is not None and known.spec is not None and origin(known.spec) == origin(module.spec)
        build = known.build if known is not None and same else None
        try:
            loaded = await self._loading.load(key, module.spec)
        except BeingCompiled:
            gone = module.spec.source.oci is not None  # what is in a registry is pulled again, which takes its time
            if known is None or not same or known.digest is None or gone:
                self._set(
                    place,
                    ModuleState(None, f"CurationModule {key.name} is being loaded and compiled.", module.spec, build),
                )
            return None
        except ModuleLoadError as error:
            message = f"CurationModule {key.name} is not ready: {error.message}"
            lasts = not error.may_pass
            self._set(place, ModuleState(None, message, module.spec, build, unusable=lasts))
            self._try_later(key, passing=not lasts)
            return _Readiness(None, error.reason.value, error.message, None, stalled=lasts)
        except (APIError, Unreachable, OSError) as error:
            log.warning("module %s/%s could not be read: %s", *place, error)
            self._try_later(key, passing=True)
            if known is not None and known.digest is not None and same:
                return None  # the server's trouble says nothing about the module: a build that was ready stays so
            message = f"its source cannot be read: {error}"
            text = f"CurationModule {key.name} is not ready: {message}"
            self._set(place, ModuleState(None, text, module.spec, build))
            refused = isinstance(error, APIError)
            return _Readiness(None, ModuleReason.NOT_FOUND.value, message, None) if refused else None
        self._failures.pop(key, None)
        self._set(place, ModuleState(loaded.digest, "", module.spec, loaded.digest))
        self._mark_deleted(key, module)
        self._check_again(key)
        return _Readiness(loaded.digest, ModuleReason.COMPILED.value, "The module can be run.", loaded.size_bytes)

    def _check_again(self, key: Key) -> None:
        seconds = self._loading.next_check(key)
        if seconds is not None:
            self._context.wake_after(key, seconds)

    async def compiled(self, keys: Iterable[Key]) -> None:
        """Wait until what is to be compiled of these modules is, or is found not to be compiled."""
        await self._loading.settled(keys)

    async def close(self) -> None:
        """End what waits in the background."""
        rechecks = tuple(self._rechecks.values())
        for task in rechecks:
            task.cancel()
        await self._loading.close()
        await asyncio.gather(*rechecks, return_exceptions=True)

    def _try_later(self, key: Key, *, passing: bool) -> None:
        if not passing:
            self._check_again(key)  # only a new spec can help, which wakes the key; but the source may change too
            return
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._context.wake_after(key, RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])

    def _built(self, key: Key, spec: ModuleSpec, digest: str) -> None:
        """Note it at once: nobody checks a deleted module again, and a Cancel may need the build."""
        place = (key.namespace, key.name)
        known = self._states.get(place)
        if known is not None and known.spec is not None and origin(known.spec) == origin(spec):
            self._set(place, replace(known, build=digest))

    async def read_for_a_run(self, namespace: str, name: str) -> bytes:
        """The module's bytes, as its source has them now. Raises what an executor knows.

        Only an absent or forbidden source is one that is not found.
        """
        state = self.state(namespace, name)
        if state.spec is None:
            raise ModuleLoadError(ModuleReason.NOT_FOUND, state.message)
        return await self._loading.bytes_for_a_run(Key(MODULES, namespace, name), state.spec)


def _key(stored: Stored) -> Key:
    return Key(MODULES, stored.namespace, stored.name)
