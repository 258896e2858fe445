"""Objects as the API server shows them: a job for every phase and reason, with the conditions that the operator writes.

Also read by the test of the real kstatus library.
"""

from typing import Any

from curation.api.job import CurationJob, JobStatus
from curation.api.names import API_VERSION, FailureClass, Phase, Reason
from curation.lifecycle.conditions import derive
from tests.unit.lifecycle.builders import IN_EVERY_PHASE, NOW, new_job, running, stored

Document = dict[str, Any]

REASONS: dict[Phase, tuple[str, ...]] = {
    Phase.QUEUED: (
        Reason.WAITING_FOR_MODULE,
        Reason.MODULE_UNUSABLE,
        Reason.EXECUTOR_UNAVAILABLE,
        Reason.WAITING_FOR_CONFIG_MAP,
        Reason.WAITING_FOR_SLOT,
        Reason.WAITING_FOR_CLEANUP,
        Reason.BACKOFF,
        Reason.APPROVED,
        Reason.SUSPENDED,
        Reason.WRITE_REFUSED,
    ),
    Phase.SUBMITTED: (Reason.SUBMITTED, Reason.RESUBMITTED),
    Phase.AWAITING_APPROVAL: (
        Reason.DENIED,
        Reason.TOO_MANY_APPROVALS,
        Reason.APPROVAL_REFUSED,
        Reason.APPROVAL_UNREADABLE,
    ),
    Phase.RUNNING: (Reason.SESSION_SPAWNED,),
    Phase.COMPLETED: (Reason.COMPLETED,),
    Phase.FAILED: (
        *FailureClass,
        Reason.DEADLINE_EXCEEDED,
        Reason.APPROVAL_DENIED,
        Reason.APPROVAL_TIMEOUT,
        Reason.INVALID_SPEC,
    ),
}

EVERY_REASON = [(phase, str(reason)) for phase, reasons in REASONS.items() for reason in reasons]


def job(
    phase: Phase, reason: str, *, message: str = "It is so.", generation: int = 3, seen: int | None = None
) -> Document:
    """A job in this phase; `seen` is the generation that the status is of, the newest unless given."""
    had = running().status
    status = JobStatus(
        run=had.run if phase is not Phase.QUEUED else None,
        session=had.session if phase is Phase.RUNNING else None,
        observed_generation=generation if seen is None else seen,
        phase=phase,
        phase_since=NOW,
        reason=reason,
        message=message,
    )
    status = status.model_copy(update={"conditions": derive(status, NOW)})
    return document(stored(new_job(generation=generation, suspend=reason == Reason.SUSPENDED), status))


def document(model: CurationJob) -> Document:
    """A job of the lifecycle tests as the API server shows it."""
    return {
        "apiVersion": API_VERSION,
        "kind": "CurationJob",
        **model.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def fresh() -> Document:
    """A job that the operator has not seen."""
    return document(new_job())


def being_deleted(obj: Document) -> Document:
    metadata = {
        **obj["metadata"],
        "deletionTimestamp": "2030-01-01T12:00:00Z",
        "generation": obj["metadata"]["generation"] + 1,
    }
    return {**obj, "metadata": metadata}


def walked() -> dict[str, Document]:
    """The jobs of the lifecycle tests, each brought into its phase by the lifecycle itself."""
    return {name: document(make()) for name, make in IN_EVERY_PHASE.items()}


def reviewed(
    kind: str, spec: Document, ready: str, reason: str, message: str, *, generation: int = 2, seen: int = 2
) -> Document:
    """An object of another kind whose Ready condition the operator has written; `ready` empty: it has not yet."""
    condition = {
        "type": "Ready",
        "status": ready,
        "observedGeneration": seen,
        "lastTransitionTime": "2030-01-01T12:00:00Z",
        "reason": reason,
        "message": message,
    }
    # As the operator writes it: only another spec can help.
    stalled = ready == "False" and kind == "CurationModule" and reason not in ("NotFound", "DigestMismatch")
    conditions = [condition, {**condition, "type": "Stalled", "status": "True"}] if stalled else [condition]
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": "it", "uid": "u", "resourceVersion": "7", "generation": generation},
        "spec": spec,
        "status": {"observedGeneration": seen, "conditions": conditions} if ready else {"observedGeneration": -1},
    }


