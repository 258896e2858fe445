"""One object as a row of the page: what its list shows, as plain JSON. What strangers wrote is text, never HTML."""

from typing import Any

from curation.api.approval import ApprovalDecision, CurationApproval, grant_ends
from curation.api.clipping import clip
from curation.api.job import CurationJob
from curation.api.reading import Unreadable, read
from curation.cluster.answers import Document
from curation.cluster.resources import APPROVALS, JOBS, ResourceKind

_MESSAGE = 300
_REQUEST = 200

Row = dict[str, Any]


def key_of(document: Document) -> str:
    """How the page names an object among those of its kind."""
    metadata = document["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"


def row(kind: ResourceKind, document: Document) -> Row:
    """What the list of this kind shows of an object; one that cannot be read says so."""
    metadata = document["metadata"]
    base: Row = {
        "namespace": metadata.get("namespace", ""),
        "name": metadata["name"],
        "created": metadata.get("creationTimestamp"),
    }
    try:
        if kind is JOBS:
            return base | _job(read(CurationJob, document))
        if kind is APPROVALS:
            return base | _approval(read(CurationApproval, document))
    except Unreadable as error:
        return base | {"unreadable": clip(str(error), _MESSAGE)}
    return base | _source(kind, document)


def _job(job: CurationJob) -> Row:
    status = job.status
    return {
        "phase": status.phase.value if status.phase is not None else "New",
        "reason": status.reason,
        "message": clip(status.message, _MESSAGE),
        "attempt": status.run.attempt if status.run is not None else None,
        "session": status.session.id if status.session is not None else None,
        "since": _time(status.phase_since),
        "approval": status.approval.name if status.approval is not None else None,
        "version": job.metadata.resource_version,
    }


def _approval(approval: CurationApproval) -> Row:
    spec, status = approval.spec, approval.status
    request = spec.request
    query = f"?{request.query}" if request.query else ""
    url = f"{request.scheme}://{request.host}:{request.port}{request.path}{query}"
    return {
        "decision": spec.decision.value,
        "scope": spec.scope.value if spec.decision is not ApprovalDecision.PENDING else "",
        "request": clip(f"{request.method} {url}", _REQUEST),
        "module": request.module,
        "trigger": request.trigger.value,
        "waiting": status.waiting,
        "requesters": list(status.requesters[:5]),
        "decidedBy": spec.decided_by,
        "ends": _time(grant_ends(approval)),
        "version": approval.metadata.resource_version,
    }


def _source(kind: ResourceKind, document: Document) -> Row:
    """A module or a policy: only whether it is Ready, read without a model so that none hides another."""
    status = document.get("status")
    listed = status.get("conditions") if isinstance(status, dict) else None
    ready = next((each for each in listed or () if isinstance(each, dict) and each.get("type") == "Ready"), {})
    return {
        "kind": kind.kind,
        "ready": str(ready.get("status", "Unknown")),
        "reason": str(ready.get("reason", "")),
        "message": clip(str(ready.get("message", "")), _MESSAGE),
    }


def _time(moment: Any) -> str | None:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment is not None else None
