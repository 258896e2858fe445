"""CurationJobs: settle what has ended, decide what is next, write it, launch what was claimed.

One worker at a time works on a job (the queue sees to it), so its completions and decisions follow each other; the
resourceVersion of each write makes them safe against everybody else.
"""

import logging
from dataclasses import replace
from functools import partial
from typing import Final

from curation.api.job import CurationJob, JobStatus, Run, status_to_wire
from curation.api.names import SESSION_FINALIZER, Phase, Reason
from curation.api.reading import Unreadable
from curation.api.remains import remains_of
from curation.cluster.cache import Stored
from curation.lifecycle.decide import decide
from curation.lifecycle.landed import landed
from curation.lifecycle.log_fields import run_fields
from curation.lifecycle.outcome import Liveness, Report, Trigger
from curation.lifecycle.step import Facts, Step
from curation.reconciler.approvals.asking import Approvals
from curation.reconciler.jobs import orders
from curation.reconciler.jobs.attempt import Attempt
from curation.reconciler.jobs.cleanup import Cleanup
from curation.reconciler.jobs.completion import Completion, Later, Settled, orphaned
from curation.reconciler.jobs.memory import Memories
from curation.reconciler.jobs.observation import Observation
from curation.reconciler.jobs.runs import Runs
from curation.reconciler.jobs.takeover import Takeover
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.regarding import regarding
from curation.reconciler.runtime.unreadable import job_of
from curation.reconciler.runtime.writes import FINALIZER, STATUS, settle, try_again, write_finalizers
from curation.reconciler.sources.job_sources import JobSources
from curation.reconciler.sources.modules import ModuleReconciler

log = logging.getLogger(__name__)

# By then the watch has shown a deletion that was accepted; a second one before that would only answer 409.
DELETE_SHOWS_SECONDS: Final = 5.0


