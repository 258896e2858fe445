"""CurationModules: load each one, say in its status whether it can be run, wake the jobs that wait for it."""

import base64
import binascii
import logging
from dataclasses import dataclass
from http import HTTPStatus

from curation.api.module import (
    ConfigMapSource,
    CurationModule,
    ModuleLimits,
    ModuleSource,
    ModuleSpec,
    ModuleStatus,
)
from curation.api.reading import Unreadable
from curation.cluster.answers import APIError, Unreachable
from curation.cluster.cache import Stored
from curation.cluster.resources import MODULES
from curation.execution.executor import ModuleBuild
from curation.reconciler.context import Context, Key
from curation.reconciler.in_use import InUse
from curation.reconciler.writes import ready_condition, write_own_status
from curation.wasm.limits import Limits
from curation.wasm.store import (
    Fetch,
    LoadedModule,
    ModuleLoadError,
    ModuleReason,
    ModuleStore,
    ModuleUnreadable,
    builtin_bytes,
)

log = logging.getLogger(__name__)

# Loads that may be under way, of all the workers: a job is never to wait for a source that is slow to be read. What
# compiles them is one thread.
LOADS_AT_ONCE = 4
# The source may be applied a moment after the module (kubectl apply -f DIR has no order).
RETRY_SECONDS = (1.0, 2.0, 5.0, 15.0, 60.0)


@dataclass(frozen=True, slots=True)
class ModuleState:
    """What is known of a module: its digest once it can be run, else why it cannot."""

    digest: str | None
    message: str
    spec: ModuleSpec | None = None
    build: str | None = None
    """The digest of what was loaded from this source, also once no run is claimed with it."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What a module's status says."""

    digest: str | None
    reason: str
    message: str
    size_bytes: int | None


