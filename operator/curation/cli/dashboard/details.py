"""One job or one approval in full, for the page: a job's timeline, and all that an approver needs to decide."""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from curation.api.approval import ApprovalDecision, CurationApproval, grant_ends
from curation.api.clipping import clip
from curation.api.job import CurationJob
from curation.authz.grant import Grant
from curation.authz.grant_text import grant_text
from curation.cli.request_line import request_line
from curation.cli.review import coverage, default_end, granted_before, state_of, under_cancel
from curation.cluster.answers import Document

Json = dict[str, Any]

_RUN_ID: Final = re.compile(r".*\.g(\d+)\.a(\d+)")
_TEXT: Final = 40_000
_NOTE: Final = 1100
KINDS: Final = {
    "AwaitingApproval": "denied",
    "Denied": "denied",
    "Approved": "approved",
    "StaleCompletionDropped": "dropped",
    "SessionCancelled": "cancelled",
    "Superseded": "cancelled",
    "CleanupFailed": "failed",
    "Failed": "failed",
    "Completed": "done",
    "SessionSpawned": "running",
}
"""Of the reasons of Events, what the page marks them as."""
_OUTCOMES: Final = {
    "Completed": "done",
    "SessionSpawned": "running",
    "Failed": "failed",
    "Denied": "denied",
    "Superseded": "cancelled",
    "Abandoned": "cancelled",
}


def job_details(job: CurationJob, document: Document, events: Sequence[Document] | None) -> Json:
    """All of a job. `events` None: the person may not list them."""
    status = job.status
    run, session = status.run, status.session
    return {
        "namespace": job.metadata.namespace,
        "name": job.metadata.name,
        "phase": status.phase.value if status.phase is not None else "New",
        "reason": status.reason,
        "message": status.message,
        "module": job.spec.module_ref.name,
        "since": _time(status.phase_since),
        "approval": status.approval.name if status.approval is not None else None,
        "run": run.id if run is not None else None,
        "session": {"id": session.id, "url": session.url} if session is not None else None,
        "progress": _json(session.progress) if session is not None and session.progress else None,
        "input": _json(job.spec.input),
        "output": _json(status.output) if status.output else None,
        "log": run.log if run is not None else None,
        "attempts": _attempts(job),
        "timeline": _timeline(job, events or ()),
        "eventsShown": events is not None,
        "version": job.metadata.resource_version,
    }


def _attempts(job: CurationJob) -> list[Json]:
    """The runs that are known, the newest last: those of the history, the present one, those to be cleaned."""
    status = job.status
    cleaning = {each.id: each for each in status.abandoned_runs}
    found = [
        _attempt(each.id, each.outcome.value, each.reason, each.finished_at, each.id in cleaning)
        for each in status.history
    ]
    known = {each.id for each in status.history}
    for each in status.abandoned_runs:
        if each.id not in known:
            found.append(_attempt(each.id, "Abandoned", "", each.since, True))
    if status.run is not None and status.run.id not in known | cleaning.keys():
        found.append(_attempt(status.run.id, "InFlight", status.reason, None, False))
    return sorted(found, key=lambda each: (each["generation"], each["attempt"]))


def _attempt(run_id: str, outcome: str, reason: str, ended: datetime | None, cleaning: bool) -> Json:
    match = _RUN_ID.fullmatch(run_id)
    generation, attempt = (int(match[1]), int(match[2])) if match else (0, 0)
    return {
        "id": run_id,
        "generation": generation,
        "attempt": attempt,
        "outcome": outcome,
        "mark": _OUTCOMES.get(outcome, "running"),
        "reason": reason,
        "ended": _time(ended),
        "cleaning": cleaning,
    }


def _timeline(job: CurationJob, events: Sequence[Document]) -> list[Json]:
    """What happened, the oldest first."""
    status = job.status
    found: list[Json] = []

    def add(at: str | None, mark: str, title: str, text: str = "") -> None:
        if at:
            # Shown in whole seconds, and in the order of what is below them.
            found.append({"at": f"{at[:19]}Z", "order": at, "mark": mark, "title": title, "text": text})

    add(_exact(job.metadata.creation_timestamp), "new", "Created")
    if status.run is not None:
        add(_exact(status.run.submitted_at), "running", f"Attempt {status.run.attempt} claimed", status.run.id)
    if status.session is not None:
        add(_exact(status.session.spawned_at), "running", "Session recorded", status.session.id)
    for entry in status.history:
        add(_exact(entry.finished_at), _OUTCOMES.get(entry.outcome, ""), f"Run ended: {entry.outcome}", entry.id)
    for event in events:
        series = event.get("series") or {}
        times = int(series.get("count", 1) or 1)
        reason = str(event.get("reason", ""))
        at = str(series.get("lastObservedTime") or event.get("eventTime") or event["metadata"].get("creationTimestamp"))
        more = f" ({times} times)" if times > 1 else ""
        add(at, KINDS.get(reason, "event"), f"{reason}{more}", clip(str(event.get("note", "")), _NOTE))
    return sorted(found, key=lambda each: str(each["order"]))


def approval_details(
    approval: CurationApproval,
    approvals: Sequence[CurationApproval],
    users: Sequence[str],
    may: str,
    now: datetime,
) -> Json:
    """All that one needs to decide. `users` are jobs of the module; `may` is empty if the person may, or why not."""
    spec, status = approval.spec, approval.status
    pending = spec.decision is ApprovalDecision.PENDING
    return {
        "namespace": approval.metadata.namespace,
        "name": approval.metadata.name,
        "uid": approval.metadata.uid,
        "generation": approval.metadata.generation,
        "request": request_line(spec.request),
        "module": spec.request.module,
        "moduleDigest": spec.request.module_digest,
        "state": state_of(approval, now),
        "decision": spec.decision.value,
        "scope": spec.scope.value,
        "decidedBy": spec.decided_by,
        "approvedBy": status.approved_by,
        "comment": spec.comment,
        "ends": _time(grant_ends(approval)),
        "defaultEnd": default_end(approval) if pending else "",
        "waiting": status.waiting,
        "jobs": list(status.jobs),
        "requesters": list(status.requesters),
        "asked": [each.to_wire() for each in status.asked],
        "covers": [
            {"scope": each.scope.value, "words": each.words, "others": list(each.others)}
            for each in coverage(approval, approvals)
        ],
        "underCancel": under_cancel(approval),
        "sameModule": list(users[:20]),
        "before": granted_before(approval, approvals, now),
        "decisions": [each.to_wire() for each in (status.decisions or spec.earlier)],
        "forbidden": list(status.forbidden),
        "cedar": status.cedar or grant_text(Grant.of(approval)),
        "may": may,
        "version": approval.metadata.resource_version,
    }


def _json(value: object) -> str:
    return clip(json.dumps(value, indent=2, ensure_ascii=False), _TEXT)


def _time(moment: datetime | None) -> str | None:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment is not None else None


def _exact(moment: datetime | None) -> str | None:
    return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}" if moment is not None else None
