"""Notices about jobs and approvals: what of an object is told. Never an input, an output or a log."""

from datetime import datetime
from typing import Any

from curation.api.approval import ApprovalStatus, CurationApproval, RecordedDecision
from curation.api.clipping import clip
from curation.api.job import CurationJob, JobStatus
from curation.api.names import API_VERSION
from curation.authz.decision import call_shown
from curation.notifying.notice import Notice, NoticeType

_MESSAGE = 1024


def job_finished(job: CurationJob, after: JobStatus) -> Notice | None:
    """A phase change that was written, if the job has finished with it; `job` is as it was before."""
    if after.phase is None or not after.phase.terminal or after.phase is job.status.phase or after.phase_since is None:
        return None
    meta, run = job.metadata, after.run
    data: dict[str, Any] = {
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
        "module": job.spec.module_ref.name,
        "phase": after.phase.value,
        "reason": after.reason,
        "message": clip(after.message, _MESSAGE),
        "runID": run.id if run is not None else None,
    }
    moment = after.phase_since
    return Notice(
        id=f"{meta.uid}.finished.{run.id if run is not None else meta.generation}.{moment.timestamp():.6f}",
        type=NoticeType.JOB_FINISHED,
        namespace=meta.namespace,
        path=_path(meta.namespace, "curationjobs", meta.name),
        name=meta.name,
        time=moment,
        data=data,
    )


def about_approval(
    kind: NoticeType,
    approval: CurationApproval,
    status: ApprovalStatus,
    time: datetime,
    decision: RecordedDecision | None = None,
) -> Notice:
    """An approval that waits, was decided, is about to expire or has expired."""
    meta, request = approval.metadata, approval.spec.request
    data: dict[str, Any] = {
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
        "call": call_shown(request),
        "module": request.module,
        "moduleDigest": request.module_digest,
        "waiting": status.waiting,
        "jobs": list(status.jobs),
        "requesters": list(status.requesters),
        "expiresAt": f"{status.expires_at:%Y-%m-%dT%H:%M:%SZ}" if status.expires_at is not None else None,
        "see": f"kubectl curation approve {meta.name} -n {meta.namespace} --dry-run",
    }
    what = kind.rsplit(".", 1)[-1]
    if decision is not None:
        what = decision.decision.lower()
        data["decision"] = decision.to_wire()
    return Notice(
        id=f"{meta.uid}.{what}",
        type=kind,
        namespace=meta.namespace,
        path=_path(meta.namespace, "curationapprovals", meta.name),
        name=meta.name,
        time=time,
        data=data,
    )


def _path(namespace: str, plural: str, name: str) -> str:
    return f"/apis/{API_VERSION}/namespaces/{namespace}/{plural}/{name}"
