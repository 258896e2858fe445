"""The statuses of a job with a session, from first to last, as the operator's own pure code computes them."""

from datetime import UTC, datetime
from typing import Any

from curation.api.job import CurationJob, JobStatus
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
