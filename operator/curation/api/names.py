"""Every name that other programs depend on: a change to one is a breaking change."""

from enum import StrEnum
from typing import Final

GROUP: Final = "curation.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

MAX_CEDAR_BYTES: Final = 64 * 1024
"""Of the text of a policy. Here, so that what checks a text need not import the models."""

MAX_LOG_BYTES: Final = 2 * 1024
"""Of what a run has logged. Here, so that what runs guests need not import the models."""

SESSION_FINALIZER: Final = "curation.dev/session"
IN_USE_FINALIZER: Final = "curation.dev/in-use"

LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_MODULE: Final = "curation.dev/module"
LABEL_GUESTS_OF: Final = "curation.dev/guests-of"
"""Of the Jobs and pods of guests: the namespace of the operator that has made them."""
MANAGED_BY: Final = "curation-operator"

ANNOTATION_GENERATION: Final = "curation.dev/generation"
ANNOTATION_RUN_ID: Final = "curation.dev/run-id"
ANNOTATION_ATTEMPT: Final = "curation.dev/attempt"
ANNOTATION_TEMPLATE_DIGEST: Final = "curation.dev/template-digest"
ANNOTATION_OBSERVE_REQUESTED_AT: Final = "curation.dev/observe-requested-at"
# Who asks for a job, stamped by admission (manifests/components/admission) and by nobody else.
ANNOTATION_CREATED_BY: Final = "curation.dev/created-by"
ANNOTATION_REQUESTED_BY: Final = "curation.dev/requested-by"
"""Who created the job, last changed its template or resumed it."""
ANNOTATION_EDITED_BY: Final = "curation.dev/edited-by"
"""Who last changed what it runs, where that is somebody else: a rerun hides no edit."""
REQUESTER_ANNOTATIONS: Final = (ANNOTATION_CREATED_BY, ANNOTATION_REQUESTED_BY, ANNOTATION_EDITED_BY)


class Phase(StrEnum):
    """Where a job is in its life. Completed and Failed are terminal: only a changed template leaves them."""

    QUEUED = "Queued"
    SUBMITTED = "Submitted"
    AWAITING_APPROVAL = "AwaitingApproval"
    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"

    @property
    def terminal(self) -> bool:
        """Whether the job has finished."""
        return self in (Phase.COMPLETED, Phase.FAILED)


class Trigger(StrEnum):
    """Why a module is invoked; part of its context and of every policy request."""

    SUBMIT = "Submit"
    OBSERVE = "Observe"
    CANCEL = "Cancel"


class FailureClass(StrEnum):
    """Why a run failed; also the reason of a Failed job."""

    DENIED = "Denied"
    EGRESS_REFUSED = "EgressRefused"
    MODULE_ERROR = "ModuleError"
    TRAP = "Trap"
    LIMIT_EXCEEDED = "LimitExceeded"
    TIMEOUT = "Timeout"
    HTTP_UNAVAILABLE = "HTTPUnavailable"
    MODULE_UNAVAILABLE = "ModuleUnavailable"
    SESSION_FAILED = "SessionFailed"
    INTERRUPTED = "Interrupted"
    """The process that executed it ended, for no fault of the run that is known."""

    @property
    def retryable(self) -> bool:
        """Whether trying again, with nothing changed, may help."""
        return self in (
            FailureClass.TIMEOUT,
            FailureClass.HTTP_UNAVAILABLE,
            FailureClass.MODULE_UNAVAILABLE,
            FailureClass.INTERRUPTED,
        )


class Reason(StrEnum):
    """status.reason: why the job is in its phase. A Failed job's may also be any `FailureClass`."""

    # Queued
    WAITING_FOR_MODULE = "WaitingForModule"
    MODULE_UNUSABLE = "ModuleUnusable"
    EXECUTOR_UNAVAILABLE = "ExecutorUnavailable"
    WAITING_FOR_CONFIG_MAP = "WaitingForConfigMap"
    WAITING_FOR_SLOT = "WaitingForSlot"
    WAITING_FOR_CLEANUP = "WaitingForCleanup"
    BACKOFF = "Backoff"
    APPROVED = "Approved"
    SUSPENDED = "Suspended"
    WRITE_REFUSED = "WriteRefused"
    # Submitted
    SUBMITTED = "Submitted"
    RESUBMITTED = "Resubmitted"
    # AwaitingApproval
    DENIED = "Denied"
    TOO_MANY_APPROVALS = "TooManyApprovals"
    APPROVAL_REFUSED = "ApprovalRefused"
    APPROVAL_UNREADABLE = "ApprovalUnreadable"
    # Running
    SESSION_SPAWNED = "SessionSpawned"
    # Completed
    COMPLETED = "Completed"
    # Failed
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    APPROVAL_DENIED = "ApprovalDenied"
    APPROVAL_TIMEOUT = "ApprovalTimeout"
    INVALID_SPEC = "InvalidSpec"


class RunOutcome(StrEnum):
    """How a run of status.history ended."""

    COMPLETED = "Completed"
    SESSION_SPAWNED = "SessionSpawned"
    FAILED = "Failed"
    DENIED = "Denied"
    SUPERSEDED = "Superseded"
    ABANDONED = "Abandoned"


class EventReason(StrEnum):
    """Reasons of the Events on a job, or on an approval; the last two are also those on other objects of ours."""

    SUBMITTED = "Submitted"
    SESSION_SPAWNED = "SessionSpawned"
    DENIED = "Denied"
    AWAITING_APPROVAL = "AwaitingApproval"
    APPROVED = "Approved"
    COMPLETED = "Completed"
    FAILED = "Failed"
    RETRY_SCHEDULED = "RetryScheduled"
    STALE_COMPLETION_DROPPED = "StaleCompletionDropped"
    SESSION_CANCELLED = "SessionCancelled"
    CLEANUP_FAILED = "CleanupFailed"
    SUPERSEDED = "Superseded"
    # On an approval, which has Approved and Denied too.
    REQUESTED = "Requested"
    REVOKED = "Revoked"
    EXPIRING = "Expiring"
    EXPIRED = "Expired"
    UNREADABLE = "Unreadable"
    WRITE_REFUSED = "WriteRefused"


POLICY_INVALID: Final = "PolicyInvalid"
"""Reason of the Event on a policy whose newest revision is invalid."""


class ConditionType(StrEnum):
    """Conditions of a job; Ready, Reconciling and Stalled follow kstatus."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    FINISHED = "Finished"
    SUCCEEDED = "Succeeded"
    AUTHORIZED = "Authorized"
    SUSPENDED = "Suspended"
