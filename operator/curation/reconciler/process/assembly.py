"""The reconcilers of one process: made, given to each other, and put behind the caches that they listen to."""

from collections.abc import Callable
from dataclasses import dataclass

from curation.checking.checkers import Checkers
from curation.cluster.resources import APPROVALS, CLUSTER_POLICIES, JOBS, MODULES, POLICIES, ResourceKind
from curation.execution.seam import Supplies
from curation.oci.puller import Puller
from curation.reconciler.approvals.approval_metrics import ApprovalMetrics
from curation.reconciler.approvals.approval_status import ApprovalReconciler
from curation.reconciler.approvals.asking import Approvals
from curation.reconciler.approvals.grant_texts import GrantTexts
from curation.reconciler.approvals.grants import Grants
from curation.reconciler.jobs.memory import Memories
from curation.reconciler.jobs.reconciler import JobReconciler
from curation.reconciler.jobs.runs import Runs
from curation.reconciler.jobs.takeover import Takeover
from curation.reconciler.process.leadership import Reconcile
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.health import Health
from curation.reconciler.runtime.job_index import JobIndex
from curation.reconciler.runtime.metrics import IdlePolicies, WatchAge, WorkersMemory
from curation.reconciler.sources.in_use import InUse
from curation.reconciler.sources.module_credentials import ModuleCredentials
from curation.reconciler.sources.module_metrics import ModuleMetrics
from curation.reconciler.sources.modules import ModuleReconciler
from curation.reconciler.sources.policies import PolicyReconciler
from curation.reconciler.sources.run_supplies import RunSupplies
from curation.wasm.store import ModuleStore
from curation.workers.executor import WorkersExecutor


@dataclass(frozen=True)
class Work:
    """The reconcilers of one process, as far as its lifetime deals with them."""

    reconcilers: dict[ResourceKind, Reconcile]
    jobs: JobReconciler
    modules: ModuleReconciler
    runs: Runs
    takeover: Takeover
    policies: PolicyReconciler
    executor: WorkersExecutor
    index: JobIndex
    memories: Memories


def assemble(
    context: Context,
    executor_of: Callable[[Supplies], WorkersExecutor],
    store: ModuleStore,
    puller: Puller,
    health: Health,
    checkers: Checkers,
) -> Work:
    """Make the reconcilers. The order of the listeners is the order in which each change reaches them."""
    metrics = context.metrics
    index = JobIndex(metrics)
    in_use = InUse(context, index)
    modules = ModuleReconciler(context, store, in_use, puller)
    memories = Memories()
    executor = executor_of(RunSupplies(modules, ModuleCredentials(context.api)))
    runs = Runs(context, memories, executor, modules)
    takeover = Takeover(context, memories, executor, modules)
    grants = Grants(context, index)
    approvals = Approvals(context, grants)
    policies = PolicyReconciler(context, in_use, checkers)
    jobs = JobReconciler(context, memories, runs, modules, approvals, takeover)
    reconcilers: dict[ResourceKind, Reconcile] = {
        JOBS: jobs.reconcile,
        MODULES: modules.reconcile,
        POLICIES: policies.reconcile,
        CLUSTER_POLICIES: policies.reconcile,
        APPROVALS: ApprovalReconciler(context, approvals, grants, GrantTexts(checkers.write_grant)).reconcile,
    }
    context.caches[POLICIES].listen(policies.on_change)
    context.caches[CLUSTER_POLICIES].listen(policies.on_change)
    context.caches[APPROVALS].listen(grants.on_change)
    context.caches[APPROVALS].listen(approvals.on_change)
    context.caches[APPROVALS].listen(ApprovalMetrics(metrics, context.clock.now).on_change)
    context.caches[MODULES].listen(ModuleMetrics(metrics).on_change)
    context.caches[JOBS].listen(runs.on_change)
    context.caches[JOBS].listen(index.on_change)
    for cache in context.caches.values():
        cache.listen(context.on_change)
    metrics.registry.register(WatchAge(health.ages))
    metrics.registry.register(WorkersMemory(context.memory))
    metrics.registry.register(IdlePolicies(policies.idle))
    return Work(reconcilers, jobs, modules, runs, takeover, policies, executor, index, memories)
