"""What to write next for a job: a level-triggered step from what is, never from what was thought before.

`decide` runs the sub-steps of `SUBSTEPS` over one draft of the status, in order, and ends in at most one write. It can
be asked at any time, any number of times, by any process: the write that it asks for is conditioned on the object
that it was computed from. The sub-steps are below, in their order; that of a job that awaits an approval is in
`awaiting`.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from curation.api.job import MAX_ABANDONED_RUNS, CurationJob, JobStatus, Run, RunModule
from curation.api.names import SESSION_FINALIZER, EventReason, Phase, Reason, RunOutcome
from curation.lifecycle import conditions, draft
from curation.lifecycle.awaiting import await_approval
from curation.lifecycle.deadlines import deadline_of, limit_of, outlived
from curation.lifecycle.event import Event
from curation.lifecycle.outcome import Liveness
from curation.lifecycle.step import Facts, Step
from curation.lifecycle.table import LIVE, Cause
from curation.lifecycle.template import refers, template_changed, template_digest_of, template_of

# A run whose pod comes within this time is never shown as waiting for it.
POD_PATIENCE: Final = timedelta(seconds=5)
# A job that is given a slot within this time is never shown as waiting for one: that saves a write in a burst.
SLOT_PATIENCE: Final = timedelta(seconds=5)


def decide(job: CurationJob, facts: Facts) -> Step:
    """The next step of this job."""
    if job.metadata.deletion_timestamp is not None:
        cleaned = all(run_id in facts.cleaned for run_id in runs_to_clean(job))
        # A list that is known in part stays: with those of others gone, it comes whole.
        known = SESSION_FINALIZER in job.metadata.finalizers and not job.metadata.finalizers_cut
        return Step(job.status, remove_finalizer=known and cleaned)
    if SESSION_FINALIZER not in job.metadata.finalizers and _needs_finalizer(job):
        if job.metadata.finalizers_cut:
            return Step(job.status)
        return _refused_finalizer(job, facts) or Step(job.status, add_finalizer=True)
    step = Step(job.status)
    for substep in SUBSTEPS:
        step = substep(job, step, facts)
    status = step.status
    if status != job.status:
        status = draft.update(status, conditions=conditions.derive(status, facts.now))
    wake_at = min((t for t in (step.wake_at, deadline_of(job, status)) if t is not None), default=None)
    if outlived(job, status, facts.now):
        return replace(step, status=status, wake_at=None, delete=True)
    return replace(step, status=status, wake_at=wake_at)


def rests(job: CurationJob, facts: Facts) -> bool:
    """Whether a finished job is as it should be, and stays so until somebody changes it."""
    phase = job.status.phase
    if phase is None or not phase.terminal or job.metadata.deletion_timestamp is not None:
        return False
    return not runs_to_clean(job) and decide(job, facts) == Step(job.status)


def _refused_finalizer(job: CurationJob, facts: Facts) -> Step | None:
    """Say in the status of a job that waits for its first run that it cannot have one; None if it is said."""
    if not facts.finalizer_refused or job.status.phase not in (None, Phase.QUEUED):
        return None
    message = f"The API server refuses the finalizer {SESSION_FINALIZER}: {facts.finalizer_refused}"
    step = _restart(job, Step(job.status), facts)
    step = _wait(job, step, facts, Reason.WRITE_REFUSED, message)
    step = _observe_generation(job, step, facts)
    if step.status == job.status:
        return None
    status = draft.update(step.status, conditions=conditions.derive(step.status, facts.now))
    return replace(step, status=status)


def runs_to_clean(job: CurationJob) -> tuple[str, ...]:
    """Ids of the runs that may own a session which the job no longer wants; of a deleted job, every run in flight.

    Of a deleted job that only another's finalizer keeps, none: its own went when all were cleaned, or given up.
    """
    deleted = job.metadata.deletion_timestamp is not None
    if deleted and SESSION_FINALIZER not in job.metadata.finalizers:
        return ()
    ids = [entry.id for entry in job.status.abandoned_runs]
    run = job.status.run
    if deleted and run is not None and job.status.phase in (Phase.SUBMITTED, Phase.RUNNING) and run.id not in ids:
        ids.append(run.id)
    return tuple(ids)


def _needs_finalizer(job: CurationJob) -> bool:
    phase = job.status.phase
    return phase is None or not phase.terminal or bool(job.status.abandoned_runs) or template_changed(job)


def _drop_cleaned(job: CurationJob, step: Step, facts: Facts) -> Step:
    kept = tuple(entry for entry in step.status.abandoned_runs if entry.id not in facts.cleaned)
    if len(kept) == len(step.status.abandoned_runs):
        return step
    return replace(step, status=draft.update(step.status, abandoned_runs=kept))


def _restart(job: CurationJob, step: Step, facts: Facts) -> Step:
    """A changed template: the old run is abandoned, whatever its phase, and a first attempt is due."""
    if not template_changed(job):
        return step
    status, events = step.status, step.events
    first = status.phase is None
    if status.run is not None and status.phase in (Phase.SUBMITTED, Phase.RUNNING):
        events = (
            *events,
            Event(EventReason.SUPERSEDED, f"The template was changed; run {status.run.id} is abandoned."),
        )
    status = draft.end_current(status, RunOutcome.SUPERSEDED, "TemplateChanged", facts.now)
    status = draft.update(status, frozen=None)
    fields = {
        "template_digest": template_digest_of(job, status),
        "template_generation": job.metadata.generation,
        "approval": None,
    }
    if first:
        return replace(step, status=draft.update(status, **fields), events=events)
    status = draft.enter(
        status, Cause.TEMPLATE_CHANGED, Phase.QUEUED, "", "The template was changed.", facts.now, **fields
    )
    return replace(step, status=status, events=events)


def _observe_generation(job: CurationJob, step: Step, facts: Facts) -> Step:
    """Record what the decision was made from. For a job that has not been shown yet, the first shown phase does it."""
    status = step.status
    digest = template_digest_of(job, status)
    if status.phase is None:
        return step if status == job.status else replace(step, status=job.status)
    if (status.observed_generation, status.template_digest) == (job.metadata.generation, digest):
        return step
    return replace(
        step, status=draft.update(status, observed_generation=job.metadata.generation, template_digest=digest)
    )


def _refuse_invalid(job: CurationJob, step: Step, facts: Facts) -> Step:
    status = step.status
    if status.phase is not None and status.phase.terminal:
        return step
    # What is left out of an object need not be of its spec: labels have no generation, and no run is without them.
    if status.phase is not None and job.excess is None and not template_changed(job):
        return step
    problem = template_of(job, step.status.frozen).problem
    if not problem:
        return step
    status = draft.end_current(status, RunOutcome.ABANDONED, Reason.INVALID_SPEC, facts.now)
    status = draft.enter(status, Cause.INVALID_SPEC, Phase.FAILED, Reason.INVALID_SPEC, problem, facts.now)
    return replace(step, status=status, events=(*step.events, Event(EventReason.FAILED, problem, warning=True)))


def _suspend(job: CurationJob, step: Step, facts: Facts) -> Step:
    status = step.status
    if not job.spec.suspend or (status.phase is not None and status.phase.terminal):
        return step
    if status.phase is Phase.QUEUED and status.reason == Reason.SUSPENDED:
        return step
    status = draft.end_current(status, RunOutcome.ABANDONED, Reason.SUSPENDED, facts.now)
    status = draft.enter(
        status,
        Cause.SUSPENDED,
        Phase.QUEUED,
        Reason.SUSPENDED,
        "Suspended; set spec.suspend to false to go on.",
        facts.now,
        approval=None,
    )
    return replace(step, status=status)


def _time_out(job: CurationJob, step: Step, facts: Facts) -> Step:
    status = step.status
    deadline = deadline_of(job, status)
    if deadline is None or facts.now < deadline or status.phase not in LIVE:
        return step
    phase = status.phase
    if phase is Phase.AWAITING_APPROVAL:
        cause, reason = Cause.APPROVAL_ENDED, Reason.APPROVAL_TIMEOUT
        limit = f"spec.timeouts.approvalSeconds allows ({limit_of(job, phase)} s)"
        assert status.approval is not None
        message = f"No one decided CurationApproval {status.approval.name} for longer than {limit}."
    else:
        cause, reason = Cause.TIMEOUT, Reason.DEADLINE_EXCEEDED
        field_name = f"spec.timeouts.{phase.lower()}Seconds"
        message = f"The job was {phase} for longer than {field_name} allows ({limit_of(job, phase)} s)."
        if phase is Phase.QUEUED:
            message = f"{message} It waited: {status.message}"
    session = status.session
    status = draft.end_current(status, RunOutcome.FAILED, reason, facts.now)
    status = draft.enter(status, cause, Phase.FAILED, reason, message, facts.now, session=session, approval=None)
    return replace(step, status=status, events=(*step.events, Event(EventReason.FAILED, message, warning=True)))


def _advance(job: CurationJob, step: Step, facts: Facts) -> Step:
    match step.status.phase:
        case None | Phase.QUEUED if not job.spec.suspend:
            return _claim(job, step, facts)
        case Phase.SUBMITTED:
            return _replace_dead(job, step, facts)
        case Phase.AWAITING_APPROVAL:
            return await_approval(job, step, facts)
        case _:
            return step


def _claim(job: CurationJob, step: Step, facts: Facts) -> Step:
    """Claim the next attempt, or say what it waits for."""
    status = step.status
    if status.retry_at is not None and facts.now < status.retry_at:
        return replace(step, wake_at=status.retry_at)
    if len(status.abandoned_runs) >= MAX_ABANDONED_RUNS:
        return _wait(
            job,
            step,
            facts,
            Reason.WAITING_FOR_CLEANUP,
            "Too many earlier runs still have to be cleaned; the Warning Events say why.",
        )
    if facts.executor_problem:
        return _wait(job, step, facts, Reason.EXECUTOR_UNAVAILABLE, facts.executor_problem)
    if facts.module_digest is None:
        reason = Reason.MODULE_UNUSABLE if facts.module_unusable else Reason.WAITING_FOR_MODULE
        return _wait(job, step, facts, reason, facts.module_message)
    if not facts.slot:
        since = max(
            t for t in (status.retry_at, status.phase_since, job.metadata.creation_timestamp, _EPOCH) if t is not None
        )
        if _nothing_to_show(job, status) and facts.now < since + SLOT_PATIENCE:
            return replace(step, wake_at=since + SLOT_PATIENCE)
        return _wait(
            job,
            step,
            facts,
            Reason.WAITING_FOR_SLOT,
            facts.slot_message
            or "As many runs are in flight as --max-concurrent-runs allows, or as many of this namespace as leave room "
            "for others.",
        )
    if refers(job.spec) and status.frozen is None:
        if facts.frozen_problem:
            return _wait(job, step, facts, Reason.WAITING_FOR_CONFIG_MAP, facts.frozen_problem)
        if facts.frozen is None:
            return replace(step, freeze=True)
        status = draft.update(status, frozen=facts.frozen)
    run = _next_run(job, status, facts.module_digest, facts)
    first = run.attempt == 1
    status = draft.enter(
        status,
        Cause.CLAIMED,
        Phase.SUBMITTED,
        Reason.SUBMITTED if first else Reason.RESUBMITTED,
        f"Attempt {run.attempt} runs module {run.module.name}.",
        facts.now,
        run=run,
        session=None,
        approval=None,
        output=None,
        template_generation=status.template_generation
        if status.template_generation is not None
        else job.metadata.generation,
    )
    events = () if first else (Event(EventReason.SUBMITTED, f"Attempt {run.attempt} runs module {run.module.name}."),)
    return replace(step, status=status, launch=run, events=(*step.events, *events))


def _nothing_to_show(job: CurationJob, status: JobStatus) -> bool:
    if status.reason == Reason.SUSPENDED:
        return False  # it is resumed: that must not wait
    return job.status.phase is None or (status.phase is job.status.phase and status.reason == job.status.reason)


_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _next_run(job: CurationJob, status: JobStatus, digest: str, facts: Facts) -> Run:
    """The next attempt: number 1 under this generation for a new template, else one more under the run's own."""
    last = status.run
    if last is not None and status.template_generation is not None and last.generation < status.template_generation:
        last = None
    generation = last.generation if last else job.metadata.generation
    attempt = last.attempt + 1 if last else 1
    interruptions = last.interruptions if last and status.retry_at is not None else 0
    retries = (last.retries if last else 0) + (1 if status.retry_at is not None and not interruptions else 0)
    frozen = (status.frozen.config if status.frozen is not None else None) or {}
    return Run.model_construct(
        id=f"{job.metadata.uid}.g{generation}.a{attempt}",
        generation=generation,
        attempt=attempt,
        retries=retries,
        interruptions=interruptions,
        template_digest=template_digest_of(job, status),
        module=RunModule.model_construct(name=job.spec.module_ref.name, digest=digest),
        holder=facts.holder,
        config={**facts.module_config, **frozen, **job.spec.config} or None,
        submitted_at=facts.now,
        spawned_at=None,
        finished_at=None,
        log=None,
    )


