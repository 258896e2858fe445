"""The transition table (docs/architecture.md). One table; everything else reads it."""

from enum import StrEnum
from typing import Final

from curation.api.names import Phase

QUEUED, SUBMITTED, AWAITING, RUNNING, COMPLETED, FAILED = Phase
LIVE: Final = frozenset({QUEUED, SUBMITTED, AWAITING, RUNNING})
ANY: Final = frozenset({None, *Phase})


class Cause(StrEnum):
    """What moves a job from one phase to another."""

    SEEN = "Seen"
    CLAIMED = "Claimed"
    SESSION_SPAWNED = "SessionSpawned"
    COMPLETED = "Completed"
    DENIED_WAITS = "DeniedWaits"
    DENIED_FAILS = "DeniedFails"
    RETRY = "Retry"
    FAILED = "Failed"
    HOLDER_GONE = "HolderGone"
    ALLOWED = "Allowed"
    APPROVAL_ENDED = "ApprovalEnded"
    SESSION_COMPLETED = "SessionCompleted"
    SESSION_FAILED = "SessionFailed"
    TIMEOUT = "Timeout"
    TEMPLATE_CHANGED = "TemplateChanged"
    SUSPENDED = "Suspended"
    INVALID_SPEC = "InvalidSpec"


# cause: (phases it may leave, phases it may enter)
TABLE: Final[dict[Cause, tuple[frozenset[Phase | None], frozenset[Phase]]]] = {
    Cause.SEEN: (frozenset({None}), frozenset({QUEUED})),
    Cause.CLAIMED: (frozenset({None, QUEUED}), frozenset({SUBMITTED})),
    Cause.SESSION_SPAWNED: (frozenset({SUBMITTED}), frozenset({RUNNING})),
    Cause.COMPLETED: (frozenset({SUBMITTED}), frozenset({COMPLETED})),
    Cause.DENIED_WAITS: (frozenset({SUBMITTED}), frozenset({AWAITING})),
    Cause.DENIED_FAILS: (frozenset({SUBMITTED}), frozenset({FAILED})),
    Cause.RETRY: (frozenset({SUBMITTED}), frozenset({QUEUED})),
    Cause.FAILED: (frozenset({SUBMITTED}), frozenset({FAILED})),
    Cause.HOLDER_GONE: (frozenset({SUBMITTED}), frozenset({SUBMITTED, QUEUED})),
    Cause.ALLOWED: (frozenset({AWAITING}), frozenset({QUEUED})),
    Cause.APPROVAL_ENDED: (frozenset({AWAITING}), frozenset({FAILED})),
    Cause.SESSION_COMPLETED: (frozenset({RUNNING}), frozenset({COMPLETED})),
    Cause.SESSION_FAILED: (frozenset({RUNNING}), frozenset({FAILED})),
    Cause.TIMEOUT: (LIVE, frozenset({FAILED})),
    Cause.TEMPLATE_CHANGED: (ANY, frozenset({QUEUED, SUBMITTED})),
    Cause.SUSPENDED: (frozenset({None, *LIVE}), frozenset({QUEUED})),
    Cause.INVALID_SPEC: (frozenset({None, *LIVE}), frozenset({FAILED})),
}


class IllegalTransitionError(Exception):
    """A bug of ours: the table has no such transition. Nothing is written; the job stays as it is."""


def check(cause: Cause, source: Phase | None, target: Phase) -> None:
    """Raise IllegalTransitionError unless the table allows `source` to `target` for this cause."""
    sources, targets = TABLE[cause]
    if source not in sources or target not in targets:
        raise IllegalTransitionError(f"{cause} does not lead from {source or '(new)'} to {target}")
