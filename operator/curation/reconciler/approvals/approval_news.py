"""What is told of an approval once its status says so: an Event on it, a notice, and the metrics."""

from typing import Final

from curation.api.approval import ApprovalDecision, ApprovalStatus, CurationApproval, RecordedDecision
from curation.api.clipping import clip
from curation.api.names import EventReason
from curation.authz.decision import call_shown
from curation.cluster.cache import Stored
from curation.lifecycle import conditions
from curation.lifecycle.event import Event
from curation.notifying.notice import NoticeType
from curation.reconciler.approvals.decisions import own_decisions
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.notices import about_approval
from curation.reconciler.runtime.regarding import regarding_object

PENDING: Final = "Pending"
EXPIRED: Final = "Expired"
EXPIRING: Final = "Expiring"
"""Reasons of the condition Ready; the last one is a condition of its own."""

_COMMENT_SHOWN: Final = 200
_DECIDED: Final = {
    ApprovalDecision.APPROVED: EventReason.APPROVED,
    ApprovalDecision.DENIED: EventReason.DENIED,
    ApprovalDecision.REVOKED: EventReason.REVOKED,
}


class ApprovalNews:
    """Compares the status that was written with the one before it."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def tell(self, key: Key, stored: Stored, before: CurationApproval, after: ApprovalStatus) -> None:
        """Call it once for each status that was written."""
        context = self._context
        call = call_shown(before.spec.request)
        was, now = (conditions.find(status.conditions, "Ready") for status in (before.status, after))
        events = []
        if was is None and before.spec.decision is ApprovalDecision.PENDING:
            earlier = f" It was {before.spec.earlier[-1].decision} before." if before.spec.earlier else ""
            events.append(Event(EventReason.REQUESTED, f"{call} waits for a decision.{earlier}"))
            since = before.metadata.creation_timestamp or context.clock.now()
            context.tell(about_approval(NoticeType.APPROVAL_PENDING, before, after, since))
        recorded = {each.decision for each in own_decisions(before)}
        for each in after.decisions[len(before.spec.earlier) :]:
            # An earlier release acted on it already, and said so.
            told = was is not None and was.reason in (each.decision, EXPIRED)
            if each.decision not in recorded and not told:
                events.append(Event(_DECIDED[each.decision], f"{call} was {_said(each)}"))
                context.metrics.decided(before, each)
                context.tell(about_approval(NoticeType.APPROVAL_DECIDED, before, after, each.at, each))
        if EXPIRING in {each.type for each in after.conditions} - {each.type for each in before.status.conditions}:
            events.append(Event(EventReason.EXPIRING, f"The grant of {call} ends {_at(after)}.", warning=True))
            context.tell(about_approval(NoticeType.APPROVAL_EXPIRING, before, after, context.clock.now()))
        if now is not None and now.reason == EXPIRED and (was is None or was.reason != EXPIRED):
            what = "grant" if before.spec.decision is ApprovalDecision.APPROVED else "denial"
            events.append(Event(EventReason.EXPIRED, f"The {what} of {call} has ended."))
            context.metrics.approval_expired(before)
            context.tell(about_approval(NoticeType.APPROVAL_EXPIRED, before, after, context.clock.now()))
        for event in events:
            context.record_event(regarding_object(key, stored), event, key.log_fields)


def _said(decision: RecordedDecision) -> str:
    by = f" by {decision.by}" if decision.by else ""
    scope = f" with scope {decision.scope}" if decision.scope else ""
    until = f" until {decision.expires_at:%Y-%m-%d %H:%M:%SZ}" if decision.expires_at else ""
    comment = f": {clip(decision.comment, _COMMENT_SHOWN)}" if decision.comment else "."
    return f"{decision.decision}{by}{scope}{until}{comment}"


def _at(status: ApprovalStatus) -> str:
    return f"at {status.expires_at:%Y-%m-%d %H:%M:%SZ}" if status.expires_at is not None else "soon"
