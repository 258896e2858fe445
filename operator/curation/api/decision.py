"""A person's decision about an approval: the fields to write, or why it cannot be made.

One rule for the command line, the dashboard and the Python client. The CRD's own rules refuse the same transitions;
here it can be said what helps.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from curation.api.approval import ApprovalDecision, CurationApproval, Scope, grant_ends


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody decides."""

    decision: ApprovalDecision
    scope: Scope | None = None
    """Of a grant; None: the request alone, or as it is."""
    ends: datetime | None = None
    """When the grant ends, or the denial; None: nothing is said of it."""
    never_ends: bool = False
    comment: str | None = None


class Obstacle(StrEnum):
    """Why a decision cannot be made."""

    GRANTS_NOTHING = "GrantsNothing"
    """It is Pending: there is nothing to revoke."""
    IS_GRANTED = "IsGranted"
    """It is Approved: a grant is revoked, not denied."""
    HAS_EXPIRED = "HasExpired"
    """It was Approved, and has ended."""
    OTHERWISE = "Otherwise"
    """It is Approved in another way, which cannot change."""
    FINAL = "Final"
    """It is Denied or Revoked."""


class Undecidable(Exception):
    """The decision cannot be made: see `Obstacle`."""

    def __init__(self, obstacle: Obstacle) -> None:
        super().__init__(obstacle)
        self.obstacle = obstacle


def decided_fields(current: CurationApproval, wanted: Decision, now: datetime) -> dict[str, Any] | None:
    """The fields of spec to write, but for who decides; None if the approval says that already. Raises Undecidable."""
    old = current.spec.decision
    match old, wanted.decision:
        case ApprovalDecision.PENDING, ApprovalDecision.REVOKED:
            raise Undecidable(Obstacle.GRANTS_NOTHING)
        case ApprovalDecision.PENDING, _:
            return _first(wanted)
        case ApprovalDecision.APPROVED, ApprovalDecision.REVOKED:
            # What was said to the approval is in status.decisions: it is not said to this.
            return {"decision": wanted.decision.value, "comment": wanted.comment}
        case ApprovalDecision.APPROVED, ApprovalDecision.DENIED:
            raise Undecidable(Obstacle.IS_GRANTED)
        case ApprovalDecision.APPROVED, _:
            over = grant_ends(current)
            if over is not None and over <= now:
                raise Undecidable(Obstacle.HAS_EXPIRED)
            if _differs(current, wanted):
                raise Undecidable(Obstacle.OTHERWISE)
            return None
        case _ if old is wanted.decision:
            return None
        case _:
            raise Undecidable(Obstacle.FINAL)


def _first(wanted: Decision) -> dict[str, Any]:
    fields: dict[str, Any] = {"decision": wanted.decision.value}
    if wanted.decision is ApprovalDecision.APPROVED:
        # Always said: a scope that came with the approval is not what this person chose.
        fields["scope"] = (wanted.scope or Scope.REQUEST).value
    if wanted.never_ends:
        fields["neverExpires"] = True
    if wanted.comment is not None:
        fields["comment"] = wanted.comment
    if wanted.ends is not None:
        fields["expiresAt"] = wanted.ends.strftime("%Y-%m-%dT%H:%M:%SZ")
    return fields


def _differs(current: CurationApproval, wanted: Decision) -> bool:
    spec = current.spec
    return (
        wanted.scope not in (None, spec.scope)
        or (wanted.ends is not None and wanted.ends.replace(microsecond=0) != spec.expires_at)
        or (wanted.never_ends and not spec.never_expires)
        or wanted.comment not in (None, spec.comment)
    )
