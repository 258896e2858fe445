"""Which pod may speak for a run: the first that came, once the status says so. No other ever may."""

from dataclasses import dataclass
from datetime import datetime

from curation.api.job import CurationJob, JobStatus, RunPod
from curation.api.names import Trigger
from curation.lifecycle import conditions, draft
from curation.lifecycle.fence import objection
from curation.lifecycle.outcome import RunKey


@dataclass(frozen=True, slots=True)
class Binding:
    """What follows from a pod that asks to speak for a run."""

    status: JobStatus | None = None
    """What is to be written first."""
    bound: bool = False
    """The status names this very pod already."""
    refusal: str = ""
    """Why it may never speak for this run."""


def bind(job: CurationJob | None, run: RunKey, pod: RunPod, now: datetime) -> Binding:
    """Whether this pod, of the run's own Job, may speak for the run, as the job is now."""
    against = objection(job, run, Trigger.SUBMIT)
    if against is not None or job is None or job.status.run is None:
        return Binding(refusal=against.message if against is not None else "the job is gone")
    known = job.status.run.pod
    if known is not None:
        same = (known.uid, known.job_uid) == (pod.uid, pod.job_uid)
        return Binding(bound=same, refusal="" if same else f"the run is bound to another pod, {known.name}")
    current = job.status.run
    status = draft.update(
        job.status,
        run=current.model_copy(update={"pod": pod}),
        message=draft.message_of(f"Attempt {current.attempt} runs module {current.module.name} in pod {pod.name}."),
    )
    return Binding(draft.update(status, conditions=conditions.derive(status, now)))


def shows(job: CurationJob | None, run: RunKey, pod: RunPod) -> bool:
    """Whether the job says that this pod speaks for this run."""
    current = job.status.run if job is not None else None
    return current is not None and current.id == run.id and current.pod is not None and current.pod.uid == pod.uid
