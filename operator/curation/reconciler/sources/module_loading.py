"""How one module is loaded, by the kind of its source. Used by `modules` alone."""

import asyncio
from collections.abc import Callable, Iterable
from http import HTTPStatus

from curation.api.module import CurationModule, ModuleSpec
from curation.cluster.answers import APIError, Unreachable
from curation.oci.puller import Puller
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.sources.module_loads import BeingCompiled, Compilations
from curation.reconciler.sources.module_pulls import Pulls, ShownCondition
from curation.reconciler.sources.module_sources import Sources
from curation.wasm.limits import size_text
from curation.wasm.module_bytes import builtin_digest
from curation.wasm.module_errors import ModuleLoadError, ModuleReason, ModuleUnreadable
from curation.wasm.module_limits import limits_of
from curation.wasm.store import LoadedModule, ModuleStore
from curation.workers.admission import artifact_bytes
from curation.workers.need import Need, whole_mib


class Loading:
    """Checks sources, and has modules pulled and compiled."""

    def __init__(
        self,
        context: Context,
        store: ModuleStore,
        puller: Puller,
        built: Callable[[Key, ModuleSpec, str], None],
        monotonic: Callable[[], float],
    ) -> None:
        """`built` is called for each new build."""
        self._store = store
        self._memory = context.memory
        self._sources = Sources(context.api, monotonic)
        required = context.settings.require_signature
        self._pulls = Pulls(context.api, store, puller, required, context.metrics, built, context.wake)
        self._compilations = Compilations(store, self._sources.read, built, context.wake)

    async def load(self, key: Key, spec: ModuleSpec) -> LoadedModule:
        """The module, once its source is as it should be.

        Raises BeingCompiled while it is pulled or compiled in the background, ModuleLoadError, and what a read raises.
        """
        source = spec.source
        if source.oci is None:
            self._pulls.drop(key)
        self._see_to_signature(spec)
        await self._sources.check(key, spec)
        if source.oci is not None:
            loaded = await self._pulls.module(key, spec)
        elif source.builtin is not None:
            digest = builtin_digest(source.builtin)
            if spec.digest not in (None, digest):
                raise ModuleLoadError(
                    ModuleReason.DIGEST_MISMATCH,
                    f"spec.digest is {spec.digest} but builtin {source.builtin} is {digest}; leave digest out",
                    may_pass=False,
                )
            loaded = await self._store.load_builtin(source.builtin)
        else:
            digest = spec.digest or ""  # which the CRD does not let through
            found = await self._store.find(digest)
            if found is None:
                self._compilations.start(key, spec, digest)
                raise BeingCompiled
            loaded = found
        self._compilations.drop(key)
        if loaded.start_bytes > limits_of(spec.limits).memory:
            raise ModuleLoadError(
                ModuleReason.TOO_LARGE,
                f"the module begins with {size_text(loaded.start_bytes)} of memory, spec.limits.memory is "
                f"{spec.limits.memory}: raise it",
            )
        self._see_to_room(spec, loaded)
        return loaded

    def _see_to_room(self, spec: ModuleSpec, loaded: LoadedModule) -> None:
        """Raises ModuleLoadError for a module of which no run would ever have room."""
        need = Need.of(limits_of(spec.limits), loaded.digest, artifact_bytes(loaded))
        if self._memory.never_fits(need):
            limits, most = spec.limits, self._memory.quarter or 0
            raise ModuleLoadError(
                ModuleReason.TOO_LARGE,
                f"a run of it may take {whole_mib(need.alone)} of memory (spec.limits.memory is {limits.memory}, "
                f"spec.limits.responseSize {limits.response_size}; beside them, its compiled code and a worker), and "
                f"the runs of a namespace may take {whole_mib(most)} here: lower these limits, or have the memory for "
                "workers raised (--workers-memory, or the limit of their container)",
            )

    def _see_to_signature(self, spec: ModuleSpec) -> None:
        """Raises ModuleLoadError for a source that cannot be signed, where all have to be; what we ship is ours."""
        if self._pulls.required and spec.source.config_map is not None:
            names = " or ".join(each.name for each in self._pulls.required)
            raise ModuleLoadError(
                ModuleReason.NOT_SIGNED,
                f"this operator runs only what the key {names} has signed, and a ConfigMap holds no signature: push "
                "the module to a registry, sign it there, and use source.oci",
                may_pass=False,
            )

    async def bytes_for_a_run(self, key: Key, spec: ModuleSpec) -> bytes:
        """The module's bytes, as its source has them now. Raises what an executor knows.

        Only an absent or forbidden source is one that is not found.
        """
        self._see_to_signature(spec)
        if spec.source.oci is not None:
            # Not here: this is called in a turn of the compiler, for which all namespaces wait.
            self._pulls.start(key, spec)
            raise ModuleUnreadable("its machine code was dropped to make room, and it is being pulled again")
        try:
            return await self._sources.read(key.namespace, spec)
        except (APIError, Unreachable) as error:
            message = f"its source cannot be read: {error}"
            if isinstance(error, APIError) and error.code == HTTPStatus.FORBIDDEN:
                raise ModuleLoadError(ModuleReason.NOT_FOUND, message) from None
            raise ModuleUnreadable(message) from None

    def fresh(self, key: Key, module: CurationModule) -> bool:
        """Whether its source was checked a moment ago."""
        return self._sources.fresh(key, module)

    def next_check(self, key: Key) -> float | None:
        """In how many seconds its source is to be checked again, if it is."""
        return self._sources.next_check(key)

    def conditions(self, key: Key, spec: ModuleSpec) -> tuple[ShownCondition, ...]:
        """What its status says of its pull."""
        return self._pulls.conditions(key, spec)

    async def settled(self, keys: Iterable[Key]) -> None:
        """Wait until what is to be compiled of these modules is, or is found not to be compiled."""
        keys = tuple(keys)
        await self._compilations.settled(keys)
        pulls = self._pulls.of(keys)
        if pulls:
            await asyncio.wait(pulls)

    def forget(self, key: Key) -> None:
        """The module is gone."""
        self._sources.forget(key)
        self._compilations.forget(key)
        self._pulls.drop(key)

    async def close(self) -> None:
        """End what waits in the background."""
        self._pulls.close()
        tasks = [*self._compilations.tasks, *self._pulls.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
