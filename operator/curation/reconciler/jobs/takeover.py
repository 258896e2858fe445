"""The holder rule (docs/fence.md, rule 3): when the Submitted run of another process may be taken over."""

import time
from collections.abc import Callable

from curation.api.job import CurationJob
from curation.api.names import Phase
from curation.reconciler.jobs.memory import ForeignRun, Memories
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.sources.modules import ModuleReconciler


class Takeover:
    """Says whether the holder of a run counts as gone.

    If the run was in the cluster before this process began to lead, its holder is gone: this process has replaced it.
    The holder of a later run counts as gone only once the run has not changed for longer than a run can take, so that
    two operators without a lease do not chase each other. What was there before is known by resourceVersions, not by
    clocks.
    """

    def __init__(
        self,
        context: Context,
        memories: Memories,
        modules: ModuleReconciler,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._memories = memories
        self._modules = modules
        self._monotonic = monotonic
        self.leading_since = 0
        """The revision of the jobs when this process began to lead; 0 before."""

    def may_adopt(self, key: Key, job: CurationJob) -> bool:
        """Whether the current run of this job may be abandoned and replaced by this process."""
        run = job.status.run
        holder = self._context.settings.holder
        memory = self._memories.of(key, job.metadata.uid)
        if job.status.phase is not Phase.SUBMITTED or run is None or run.holder == holder:
            memory.foreign = None
            return False
        if int(job.metadata.resource_version) <= self.leading_since:
            return True
        now, version = self._monotonic(), job.metadata.resource_version
        known = memory.foreign
        if known is None or (known.run_id, known.version) != (run.id, version):
            known = memory.foreign = ForeignRun(run.id, version, now)
        wall = self._modules.wall_seconds(key.namespace, run.module.name)
        left = known.since + wall - now
        if left <= 0:
            return True
        self._context.queue.add_after(key, left)
        return False