class JobReconciler:
    """Reconciles one job at a time."""

    def __init__(
        self,
        context: Context,
        memories: Memories,
        runs: Runs,
        modules: ModuleReconciler,
        approvals: Approvals,
        takeover: Takeover,
    ) -> None:
        self._context = context
        self._memories = memories
        self._runs = runs
        self._modules = modules
        self._approvals = approvals
        self._takeover = takeover
        self._sources = JobSources(context.api, context.queue, context.clock.monotonic)
        self._completion = Completion(context)
        self.cleanup = Cleanup(context, memories, runs, modules)
        self._observation = Observation(context, memories, runs)

    async def reconcile(self, key: Key) -> None:
        """Bring one job a step further. Anything that it waits for wakes the key."""
        try:
            await self._settle(key)
            await self._step(key)
        finally:
            self._runs.decline(key)
            self._sources.decline(key)
            present = self._context.cache(key).get(key.namespace, key.name)
            self._memories.forget(key, present.uid if present is not None else None)

    def close(self) -> None:
        """Begin nothing by itself any more. The workers have ended."""
        self._observation.close()

    async def _step(self, key: Key) -> None:
        stored = self._context.cache(key).get(key.namespace, key.name)
        if stored is None:
            self._forget(key)
            return
        try:
            job = stored.parse(CurationJob)
        except Unreadable:
            await self._let_go(key, stored)
            return
        if job.status.phase is not None and job.status.phase.terminal:
            self._memories.of(key, job.metadata.uid).finish()
        # Before the write, which may be refused for long. Whatever version this is: what is abandoned stays abandoned.
        self.cleanup.advance(key, job)
        self._takeover.see(key, job)
        facts = self._facts(key, job)
        if facts.liveness is Liveness.UNKNOWN and (left := self._takeover.look_again(key, job)) is not None:
            self._context.queue.add_after(key, left)
        step = decide(job, facts)
        if step.launch is not None and not self._modules.fresh(key.namespace, job.spec.module_ref.name):
            # What a run is claimed with is to be what the module's source holds now.
            await self._modules.recheck(key.namespace, job.spec.module_ref.name)
            facts = self._facts(key, job)
            step = decide(job, facts)
        if step.freeze:
            frozen, problem = await self._sources.read(key, job)
            facts = replace(self._facts(key, job), frozen=frozen, frozen_problem=problem)
            step = decide(job, facts)
        if step.launch is not None and not self._runs.reserve(key):
            step = decide(job, replace(facts, slot=False))
        if step.launch is not None:
            await self._claim(key, stored, job, step, step.launch)
        else:
            await self._carry_out(key, stored, job, step)
        if step.status == job.status and not (step.add_finalizer or step.remove_finalizer or step.delete):
            # Only a job that is as it should be is observed, or waits. Any other is decided again first: the watch
            # shows the write, or the write is tried again.
            if step.wake_at is not None:
                self._context.queue.add_after(key, (step.wake_at - self._context.clock.now()).total_seconds())
            self._observation.advance(key, job)
            await self._approvals.advance(key, job)

    async def _claim(self, key: Key, stored: Stored, job: CurationJob, step: Step, run: Run) -> None:
        """Write the claim of a run; launch the run if the claim is there, else give its slot back."""
        # The claim is conditioned on the version that it was computed from: all that is newer came with it or after.
        attempt: Attempt | None = None
        claimed = False
        try:
            attempt = self._runs.begin(orders.submit(key, job, run, step.status))
            claimed = await self._carry_out(key, stored, job, step)
        finally:
            if not claimed:
                self._runs.release(key)
                if attempt is not None:
                    self._runs.discard(attempt)
        if attempt is not None and claimed:
            log.info("launching run %s", run.id, extra=attempt.order.log_fields)
            self._observation.launched(key, job)
            self._runs.launch(attempt)

    async def _let_go(self, key: Key, stored: Stored) -> None:
        """Of a job that cannot be read only a deletion is dealt with: what it may own is cancelled first."""
        self._approvals.forget(key)
        self._runs.forget(key)
        self._sources.forget(key)
        self._observation.forget(key)
        job = remains_of(stored.document())
        if job.metadata.deletion_timestamp is None:
            return
        self.cleanup.advance(key, job)
        facts = Facts(
            now=self._context.clock.now(),
            holder=self._context.settings.holder,
            cleaned=self.cleanup.cleaned(key),
        )
        await self._carry_out(key, stored, job, decide(job, facts))

    def _facts(self, key: Key, job: CurationJob) -> Facts:
        module = self._modules.state(key.namespace, job.spec.module_ref.name)
        if module.digest is None:
            self._modules.wake_when_changed(key.namespace, job.spec.module_ref.name, key)
        approval = self._approvals.facts(key, job)
        return Facts(
            now=self._context.clock.now(),
            holder=self._context.settings.holder,
            module_digest=module.digest,
            module_message=module.message,
            module_unusable=module.unusable,
            module_config=dict(module.spec.config) if module.spec is not None else {},
            liveness=self._takeover.liveness(key, job),
            request_allowed=approval.allowed,
            approval=approval.decision,
            approval_problem=approval.problem,
            finalizer_refused=self._context.refusals.said(key, FINALIZER),
            cleaned=self.cleanup.cleaned(key),
        )

    # -- completions -------------------------------------------------------------------------------------------------

    async def _settle(self, key: Key) -> None:
        for pending in self._runs.pending(key):
            freed_for = self._memories.of(key, pending.order.run.uid).freed_for
            result = await self._completion.settle(key, pending, freed_for)
            if isinstance(result, Later):
                if result.seconds is None:
                    self._context.queue.add_rate_limited(key)
                else:
                    self._context.queue.add_after(key, result.seconds)
                continue
            self._runs.settled(key, pending)
            await self._after(key, pending.report, pending.order, result)

    async def _after(self, key: Key, report: Report, order: orders.Order, settled: Settled) -> None:
        verdict = settled.verdict
        stored = self._context.cache(key).get(key.namespace, key.name)
        job, _ = job_of(stored) if stored is not None else (None, None)
        if orphaned(verdict, report):
            self.cleanup.orphan(key, job, order, verdict.orphan)
        if report.trigger is Trigger.OBSERVE:
            self._observation.ended(key, job, report)
        if verdict.ask is not None and job is not None:
            await self._approvals.ask(key, job, verdict.ask)

    # -- writes ------------------------------------------------------------------------------------------------------

    async def _carry_out(self, key: Key, stored: Stored, job: CurationJob, step: Step) -> bool:
        """Make the one write of a step; True if it was written."""
        context = self._context
        fields = run_fields(key.namespace, key.name, step.status.run)
        if step.delete:
            if await context.delete(key, stored):
                context.queue.add_after(key, DELETE_SHOWS_SECONDS)
            return False
        if step.add_finalizer or step.remove_finalizer:
            others = [name for name in job.metadata.finalizers if name != SESSION_FINALIZER]
            finalizers = [*others, SESSION_FINALIZER] if step.add_finalizer else others
            outcome = await write_finalizers(context, key, job.metadata, finalizers, log_fields=fields)
        elif step.status != job.status:
            old, new = status_to_wire(job.status), status_to_wire(step.status)
            answer = await context.write_status(key, stored.resource_version, old, new)
            if answer is None:
                return False
            outcome = await settle(context, key, answer, STATUS, partial(_shows, job, step.status), log_fields=fields)
        else:
            return False
        try_again(context, key, outcome)
        if outcome.landed:
            self._written(key, job, step)
        return outcome.landed

    def _written(self, key: Key, job: CurationJob, step: Step) -> None:
        context = self._context
        fields = run_fields(key.namespace, key.name, step.status.run)
        for event in step.events:
            context.record_event(regarding(job), event, fields)
        if step.status != job.status:
            context.phase_changed(job, step.status)
        if job.status.phase is Phase.AWAITING_APPROVAL and step.status.phase is Phase.QUEUED:
            digest = job.status.approval.request_digest if job.status.approval is not None else ""
            self._memories.of(key, job.metadata.uid).freed_for = digest
            if step.status.reason == Reason.APPROVED:
                self._approvals.waiters.free(key)

    def _forget(self, key: Key) -> None:
        if not self._runs.pending(key):
            self._context.queue.drop(key)
        self._sources.forget(key)
        self._runs.forget(key)
        self._modules.forget(key)
        self._observation.forget(key)
        self._approvals.forget(key)


def _shows(before: CurationJob, planned: JobStatus, newest: Stored) -> bool:
    return landed(before, planned, job_of(newest)[0])
