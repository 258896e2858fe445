"""Conditions follow from the status alone (and, for Authorized and an observation's error, from what was known)."""

from datetime import datetime

from curation.api.job import JobStatus
from curation.api.names import ConditionType, Phase, Reason
from curation.api.schema import Condition

OBSERVATION_FAILED = "ObservationFailed"
_STALLING = (Reason.MODULE_UNUSABLE, Reason.EXECUTOR_UNAVAILABLE)


def find(conditions: tuple[Condition, ...], kind: str) -> Condition | None:
    """The condition of this type, if there is one."""
    return next((condition for condition in conditions if condition.type == kind), None)


def derive(
    status: JobStatus,
    now: datetime,
    *,
    authorized: tuple[str, str] | None = None,
    observation_error: str | None = None,
) -> tuple[Condition, ...]:
    """The conditions of this status; the times of those whose status stays are kept.

    Ready is always there. Reconciling, Stalled and Suspended are there only while True, Finished and Succeeded once the
    job is finished, Authorized once a call was decided: each condition costs the API server at every later write.
    Whoever reads takes an absent one for False. Conditions that say the same as those that are there (an earlier
    release wrote also what is False) are left as they are.

    `authorized` is the new (status, message) of Authorized if a run has shown it; without it the old one stays.
    `observation_error` is why the last observation of a Running job failed. That never fails the job, so Reconciling
    shows it. Empty: the observation succeeded. None: there is no news, and what a Running job shows stays.
    """
    phase = status.phase or Phase.QUEUED
    reason = status.reason or phase.value
    failed, completed = phase is Phase.FAILED, phase is Phase.COMPLETED
    finished = failed or completed
    suspended = phase is Phase.QUEUED and status.reason == Reason.SUSPENDED
    # It goes on by itself once its module or the operator is mended, but nothing that is under way will do that.
    stalled = failed or (phase is Phase.QUEUED and status.reason in _STALLING)
    shown = find(status.conditions, ConditionType.RECONCILING)
    if observation_error is None and phase is Phase.RUNNING and shown is not None:
        observation_error = shown.message if shown.reason == OBSERVATION_FAILED else None
    reconciling = (OBSERVATION_FAILED, observation_error) if observation_error else (reason, status.message)
    grant: tuple[str, str, str] | None
    was_authorized = find(status.conditions, ConditionType.AUTHORIZED)
    if authorized is not None:
        grant = (authorized[0], "Allowed" if authorized[0] == "True" else "Denied", authorized[1])
    elif was_authorized is not None and was_authorized.status != "Unknown":
        grant = (was_authorized.status, was_authorized.reason, was_authorized.message)
    else:
        grant = None
    wanted: dict[ConditionType, tuple[str, str, str] | None] = {
        ConditionType.READY: (_status(completed), reason, status.message),
        ConditionType.RECONCILING: None if finished or stalled else ("True", *reconciling),
        ConditionType.STALLED: ("True", reason, status.message) if stalled else None,
        ConditionType.FINISHED: ("True", reason, "") if finished else None,
        ConditionType.SUCCEEDED: (_status(completed), reason, "") if finished else None,
        ConditionType.AUTHORIZED: grant,
        ConditionType.SUSPENDED: ("True", "Suspended", "") if suspended else None,
    }
    derived = tuple(_condition(status, kind, *said, now) for kind, said in wanted.items() if said is not None)
    return status.conditions if _say_the_same(status.conditions, derived) else derived


def _say_the_same(before: tuple[Condition, ...], now: tuple[Condition, ...]) -> bool:
    """Whether all that is said now was said before, and nothing else is True in it."""
    return set(now) <= set(before) and all(old in now or old.status != "True" for old in before)


def _status(value: bool) -> str:
    return "True" if value else "False"


def _condition(status: JobStatus, kind: str, value: str, reason: str, message: str, now: datetime) -> Condition:
    old = find(status.conditions, kind)
    since = old.last_transition_time if old is not None and old.status == value else now.replace(microsecond=0)
    return Condition.model_construct(
        type=kind,
        status=value,
        observed_generation=max(status.observed_generation, 0),
        last_transition_time=since,
        reason=reason,
        message=message,
    )
