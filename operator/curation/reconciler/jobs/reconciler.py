"""CurationJobs: settle what has ended, decide what is next, write it, launch what was claimed.

One worker at a time works on a job (the queue sees to it), so its completions and decisions follow each other; the
resourceVersion of each write makes them safe against everybody else.
"""

import logging
from dataclasses import dataclass, replace
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
from curation.reconciler.approvals.asking import ApprovalFacts, Approvals
from curation.reconciler.jobs import orders
from curation.reconciler.jobs.attempt import Attempt
from curation.reconciler.jobs.binding import settle_binding
from curation.reconciler.jobs.cleanup import Cleanup
from curation.reconciler.jobs.completion import Completion, Later, Settled, orphaned
from curation.reconciler.jobs.memory import Memories
from curation.reconciler.jobs.observation import Observation
from curation.reconciler.jobs.room import Room
from curation.reconciler.jobs.runs import Attach, Launch, Runs
from curation.reconciler.jobs.takeover import Takeover
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.regarding import regarding
from curation.reconciler.runtime.result import NOTHING, RETRY, Moved, Result, Say, carry_out
from curation.reconciler.runtime.unreadable import job_of
from curation.reconciler.runtime.writes import FINALIZER, STATUS, settle, write_finalizers
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
        self._room = Room(context, modules)
        self._modules = modules
        self._approvals = approvals
        self._takeover = takeover
        self._sources = JobSources(context.api, context.wake, context.wake_after, context.clock.monotonic)
        self._completion = Completion(context)
        self.cleanup = Cleanup(context, memories, runs, modules)
        self._observation = Observation(context, memories, runs)

    async def reconcile(self, key: Key) -> Result:
        """Bring one job a step further. Anything that it waits for wakes the key."""
        try:
            return await self._bind(key) + await self._settle(key) + await self._step(key)
        finally:
            self._runs.decline(key)
            self._room.decline(key)
            self._sources.decline(key)
            present = self._context.cache(key).get(key.namespace, key.name)
            self._memories.forget(key, present.uid if present is not None else None)

    def close(self) -> None:
        """Begin nothing by itself any more. The workers have ended."""
        self._observation.close()

    async def _step(self, key: Key) -> Result:
        stored = self._context.cache(key).get(key.namespace, key.name)
        if stored is None:
            return self._forget(key)
        try:
            job = stored.parse(CurationJob)
        except Unreadable:
            return await self._let_go(key, stored)
        if job.status.phase is not None and job.status.phase.terminal:
            self._memories.of(key, job.metadata.uid).finish()
        # Before the write, which may be refused for long. Whatever version this is: what is abandoned stays abandoned.
        result = self.cleanup.advance(key, job)
        self._takeover.see(key, job)
        known, step = await self._decide(key, job)
        result += self._wait_for(key, job, known)
        if step.launch is not None:
            result += await self._claim(key, stored, job, step, step.launch)
        else:
            result += (await self._write(key, stored, job, step)).result
        if step.status == job.status and not (step.add_finalizer or step.remove_finalizer or step.delete):
            # Only a job that is as it should be is observed, or waits. Any other is decided again first: the watch
            # shows the write, or the write is tried again.
            if step.wake_at is not None:
                result += Result(after=(step.wake_at - self._context.clock.now()).total_seconds())
            self._observation.advance(key, job)
            result += await self._approvals.advance(key, job)
        return result

    async def _decide(self, key: Key, job: CurationJob) -> "tuple[_Known, Step]":
        """The next step, and what it is decided from. What a claim needs to have been read now is read for it."""
        known = self._gather(key, job)
        step = decide(job, known.facts)
        if step.launch is not None and not self._modules.fresh(key.namespace, job.spec.module_ref.name):
            # What a run is claimed with is to be what the module's source holds now.
            await self._modules.recheck(key.namespace, job.spec.module_ref.name)
            known = self._gather(key, job)
            step = decide(job, known.facts)
        if step.freeze:
            frozen, problem = await self._sources.read(key, job)
            known = self._gather(key, job)
            known = replace(known, facts=replace(known.facts, frozen=frozen, frozen_problem=problem))
            step = decide(job, known.facts)
        if step.launch is not None and not self._reserve(key, job, step.launch):
            known = replace(known, facts=replace(known.facts, slot=False, slot_message=self._room.why(key)))
            step = decide(job, known.facts)
        return known, step

    def _reserve(self, key: Key, job: CurationJob, run: Run) -> bool:
        """Take memory and a slot for this run, or be woken when one of them is kept for it."""
        if not self._room.take(key, run, in_pod=job.spec.executor.in_pod):
            return False
        if not self._runs.reserve(key):
            self._room.give_back(run)  # others may use it until there is a slot
            return False
        return True

    def _wait_for(self, key: Key, job: CurationJob, known: "_Known") -> Result:
        """Have the job woken by what it waits for. Trap: nothing may be awaited between the gathering and this."""
        if known.facts.module_digest is None:
            self._modules.wake_when_changed(key.namespace, job.spec.module_ref.name, key)
        self._approvals.note(key, job, known.approval)
        match known.facts.liveness:
            case Liveness.UNKNOWN:
                return Result(after=self._takeover.look_again(key, job))
            case Liveness.ALIVE if (run := job.status.run) is not None:
                if not self._memories.of(key, job.metadata.uid).lives(run.id):
                    return Result(effects=(Attach(self._runs, orders.submit(key, job, run)),))
        return NOTHING

    async def _claim(self, key: Key, stored: Stored, job: CurationJob, step: Step, run: Run) -> Result:
        """Write the claim of a run; launch the run if the claim is there, else give its slot back."""
        # The claim is conditioned on the version that it was computed from: all that is newer came with it or after.
        attempt: Attempt | None = None
        written = _Written(False)
        try:
            attempt = self._runs.begin(orders.submit(key, job, run, step.status))
            written = await self._write(key, stored, job, step)
        finally:
            if not written.landed:
                self._runs.release(key)
                self._room.give_back(run)
                if attempt is not None:
                    self._runs.discard(attempt)
        if not written.landed:
            return written.result
        self._observation.launched(key, job)
        return written.result + Result(effects=(Launch(self._runs, attempt),))

    async def _let_go(self, key: Key, stored: Stored) -> Result:
        """Of a job that cannot be read only a deletion is dealt with: what it may own is cancelled first."""
        self._approvals.forget(key)
        self._runs.forget(key)
        self._room.forget(key)
        self._sources.forget(key)
        self._observation.forget(key)
        job = remains_of(stored.document())
        if job.metadata.deletion_timestamp is None:
            return NOTHING
        result = self.cleanup.advance(key, job)
        facts = Facts(
            now=self._context.clock.now(),
            holder=self._context.settings.holder,
            cleaned=self.cleanup.cleaned(key),
        )
        return result + (await self._write(key, stored, job, decide(job, facts))).result

    def _gather(self, key: Key, job: CurationJob) -> "_Known":
        """What is known of this job. It changes nothing, and asks nobody who would have to be waited for."""
        module = self._modules.state(key.namespace, job.spec.module_ref.name)
        approval = self._approvals.facts(key, job)
        facts = Facts(
            now=self._context.clock.now(),
            holder=self._context.settings.holder,
            module_digest=module.digest,
            module_message=module.message,
            module_unusable=module.unusable,
            executor_problem=self._context.pods_problem() if job.spec.executor.in_pod else "",
            module_config=dict(module.spec.config) if module.spec is not None else {},
            liveness=self._takeover.liveness(key, job),
            waits=self._waits(key, job),
            request_allowed=approval.allowed,
            approval=approval.decision,
            approval_problem=approval.problem,
            finalizer_refused=self._context.refusals.said(key, FINALIZER),
            cleaned=self.cleanup.cleaned(key),
        )
        return _Known(facts, approval)

    def _waits(self, key: Key, job: CurationJob) -> str:
        run = job.status.run
        return self._memories.look(key, job.metadata.uid).waits(run.id) if run is not None else ""

    async def _bind(self, key: Key) -> Result:
        """Bind runs to the pods that have come for them. Before their ends are settled: those count only then."""
        result = NOTHING
        for memory in self._memories.at(key):
            for asked in tuple(memory.bindings):
                later = await settle_binding(self._context, key, asked)
                if later is None:
                    memory.bindings.remove(asked)
                else:
                    result += later
        return result

    # -- completions -------------------------------------------------------------------------------------------------

    async def _settle(self, key: Key) -> Result:
        result = NOTHING
        for pending in self._runs.pending(key):
            freed_for = self._memories.of(key, pending.order.run.uid).freed_for
            settled = await self._completion.settle(key, pending, freed_for)
            if isinstance(settled, Later):
                result += settled.result
                continue
            self._runs.settled(key, pending)
            # What was written was written, whatever becomes of the step that follows, which may be cut short.
            carry_out(self._context, key, Result(effects=settled.effects))
            result += await self._after(key, pending.report, pending.order, settled)
        return result

    async def _after(self, key: Key, report: Report, order: orders.Order, settled: Settled) -> Result:
        verdict = settled.verdict
        stored = self._context.cache(key).get(key.namespace, key.name)
        job, _ = job_of(stored) if stored is not None else (None, None)
        if orphaned(verdict, report):
            self.cleanup.orphan(key, job, order, verdict.orphan)
        if report.trigger is Trigger.OBSERVE:
            self._observation.ended(key, job, report)
        if verdict.ask is not None and job is not None:
            return await self._approvals.ask(key, job, verdict.ask)
        return NOTHING

    # -- writes ------------------------------------------------------------------------------------------------------

    async def _write(self, key: Key, stored: Stored, job: CurationJob, step: Step) -> "_Written":
        """Make the one write of a step."""
        context = self._context
        fields = run_fields(key.namespace, key.name, step.status.run)
        if step.delete:
            deleted = await context.delete(key, stored)
            return _Written(False, Result(after=DELETE_SHOWS_SECONDS) if deleted else RETRY)
        if step.add_finalizer or step.remove_finalizer:
            others = [name for name in job.metadata.finalizers if name != SESSION_FINALIZER]
            finalizers = [*others, SESSION_FINALIZER] if step.add_finalizer else others
            outcome = await write_finalizers(context, key, job.metadata, finalizers, log_fields=fields)
            return _Written(outcome.landed, outcome.result)
        if step.status == job.status:
            return _Written(False)
        old, new = status_to_wire(job.status), status_to_wire(step.status)
        answer = await context.write_status(key, stored.resource_version, old, new)
        if answer is None:
            return _Written(False)
        outcome = await settle(context, key, answer, STATUS, partial(_shows, job, step.status), log_fields=fields)
        if not outcome.landed:
            return _Written(False, outcome.result)
        self._note_freed(key, job, step)
        said = (Say(regarding(job), event, fields) for event in step.events)
        return _Written(True, Result(effects=(*said, Moved(job, step.status))))

    def _note_freed(self, key: Key, job: CurationJob, step: Step) -> None:
        if job.status.phase is Phase.AWAITING_APPROVAL and step.status.phase is Phase.QUEUED:
            digest = job.status.approval.request_digest if job.status.approval is not None else ""
            self._memories.of(key, job.metadata.uid).freed_for = digest
            if step.status.reason == Reason.APPROVED:
                self._approvals.waiters.free(key)

    def _forget(self, key: Key) -> Result:
        gone = not self._runs.pending(key)
        self._sources.forget(key)
        self._runs.forget(key)
        self._room.forget(key)
        self._modules.forget(key)
        self._observation.forget(key)
        self._approvals.forget(key)
        return Result(gone=gone)


@dataclass(frozen=True, slots=True)
class _Known:
    """What a step is decided from."""

    facts: Facts
    approval: ApprovalFacts


@dataclass(frozen=True, slots=True)
class _Written:
    """What became of the write of a step."""

    landed: bool
    result: Result = NOTHING


def _shows(before: CurationJob, planned: JobStatus, newest: Stored) -> bool:
    return landed(before, planned, job_of(newest)[0])
