"""Who executes a Submitted run: what this process knows of it, for the executor to say whether it goes on (rule 3)."""

import time
from collections.abc import Callable

from curation.api.job import CurationJob, Run
from curation.api.names import Phase, Trigger
from curation.execution.seam import Executor, Held, execution_id
from curation.lifecycle.outcome import Liveness
from curation.reconciler.jobs.memory import ForeignRun, Memories
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.sources.modules import ModuleReconciler


class Takeover:
    """Watches the runs of other processes, which it may take over.

    If a run was in the cluster before this process began to lead, its holder is gone: this process has replaced it.
    What was there before is known by resourceVersions, not by clocks.
    """

    def __init__(
        self,
        context: Context,
        memories: Memories,
        executor: Executor,
        modules: ModuleReconciler,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._memories = memories
        self._executor = executor
        self._modules = modules
        self._monotonic = monotonic
        self.leading_since = 0
        """The revision of the jobs when this process began to lead; 0 before."""

    def see(self, key: Key, job: CurationJob) -> None:
        """Note since when the run of another process has not changed."""
        run, memory = _submitted(job), self._memories.of(key, job.metadata.uid)
        if run is None or run.holder == self._context.settings.holder:
            memory.foreign = None
            return
        known, version = memory.foreign, job.metadata.resource_version
        if known is None or (known.run_id, known.version) != (run.id, version):
            memory.foreign = ForeignRun(run.id, version, self._monotonic())

    def liveness(self, key: Key, job: CurationJob) -> Liveness:
        """Whether the current run of this job goes on."""
        run, memory = _submitted(job), self._memories.look(key, job.metadata.uid)
        if run is None:
            return Liveness.UNKNOWN
        if memory.lives(run.id):
            return Liveness.ALIVE
        if run.id in memory.calls:
            # Trap: it has ended here, and was settled. Its Job, until that is removed, looks as if it went on.
            return Liveness.GONE
        return self._executor.liveness(self._held(key, job, run))

    def look_again(self, key: Key, job: CurationJob) -> float | None:
        """Seconds until a run of which nothing is known counts as gone; None if it never does by itself."""
        run = _submitted(job)
        if run is None or run.holder == self._context.settings.holder:
            return None
        held = self._held(key, job, run)
        return held.longest - held.unchanged

    def _held(self, key: Key, job: CurationJob, run: Run) -> Held:
        foreign, version = self._memories.look(key, job.metadata.uid).foreign, job.metadata.resource_version
        seen = foreign is not None and (foreign.run_id, foreign.version) == (run.id, version)
        return Held(
            execution=execution_id(run.id, Trigger.SUBMIT, 1),
            own=run.holder == self._context.settings.holder,
            inherited=int(version) <= self.leading_since,
            unchanged=self._monotonic() - foreign.since if foreign is not None and seen else 0.0,
            longest=self._modules.wall_seconds(key.namespace, run.module.name),
            in_pod=job.spec.executor.in_pod,
        )


def _submitted(job: CurationJob) -> Run | None:
    return job.status.run if job.status.phase is Phase.SUBMITTED else None