def _wait(job: CurationJob, step: Step, facts: Facts, reason: Reason, message: str) -> Step:
    status, message = step.status, draft.message_of(message)
    if status.phase is None:
        return replace(step, status=draft.enter(status, Cause.SEEN, Phase.QUEUED, reason, message, facts.now))
    if (status.reason, status.message) == (reason, message):
        return step
    # Time suspended or waiting for clean-up does not count against timeouts.queuedSeconds.
    was_paused = status.reason in (Reason.SUSPENDED, Reason.WAITING_FOR_CLEANUP)
    since = facts.now if was_paused else status.phase_since
    return replace(step, status=draft.update(status, reason=str(reason), message=message, phase_since=since))


def _replace_dead(job: CurationJob, step: Step, facts: Facts) -> Step:
    """A Submitted run that nobody executes: abandoned, and the next attempt claimed, in one write."""
    status, run = step.status, step.status.run
    if run is None or facts.liveness is not Liveness.GONE:
        return _show_wait(step, facts)
    status = draft.end_current(status, RunOutcome.ABANDONED, "HolderGone", facts.now)
    message = f"The process that executed run {run.id} is gone; the run is abandoned."
    status = draft.enter(status, Cause.HOLDER_GONE, Phase.QUEUED, "", message, facts.now)
    events = (*step.events, Event(EventReason.SUPERSEDED, message))
    return _claim(job, replace(step, status=status, events=events), facts)


def _show_wait(step: Step, facts: Facts) -> Step:
    """Say what a run in a pod waits for, until its pod has come; nothing else is shown of what runs wait for."""
    status, run = step.status, step.status.run
    if not facts.waits or run is None or run.pod is not None or status.phase_since is None:
        return step
    if facts.now < (shown_at := status.phase_since + POD_PATIENCE):
        return replace(step, wake_at=shown_at)
    message = draft.message_of(f"Attempt {run.attempt} has not begun: {facts.waits}")
    return step if status.message == message else replace(step, status=draft.update(status, message=message))


SUBSTEPS: Final = (
    _drop_cleaned,  # what is cleaned no longer waits
    _restart,  # a changed template supersedes everything
    _refuse_invalid,  # what admission could not refuse
    _suspend,  # no run while suspended
    _time_out,  # too long in one phase
    _advance,  # claim, take over, free
    _observe_generation,  # in the same write as the first status of a generation
)
