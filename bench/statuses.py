"""The statuses of a job with a session, from first to last, and their writes, as the operator's own code makes them."""

from datetime import UTC, datetime
from typing import Any

from curation.api.job import CurationJob, JobStatus
from curation.cluster.cache import Cache
from curation.cluster.resources import JOBS
from curation.cluster.status_body import status_body
from curation.lifecycle.complete import Moment, complete
from curation.lifecycle.decide import decide
from curation.lifecycle.outcome import Calls, Completed, Report, Result, RunKey, SessionRef, SessionSpawned, Trigger
from curation.lifecycle.step import Facts

_DIGEST = f"sha256:{'0' * 64}"


def statuses(made: dict[str, Any]) -> tuple[JobStatus, JobStatus, JobStatus, JobStatus]:
    """Of a job that was just created: as it is, claimed, Running, Completed."""
    job = CurationJob.model_validate(made)
    now = datetime.now(UTC)
    claim = decide(job, Facts(now, "bench/1-00000000", module_digest=_DIGEST))
    run = claim.launch
    assert run is not None
    key = RunKey(job.metadata.uid, run.id, run.generation, run.attempt, run.template_digest)

    def ended(status: JobStatus, trigger: Trigger, result: Result) -> JobStatus:
        known = job.model_copy(update={"status": status})
        verdict = complete(known, Report(trigger, key, result, Calls(left=3, answered=3, allowed=3)), Moment(now))
        assert verdict.status is not None
        return verdict.status

    spawned = SessionSpawned(SessionRef(f"ses-{job.metadata.uid}", f"http://127.0.0.1:8080/{job.metadata.uid}"))
    running = ended(claim.status, Trigger.SUBMIT, spawned)
    return job.status, claim.status, running, ended(running, Trigger.OBSERVE, Completed({"ok": True}))


def put(job: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """The body of the PUT by which the operator makes this change of a job's status, not conditioned yet."""
    cache = Cache(JOBS)
    cache.put(job)
    (stored,) = cache
    body = status_body(JOBS, stored, patch)
    assert body is not None
    return body
