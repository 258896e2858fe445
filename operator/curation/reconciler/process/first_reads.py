"""What is read before the first job is decided: else it would be denied, or wait for a module that is there."""

import asyncio
import logging
from itertools import zip_longest
from typing import Final

from curation.cluster.answers import APIError
from curation.cluster.credentials import ConfigurationError
from curation.cluster.resources import APPROVALS, CLUSTER_POLICIES, MODULES, POLICIES
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.sources.modules import LOADS_AT_ONCE, ModuleReconciler
from curation.reconciler.sources.policies import PolicyReconciler
from curation.wasm.module_bytes import builtin_names
from curation.wasm.module_errors import ModuleLoadError
from curation.wasm.store import ModuleStore

log = logging.getLogger(__name__)

# Before the first job is decided, so that it finds its module. What takes longer is loaded beside the work.
FIRST_LOADS_SECONDS: Final = 10.0
FIRST_JUDGEMENTS_SECONDS: Final = 10.0


async def read_all(context: Context, modules: ModuleReconciler, policies: PolicyReconciler) -> None:
    """Read policies, approvals and modules, have the policies judged, and load the modules."""
    await read_first(context)
    await asyncio.gather(judge_policies(policies), load_modules(modules))


async def judge_policies(policies: PolicyReconciler) -> None:
    """Have them judged; for FIRST_JUDGEMENTS_SECONDS at the most. Jobs of namespaces where that takes longer wait."""
    if not await policies.judging.first_judged(FIRST_JUDGEMENTS_SECONDS):
        log.warning("policies are still being judged; jobs of their namespaces wait for them, the others go on")


async def read_first(context: Context) -> None:
    """Read all policies, approvals and modules before the first job is decided: else it would be denied."""
    namespaces: tuple[str | None, ...] = context.settings.namespaces or (None,)
    if not context.settings.cluster_policies:
        log.warning("cluster policies do not count in this installation: --without-cluster-policies")
        del context.caches[CLUSTER_POLICIES]
    for kind in (POLICIES, CLUSTER_POLICIES, APPROVALS, MODULES):
        if kind not in context.caches:
            continue
        places = namespaces if kind.namespaced else (None,)
        try:
            for namespace in places:
                async for obj in context.api.each(kind, namespace):
                    context.caches[kind].put(obj)
        except APIError as error:
            if error.code == 404:
                raise ConfigurationError(
                    f"the API server has no {kind.plural}.{kind.group}; install the CRDs first: "
                    "curation-operator crds | kubectl apply --server-side -f -"
                ) from error
            if kind is not CLUSTER_POLICIES or error.code != 403 or not context.settings.namespaces:
                raise
            # Never by itself: what an administrator forbids for the whole cluster would be allowed here.
            raise ConfigurationError(
                f"cluster policies may not be read ({error}). Grant list and watch on clustercurationpolicies, or "
                "start with --without-cluster-policies: then what they forbid is not forbidden here"
            ) from error


async def load_modules(modules: ModuleReconciler) -> None:
    """Load those that are new, or another than the one that was loaded; for FIRST_LOADS_SECONDS at the most.

    What is not compiled yet is compiled beside the work, since a module can make that long.
    """
    unknown: dict[str, list[Key]] = {}
    for key in modules.to_load():
        unknown.setdefault(key.namespace, []).append(key)
    # One of each namespace after the other: whoever has many does not hold up the others.
    in_turn = (key for keys in zip_longest(*unknown.values()) for key in keys if key is not None)

    async def load() -> None:
        for key in in_turn:
            try:
                await modules.load(key)
            except Exception:
                log.exception("module %s/%s could not be loaded yet", key.namespace, key.name)

    try:
        async with asyncio.timeout(FIRST_LOADS_SECONDS):
            await asyncio.gather(*(load() for _ in range(LOADS_AT_ONCE)))
    except TimeoutError:
        log.info("modules are still being loaded; their jobs wait for them, the others go on")


async def compile_shipped(store: ModuleStore) -> None:
    """Compile the modules that the operator ships; a job that names one waits for none of a tenant's."""
    for name in builtin_names():
        try:
            await store.load_builtin(name)
        except (ModuleLoadError, OSError) as error:
            log.warning("the module %s, which is shipped, is not compiled yet: %s", name, error)