MODULE_SPEC: Document = {"source": {"builtin": "build-session-message-v1"}}
POLICY_SPEC: Document = {"cedar": "permit (principal, action, resource);"}


def approval_spec(decision: str, **more: Any) -> Document:
    request = {
        "module": "m",
        "moduleDigest": "sha256:" + "a" * 64,
        "trigger": "Submit",
        "method": "POST",
        "scheme": "https",
        "host": "sessions.example.com",
        "port": 443,
        "path": "/v1/sessions",
        "query": "",
    }
    return {"request": request, "requestDigest": "b" * 64, "scope": "Request", "decision": decision, **more}


OTHER_KINDS: list[tuple[str, Document, str, str, str]] = [
    # name, object, Argo CD's health, Flux's status, kstatus
    (
        "a loaded module",
        reviewed("CurationModule", MODULE_SPEC, "True", "Compiled", "The module can be run."),
        "Healthy",
        "Current",
        "Current",
    ),
    ("a new module", reviewed("CurationModule", MODULE_SPEC, "", "", ""), "Progressing", "InProgress", "InProgress"),
    (
        "an edited module",
        reviewed("CurationModule", MODULE_SPEC, "True", "Compiled", "Old.", generation=3),
        "Progressing",
        "InProgress",
        "InProgress",
    ),
    (
        "a module without its source",
        reviewed("CurationModule", MODULE_SPEC, "False", "NotFound", "No ConfigMap."),
        "Progressing",
        "InProgress",
        "InProgress",
    ),
    *(
        (
            f"a module with {reason}",
            reviewed("CurationModule", MODULE_SPEC, "False", reason, "Wrong."),
            "Degraded",
            "Failed",
            "Failed" if reason != "DigestMismatch" else "InProgress",
        )
        for reason in ("DigestMismatch", "UnknownBuiltin", "AbiMismatch", "TooLarge", "Invalid")
    ),
    *(
        row
        for kind in ("CurationPolicy", "ClusterCurationPolicy")
        for row in (
            (
                f"a valid {kind}",
                reviewed(kind, POLICY_SPEC, "True", "Valid", "1 policies are in force."),
                "Healthy",
                "Current",
                "Current",
            ),
            (f"a new {kind}", reviewed(kind, POLICY_SPEC, "", "", ""), "Progressing", "InProgress", "InProgress"),
            (
                f"an edited {kind}",
                reviewed(kind, POLICY_SPEC, "True", "Valid", "Old.", generation=3),
                "Progressing",
                "InProgress",
                "InProgress",
            ),
            *(
                (
                    f"a {kind} with {reason}",
                    reviewed(kind, POLICY_SPEC, "False", reason, "Wrong."),
                    "Degraded",
                    "Failed",
                    "InProgress",
                )
                for reason in ("ParseError", "ValidationError", "RevisionsMissed")
            ),
        )
    ),
    (
        "a new approval",
        reviewed("CurationApproval", approval_spec("Pending"), "", "", ""),
        "Suspended",
        "InProgress",
        "InProgress",
    ),
    (
        "a pending approval",
        reviewed("CurationApproval", approval_spec("Pending"), "False", "Pending", "Decide."),
        "Suspended",
        "InProgress",
        "InProgress",
    ),
    (
        "an approved approval",
        reviewed("CurationApproval", approval_spec("Approved", decidedBy="ann"), "True", "Approved", "In force."),
        "Healthy",
        "Current",
        "Current",
    ),
    (
        "an approval just decided",
        reviewed("CurationApproval", approval_spec("Approved"), "False", "Pending", "Old.", generation=3),
        "Progressing",
        "InProgress",
        "InProgress",
    ),
    (
        "an expired approval",
        reviewed("CurationApproval", approval_spec("Approved"), "False", "Expired", "Over."),
        "Healthy",
        "Current",
        "InProgress",
    ),
    (
        "a denied approval",
        reviewed("CurationApproval", approval_spec("Denied"), "False", "Denied", "No."),
        "Healthy",
        "Current",
        "InProgress",
    ),
    (
        "a revoked approval",
        reviewed("CurationApproval", approval_spec("Revoked"), "False", "Revoked", "Over."),
        "Healthy",
        "Current",
        "InProgress",
    ),
]