class ModuleReconciler:
    """Keeps the states of all modules."""

    def __init__(self, context: Context, store: ModuleStore, in_use: InUse) -> None:
        self._context = context
        self._in_use = in_use
        self._store = store
        self._states: dict[tuple[str, str], ModuleState] = {}
        self._waiting: dict[tuple[str, str], set[Key]] = {}
        self._failures: dict[Key, int] = {}
        self._loads = 0
        self._to_load: dict[Key, None] = {}

    def state(self, namespace: str, name: str) -> ModuleState:
        """What is known of a module now."""
        if self._context.caches[MODULES].get(namespace, name) is None:
            return ModuleState(None, f"CurationModule {name} does not exist in namespace {namespace}; apply it.")
        found = self._states.get((namespace, name))
        return found or ModuleState(None, f"CurationModule {name} is being loaded.")

    def wake_when_changed(self, namespace: str, name: str, job: Key) -> None:
        """Ask for work on a job once the module's state changes."""
        self._waiting.setdefault((namespace, name), set()).add(job)

    def forget(self, job: Key) -> None:
        """The job is gone."""
        for place, jobs in tuple(self._waiting.items()):
            jobs.discard(job)
            if not jobs:
                del self._waiting[place]

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
        if self._store.get(digest) is None and state.build is not None:
            digest = state.build
        limits = Limits.of(state.spec.limits)
        return ModuleBuild(name, digest, limits, _for_a_run(self._fetch(namespace, state.spec))), state.spec

    def wall_seconds(self, namespace: str, name: str) -> float:
        """How long a run of the module can take at the most; of one that is gone, what the default allows."""
        spec = self.state(namespace, name).spec
        return float((spec.limits if spec is not None else ModuleLimits()).wall_seconds)

    async def reconcile(self, key: Key) -> None:
        """Load the module and write its status; in its turn, when many are being loaded."""
        try:
            await self._reconcile(key)
        finally:
            # Whatever this one came to, even if it took no turn: else those that wait would wait for ever.
            if self._to_load and self._loads < LOADS_AT_ONCE:
                following = next(iter(self._to_load))
                del self._to_load[following]
                self._context.queue.add(following)

    async def _reconcile(self, key: Key) -> None:
        stored = self._context.cache(key).get(key.namespace, key.name)
        if stored is None:
            self._set((key.namespace, key.name), None)
            self._failures.pop(key, None)
            self._to_load.pop(key, None)
            self._context.queue.drop(key)
            return
        try:
            module = stored.parse(CurationModule)
        except Unreadable as error:
            self._mark_unreadable(key, error)
            await self._in_use.let_go(key, stored)
            return
        if await self._in_use.advance(key, module.metadata):
            self._mark_deleted(key, module)
            return
        if self._loads >= LOADS_AT_ONCE:
            self._to_load[key] = None
            return
        self._loads += 1
        try:
            verdict = await self.load(key)
        finally:
            self._loads -= 1
        if verdict is None:
            return
        status = ModuleStatus(
            observed_generation=module.metadata.generation,
            digest=verdict.digest or "",
            size_bytes=verdict.size_bytes,
            conditions=ready_condition(
                module.status.conditions,
                verdict.digest is not None,
                verdict.reason,
                verdict.message,
                module.metadata.generation,
                self._context.clock.now(),
            ),
        )
        await write_own_status(self._context, key, stored, module.status, status, stored.left_out(CurationModule))

    def to_load(self) -> list[Key]:
        """Those that are new, or another than the one that was loaded."""
        return [key for stored in self._context.caches[MODULES] if not self._knows(key := _key(stored), stored)]

    def _knows(self, key: Key, stored: Stored) -> bool:
        known = self._states.get((key.namespace, key.name))
        try:
            return known is not None and known.spec == stored.parse(CurationModule).spec
        except Unreadable:
            return False  # to be marked as such

    async def load(self, key: Key) -> _Verdict | None:
        """Load a module that is known, and note whether it can be run. None if the cluster did not let us tell."""
        stored = self._context.cache(key).get(key.namespace, key.name)
        if stored is None:
            return None
        try:
            module = stored.parse(CurationModule)
        except Unreadable as error:
            self._mark_unreadable(key, error)
            return None
        place = (key.namespace, key.name)
        try:
            loaded = await self._load(key.namespace, module.spec)
        except ModuleLoadError as error:
            message = f"CurationModule {key.name} is not ready: {error.message}"
            self._set(place, ModuleState(None, message, module.spec))
            self._try_later(key, error.reason)
            return _Verdict(None, error.reason.value, error.message, None)
        except (APIError, Unreachable, OSError) as error:
            log.warning("module %s/%s could not be read: %s", *place, error)
            self._try_later(key, ModuleReason.NOT_FOUND)
            known = self._states.get(place)
            if known is not None and known.digest is not None:
                return None  # the server's trouble says nothing about the module: a build that was ready stays so
            message = f"its source cannot be read: {error}"
            self._set(place, ModuleState(None, f"CurationModule {key.name} is not ready: {message}", module.spec))
            refused = isinstance(error, APIError)
            return _Verdict(None, ModuleReason.NOT_FOUND.value, message, None) if refused else None
        self._failures.pop(key, None)
        self._set(place, ModuleState(loaded.digest, "", module.spec, loaded.digest))
        self._mark_deleted(key, module)
        return _Verdict(loaded.digest, ModuleReason.COMPILED.value, "The module can be run.", loaded.size_bytes)

    def _mark_unreadable(self, key: Key, error: Unreadable) -> None:
        """No run is claimed with it; what was loaded before can still cancel."""
        place = (key.namespace, key.name)
        known = self._states.get(place)
        spec, build = (known.spec, known.build) if known is not None else (None, None)
        self._set(place, ModuleState(None, f"CurationModule {key.name} cannot be read: {error}", spec, build))

    def _mark_deleted(self, key: Key, module: CurationModule) -> None:
        """A deleted module counts for Cancel only: its spec stays known, but no run is claimed with it."""
        if module.metadata.deletion_timestamp is not None:
            place, spec = (key.namespace, key.name), module.spec
            known = self._states.get(place)
            same = known is not None and known.spec is not None and _origin(known.spec) == _origin(spec)
            build = known.build if known is not None and same else None
            self._set(place, ModuleState(None, f"CurationModule {key.name} is being deleted.", spec, build))

    def _set(self, place: tuple[str, str], state: ModuleState | None) -> None:
        before = self._states.get(place)
        if state is None:
            self._states.pop(place, None)
        else:
            self._states[place] = state
        if before != state:
            for job in self._waiting.pop(place, ()):
                self._context.queue.add(job)

    def _try_later(self, key: Key, reason: ModuleReason) -> None:
        if reason not in (ModuleReason.NOT_FOUND, ModuleReason.DIGEST_MISMATCH):
            return  # only a new spec can help, and that wakes the key
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._context.queue.add_after(key, RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])

    async def _load(self, namespace: str, spec: ModuleSpec) -> LoadedModule:
        source = spec.source
        if source.oci is not None:  # before the store is asked: it may have the build from another source
            raise _no_oci()
        if source.builtin is not None:
            loaded = await self._store.load_builtin(source.builtin)
            if spec.digest is not None and loaded.digest != spec.digest:
                raise ModuleLoadError(
                    ModuleReason.DIGEST_MISMATCH,
                    f"spec.digest is {spec.digest} but builtin {source.builtin} is {loaded.digest}; leave digest out",
                )
            return loaded
        return await self._store.load(spec.digest or "", self._fetch(namespace, spec))

    def _fetch(self, namespace: str, spec: ModuleSpec) -> Fetch:
        """What reads the bytes of a module when no compiled artifact of them is kept."""
        source = spec.source

        async def fetch() -> bytes:
            if source.builtin is not None:
                return builtin_bytes(source.builtin)
            if source.config_map is not None:
                return await self._read(namespace, source.config_map)
            raise _no_oci()

        return fetch

    async def _read(self, namespace: str, source: ConfigMapSource) -> bytes:
        found = await self._context.api.read_config_map(namespace, source.name)
        if found is None:
            raise ModuleLoadError(
                ModuleReason.NOT_FOUND, f"ConfigMap {source.name} (spec.source.configMap.name) does not exist"
            )
        binary, text = (found.get("binaryData") or {}).get(source.key), (found.get("data") or {}).get(source.key)
        if binary is not None:
            try:
                return base64.b64decode(binary, validate=True)
            except binascii.Error as error:
                message = f"ConfigMap {source.name}, key {source.key} is not base64: {error}"
                raise ModuleLoadError(ModuleReason.INVALID, message) from None
        if text is not None:
            return str(text).encode()
        keys = ", ".join(sorted([*(found.get("binaryData") or {}), *(found.get("data") or {})])) or "none"
        raise ModuleLoadError(
            ModuleReason.NOT_FOUND,
            f"ConfigMap {source.name} has no key {source.key} (spec.source.configMap.key); it has: {keys}",
        )


def _for_a_run(fetch: Fetch) -> Fetch:
    """The same, raising what an executor knows: only an absent or forbidden source is one that is not found."""

    async def told() -> bytes:
        try:
            return await fetch()
        except (APIError, Unreachable) as error:
            message = f"its source cannot be read: {error}"
            if isinstance(error, APIError) and error.code == HTTPStatus.FORBIDDEN:
                raise ModuleLoadError(ModuleReason.NOT_FOUND, message) from None
            raise ModuleUnreadable(message) from None

    return told


def _key(stored: Stored) -> Key:
    return Key(MODULES, stored.namespace, stored.name)


def _origin(spec: ModuleSpec) -> tuple[ModuleSource, str | None]:
    """What a build is loaded from; all else may be edited and it stays the build."""
    return spec.source, spec.digest


def _no_oci() -> ModuleLoadError:
    message = "spec.source.oci is not supported by this release; use configMap or builtin"
    return ModuleLoadError(ModuleReason.INVALID, message)
