"""What to execute: made from the status, so that any process can make it anew."""

from dataclasses import dataclass, replace

from curation.api.digest import without_nulls
from curation.api.job import AbandonedRun, CurationJob, JobStatus, Run
from curation.api.names import Trigger
from curation.api.schema import JsonObject
from curation.lifecycle.log_fields import run_fields
from curation.lifecycle.outcome import RunKey, SessionRef
from curation.reconciler.runtime.key import Key


@dataclass(frozen=True, slots=True)
class Order:
    """What to execute, as the claim or the entry to be cleaned recorded it."""

    key: Key
    run: RunKey
    trigger: Trigger
    labels: dict[str, str]
    module: str
    digest: str
    input: JsonObject
    config: dict[str, str]
    session: SessionRef | None = None
    in_pod: bool = False
    """Whether its guest runs in a pod."""

    @property
    def log_fields(self) -> dict[str, object]:
        """The fields of a log line about its execution."""
        return run_fields(self.key.namespace, self.key.name, self.run, self.trigger)


def run_key(uid: str, run: Run) -> RunKey:
    """What the run is annotated with."""
    return RunKey(uid, run.id, run.generation, run.attempt, run.template_digest)


def abandoned_key(uid: str, entry: AbandonedRun) -> RunKey:
    """What is known of an abandoned run: its id is ``<uid>.g<generation>.a<attempt>``."""
    _, generation, attempt = entry.id.rsplit(".", 2)
    return RunKey(uid, entry.id, int(generation.removeprefix("g")), int(attempt.removeprefix("a")), "")


def submit(key: Key, job: CurationJob, run: Run, status: JobStatus | None = None) -> Order:
    """Execute a run that was just claimed, with this status if the job has not got it yet: it says what is frozen."""
    frozen = (status or job.status).frozen if job.spec.input_from is not None else None
    document = without_nulls(job.spec.input if frozen is None else frozen.input or {})
    assert isinstance(document, dict)
    return Order(
        key=key,
        run=run_key(job.metadata.uid, run),
        trigger=Trigger.SUBMIT,
        labels=dict(job.metadata.labels),
        module=run.module.name,
        digest=run.module.digest,
        input=document,
        config=run.config or {},
        in_pod=job.spec.executor.in_pod,
    )


def observe(key: Key, job: CurationJob, run: Run) -> Order:
    """Observe the session of a Running job."""
    session = job.status.session
    reference = SessionRef(session.id, session.url) if session is not None else None
    return replace(submit(key, job, run), trigger=Trigger.OBSERVE, session=reference, in_pod=False)


def cancel(key: Key, job: CurationJob, entry: AbandonedRun, session: SessionRef | None) -> Order:
    """Cancel the session of an abandoned run or, where none is known, whatever the run id has created."""
    if session is None and entry.session is not None:
        session = SessionRef(entry.session.id, entry.session.url)
    return Order(
        key=key,
        run=abandoned_key(job.metadata.uid, entry),
        trigger=Trigger.CANCEL,
        labels=dict(job.metadata.labels),
        module=entry.module.name,
        digest=entry.module.digest,
        input={},
        config=entry.config or {},
        session=session,
    )


def cancel_orphan(order: Order, session: SessionRef | None) -> Order:
    """Cancel the session that a dropped completion of this order holds; None: whatever its run has created."""
    return replace(order, trigger=Trigger.CANCEL, session=session, input={}, in_pod=False)
