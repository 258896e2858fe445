"""Jobs for the tests, and what the API server does with a step: the table tests read like the table."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from curation.api.approval import EvaluatedRequest
from curation.api.job import CurationJob, JobStatus, status_to_wire
from curation.api.names import SESSION_FINALIZER, FailureClass, Trigger
from curation.lifecycle.complete import Moment, Ruling, Verdict, complete
from curation.lifecycle.decide import decide
from curation.lifecycle.outcome import (
    Calls,
    Completed,
    Denied,
    Failed,
    Liveness,
    Report,
    Result,
    RunKey,
    SessionRef,
    SessionSpawned,
)
from curation.lifecycle.step import Facts, Step

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
UID = "0000-uid"
HERE, THERE = "here/1", "there/1"
MODULE_DIGEST = "sha256:" + "a" * 64
FACTS = Facts(now=NOW, holder=HERE, module_digest=MODULE_DIGEST, liveness=Liveness.GONE)
ANSWERED = Calls(left=1, answered=1, allowed=1)
_versions = itertools.count(2)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def facts(**changes: Any) -> Facts:
    return replace(FACTS, **changes)


def new_job(*, finalizer: bool = True, generation: int = 1, **spec: Any) -> CurationJob:
    """A job that no one has seen yet."""
    return CurationJob.model_validate(
        {
            "metadata": {
                "name": "job",
                "namespace": "default",
                "uid": UID,
                "generation": generation,
                "resourceVersion": "1",
                "creationTimestamp": NOW.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "finalizers": [SESSION_FINALIZER] if finalizer else [],
            },
            "spec": {"moduleRef": {"name": "module"}, **spec},
            "status": {"observedGeneration": -1},
        }
    )


def stored(job: CurationJob, status: JobStatus) -> CurationJob:
    """The job after this status was written: it has gone through JSON, as on the API server."""
    document = job.model_dump(mode="json", by_alias=True, exclude_none=True)
    document["status"] = {"observedGeneration": -1, **status_to_wire(status)}
    document["metadata"]["resourceVersion"] = str(next(_versions))
    return CurationJob.model_validate(document)


def edited(job: CurationJob, **spec: Any) -> CurationJob:
    """The job after an edit of its spec, by the names of the models' fields: the generation rises."""
    changed = job.spec.model_copy(update=spec)
    metadata = job.metadata.model_copy(
        update={"generation": job.metadata.generation + 1, "resource_version": str(next(_versions))}
    )
    return job.model_copy(update={"spec": changed, "metadata": metadata})


def deleted(job: CurationJob) -> CurationJob:
    """The job after its deletion was asked for: the API server bumps the generation."""
    metadata = job.metadata.model_copy(update={"deletion_timestamp": NOW, "generation": job.metadata.generation + 1})
    return job.model_copy(update={"metadata": metadata})


def stepped(job: CurationJob, **changes: Any) -> CurationJob:
    """The job after the next step, which must write a status."""
    step = decide(job, facts(**changes))
    assert step.status != job.status
    return stored(job, step.status)


def claimed(job: CurationJob | None = None, **changes: Any) -> CurationJob:
    """A Submitted job, its run executed by HERE."""
    job = stepped(job or new_job(), **changes)
    assert job.status.phase == "Submitted"
    return job


def key(job: CurationJob) -> RunKey:
    """The current run of a job."""
    run = job.status.run
    assert run is not None
    return RunKey(job.metadata.uid, run.id, run.generation, run.attempt, run.template_digest)


def report(job: CurationJob, result: Result, trigger: Trigger = Trigger.SUBMIT, **fields: Any) -> Report:
    """How the current run of this job ended."""
    return Report(trigger, key(job), result, **{"calls": ANSWERED, **fields})


def verdict_of(job: CurationJob | None, given: Report, now: datetime = NOW, **moment: Any) -> Verdict:
    return complete(job, given, Moment(now, **moment))


def completed(job: CurationJob, result: Result, trigger: Trigger = Trigger.SUBMIT, **fields: Any) -> CurationJob:
    """The job after the outcome of its current run was applied."""
    now = fields.pop("now", NOW)
    verdict = verdict_of(job, report(job, result, trigger, **fields), now)
    assert verdict.ruling is Ruling.APPLIED
    assert verdict.status is not None
    return stored(job, verdict.status)


def running(job: CurationJob | None = None, session: str = "s1") -> CurationJob:
    return completed(job or claimed(), SessionSpawned(SessionRef(session, f"https://s/{session}")))


def awaiting(job: CurationJob | None = None, **fields: Any) -> CurationJob:
    return completed(job or claimed(), denied(), **fields)


def backing_off(job: CurationJob | None = None) -> CurationJob:
    return completed(job or claimed(), failed(FailureClass.HTTP_UNAVAILABLE))


def finished(job: CurationJob | None = None) -> CurationJob:
    return completed(job or claimed(), Completed({"answer": 42}))


def failed_job(job: CurationJob | None = None) -> CurationJob:
    return completed(job or claimed(), failed(FailureClass.TRAP))


def suspended(job: CurationJob | None = None) -> CurationJob:
    return stepped(edited(job or claimed(), suspend=True))


def waiting(job: CurationJob | None = None) -> CurationJob:
    """Queued, since its module is not Ready."""
    return stepped(job or new_job(), module_digest=None, module_message="CurationModule module is not there.")


IN_EVERY_PHASE: dict[str, Callable[[], CurationJob]] = {
    "new": new_job,
    "Queued": waiting,
    "Queued for a backoff": backing_off,
    "Suspended": suspended,
    "Submitted": claimed,
    "AwaitingApproval": awaiting,
    "Running": running,
    "Completed": finished,
    "Failed": failed_job,
}
"""What makes a job of each phase."""


def failed(failure: FailureClass, message: str = "it failed") -> Failed:
    return Failed(failure, message)


def request(path: str = "/sessions") -> EvaluatedRequest:
    return EvaluatedRequest(
        module="module",
        module_digest=MODULE_DIGEST,
        trigger=Trigger.SUBMIT,
        method="POST",
        scheme="https",
        host="sessions.example",
        port=443,
        path=path,
    )


def denied(path: str = "/sessions") -> Denied:
    return Denied(request(path), f"POST https://sessions.example{path} is denied.")


def settled(job: CurationJob, **changes: Any) -> Step:
    """The step of a job for which nothing is to be done."""
    step = decide(job, facts(**{"liveness": Liveness.ALIVE, **changes}))
    assert step.status == job.status
    assert step.launch is None
    assert (step.add_finalizer, step.remove_finalizer, step.delete) == (False, False, False)
    return step
