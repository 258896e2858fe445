"""What was decided about a request, by whom and when, and when that ends: kept in the call that receives a decision."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from curation.api.approval import (
    MAX_EARLIER,
    ApprovalDecision,
    CurationApproval,
    RecordedDecision,
    grant_ends,
)
from curation.api.names import ConditionType
from curation.api.reading import Unreadable
from curation.cluster.cache import Stored
from curation.lifecycle import conditions
from curation.reconciler.runtime.context import Context


@dataclass(slots=True)
class _Seen:
    """Decisions about one approval that its status does not say yet."""

    uid: str
    decisions: list[RecordedDecision] = field(default_factory=list)


class Decisions:
    """Notes each decision of a person as the watch shows it, so that the next one does not hide it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._seen: dict[tuple[str, str], _Seen] = {}

    def on_change(self, old: Stored | None, new: Stored | None) -> None:
        """Listener of the approval cache, before `Grants`."""
        known = new or old
        assert known is not None
        place = (known.namespace, known.name)
        try:
            approval = new.parse(CurationApproval) if new is not None else None
        except Unreadable:
            return
        if approval is None:
            self._seen.pop(place, None)
            return
        recorded = {each.decision for each in own_decisions(approval)}
        seen = self._seen.get(place)
        if seen is None or seen.uid != approval.metadata.uid:
            seen = _Seen(approval.metadata.uid)
        seen.decisions = [each for each in seen.decisions if each.decision not in recorded]
        said = {each.decision for each in seen.decisions} | recorded
        if approval.spec.decision is not ApprovalDecision.PENDING and approval.spec.decision not in said:
            seen.decisions.append(self._recorded(approval))
        if seen.decisions:
            self._seen[place] = seen
        else:
            self._seen.pop(place, None)

    def all(self, approval: CurationApproval) -> tuple[RecordedDecision, ...]:
        """What was decided about the request, the newest last: before this approval was made, and about it."""
        return (*approval.spec.earlier, *self.own(approval))

    def own(self, approval: CurationApproval) -> tuple[RecordedDecision, ...]:
        """The decisions about this approval: those that its status says, and those that were seen since."""
        recorded = own_decisions(approval)
        seen = self._seen.get((approval.metadata.namespace, approval.metadata.name))
        new = seen.decisions if seen is not None and seen.uid == approval.metadata.uid else []
        said = {each.decision for each in recorded}
        return (*recorded, *(each for each in new if each.decision not in said))

    def decided_at(self, approval: CurationApproval) -> datetime | None:
        """When the operator received the decision that stands; None while Pending."""
        own = self.own(approval)
        return own[-1].at if own and own[-1].decision is approval.spec.decision else None

    def ends(self, approval: CurationApproval) -> datetime | None:
        """When a grant ends, or a denial; None: never."""
        standing = ApprovalDecision.DENIED if _denied(approval) else ApprovalDecision.APPROVED
        for each in self.own(approval):
            if each.decision is standing:
                # What it was when it was decided: another --approval-ttl, or another release, changes nothing.
                return approval.spec.expires_at or each.expires_at
        return self._ends(approval, self._context.clock.now())

    def ended_at(self, approval: CurationApproval) -> datetime | None:
        """When an approval ceased to count, one that is Revoked or has expired; None if it still does, or may."""
        if approval.spec.decision is ApprovalDecision.REVOKED:
            return self.decided_at(approval)
        ends = self.ends(approval) if approval.spec.decision is not ApprovalDecision.PENDING else None
        return ends if ends is not None and ends <= self._context.clock.now() else None

    def expired(self, approval: CurationApproval) -> bool:
        """Whether it was revoked, or the grant or the denial has ended: a job that needs it asks anew."""
        return approval.spec.decision is ApprovalDecision.REVOKED or self.ended_at(approval) is not None

    def carried(self, approval: CurationApproval) -> tuple[RecordedDecision, ...]:
        """What the approval that takes the place of this one says of the time before it."""
        return self.all(approval)[-MAX_EARLIER:]

    def _ends(self, approval: CurationApproval, decided: datetime) -> datetime | None:
        said, ttl = grant_ends(approval), self._context.settings.approval_ttl
        spec = approval.spec
        if said is not None or spec.never_expires or spec.decision is not ApprovalDecision.APPROVED:
            return said
        if ttl is None or _was_decided_before(approval):
            return None
        return decided + ttl

    def _recorded(self, approval: CurationApproval) -> RecordedDecision:
        spec, now = approval.spec, self._context.clock.now()
        at = now
        if _was_decided_before(approval):
            ready = conditions.find(approval.status.conditions, ConditionType.READY)
            at = ready.last_transition_time if ready is not None else now
        approved = spec.decision is ApprovalDecision.APPROVED
        earlier = {each.comment for each in self.own(approval)}
        return RecordedDecision.model_construct(
            decision=spec.decision,
            by=spec.decided_by,
            at=at,
            scope=spec.scope if approved else None,
            expires_at=None if spec.decision is ApprovalDecision.REVOKED else self._ends(approval, at),
            # Whoever revokes without a word leaves what was said to the approval where it is.
            comment=spec.comment if spec.comment not in earlier else None,
        )


def own_decisions(approval: CurationApproval) -> tuple[RecordedDecision, ...]:
    """The decisions about this very approval that its status says."""
    return approval.status.decisions[len(approval.spec.earlier) :]


def _denied(approval: CurationApproval) -> bool:
    return approval.spec.decision is ApprovalDecision.DENIED


def lead_before(lifetime: timedelta) -> timedelta:
    """How long before its end it is told that a grant is about to expire."""
    return min(timedelta(days=1), lifetime / 10)


def _was_decided_before(approval: CurationApproval) -> bool:
    """Whether an earlier release has acted on the decision, to which it was open-ended: so it stays."""
    status = approval.status
    acted = status.observed_generation >= approval.metadata.generation
    return acted and status.decided_at is None and not own_decisions(approval)
