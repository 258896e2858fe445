"""The status of CurationApprovals: who waits, what the grant permits. Removes those that nobody waits for."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from curation.api.approval import ApprovalDecision, ApprovalStatus, CurationApproval
from curation.api.reading import Unreadable
from curation.api.schema import Condition
from curation.authz.grant import Grant
from curation.cluster.cache import Stored
from curation.cluster.resources import APPROVALS, JOBS
from curation.lifecycle import conditions
from curation.reconciler.approvals.approval_news import EXPIRED, EXPIRING, PENDING, ApprovalNews
from curation.reconciler.approvals.asking import Approvals
from curation.reconciler.approvals.decisions import lead_before
from curation.reconciler.approvals.grant_texts import GrantTexts
from curation.reconciler.approvals.grants import Grants
from curation.reconciler.approvals.shown import AskedJobs
from curation.reconciler.approvals.waiters import Waiting
from curation.reconciler.runtime.context import DELETION, Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.result import NOTHING, RETRY, Result
from curation.reconciler.runtime.writes import STATUS, ready_condition, result_of, write_own_status

# A restart sees approvals before the jobs that wait for them.
UNUSED_GRACE_SECONDS: Final = 15.0
LONGEST_WAIT_SECONDS: Final = 24 * 3600.0
"""A clock that is set is noticed once in a day."""
_SHOWN_JOBS: Final = 10
_SHOWN_REQUESTERS: Final = 32


@dataclass(frozen=True, slots=True)
class _Unused:
    """What became of an approval that nobody waits for."""

    removed: bool
    result: Result = NOTHING


class ApprovalReconciler:
    """Keeps the statuses of approvals."""

    def __init__(self, context: Context, approvals: Approvals, grants: Grants, texts: GrantTexts) -> None:
        self._context = context
        self._texts = texts
        self._approvals = approvals
        self._grants = grants
        self._news = ApprovalNews(context)
        self._unused_since: dict[Key, datetime] = {}
        self._asked = AskedJobs(context.caches[JOBS])
        self._awaited: set[Key] = set()
        """Approvals that a job has waited for since this process began."""

    async def reconcile(self, key: Key) -> Result:
        """Write who waits and what the grant permits; remove a pending approval that nobody waits for."""
        context = self._context
        kept = self._grants.drop_kept(key)
        stored = context.caches[APPROVALS].get(key.namespace, key.name)
        if stored is None:
            self._unused_since.pop(key, None)
            self._awaited.discard(key)
            context.refusals.ended(key, STATUS)
            context.refusals.ended(key, DELETION)
            return kept
        try:
            approval = stored.parse(CurationApproval)
        except Unreadable:
            return kept  # reported already; it grants nothing, and its deletion needs nothing from us
        if approval.metadata.deletion_timestamp is not None:
            return kept
        text = await self._texts.of(approval)
        if text is None:
            text, kept = approval.status.cedar, kept + RETRY
        unused = await self._remove_unused(key, stored, approval)
        if unused.removed:
            return kept + unused.result
        found = self._approvals.waiters.of(key)
        if found is not None:
            self._awaited.add(key)
        waiting = found or Waiting()
        jobs = sorted(job.name for job in waiting.requesters)
        count, shown = len(jobs), tuple(jobs[:_SHOWN_JOBS])
        if approval.spec.decision is ApprovalDecision.PENDING and key not in self._awaited:
            # A restart has not seen its jobs yet: what the process before it has written is the better guess.
            count, shown = approval.status.waiting, approval.status.jobs
        before = set(approval.status.requesters)
        requesters = sorted(before.union(*waiting.requesters.values()))
        decisions = self._grants.decisions
        ends = decisions.ends(approval) if approval.spec.decision is not ApprovalDecision.PENDING else None
        status = ApprovalStatus(
            observed_generation=approval.metadata.generation,
            waiting=count,
            jobs=shown,
            asked=self._asked.of(waiting.requesters, approval.status.asked),
            decided_at=decisions.decided_at(approval),
            expires_at=ends,
            expires_after_seconds=self._default_seconds(approval),
            decisions=decisions.all(approval),
            requesters=tuple(requesters[:_SHOWN_REQUESTERS]),
            approved_by=approval.spec.decided_by
            if approval.spec.decision is ApprovalDecision.APPROVED
            else approval.status.approved_by,
            forbidden=tuple(sorted(text[:512] for text in waiting.forbidden.values() if text)[:_SHOWN_JOBS]),
            cedar=text,
            conditions=self._conditions(approval),
        )
        outcome = await write_own_status(
            context, key, stored, approval.status, status, stored.left_out(CurationApproval)
        )
        if outcome is not None and outcome.landed:
            self._news.tell(key, stored, approval, status)
        return kept + unused.result + result_of(outcome) + await self._end(key, stored, approval)

    def _default_seconds(self, approval: CurationApproval) -> int | None:
        ttl = self._context.settings.approval_ttl
        if ttl is None or approval.spec.decision is not ApprovalDecision.PENDING:
            return None
        return int(ttl.total_seconds())

    def _conditions(self, approval: CurationApproval) -> tuple[Condition, ...]:
        now, generation = self._context.clock.now(), approval.metadata.generation
        found = ready_condition(
            approval.status.conditions,
            self._grants.of(approval) is not None,
            *self._reason(approval),
            generation,
            now,
        )
        others = tuple(each for each in found if each.type != EXPIRING)
        warn_at = self._warn_at(approval)
        if warn_at is None or now < warn_at:
            return others
        old = conditions.find(found, EXPIRING)
        expiring = Condition.model_construct(
            type=EXPIRING,
            status="True",
            observed_generation=generation,
            last_transition_time=old.last_transition_time if old is not None else now.replace(microsecond=0),
            reason="AboutToExpire",
            message=f"The grant ends at {self._grants.decisions.ends(approval):%Y-%m-%d %H:%M:%SZ}.",
        )
        return (*others, expiring)

    def _warn_at(self, approval: CurationApproval) -> datetime | None:
        """From when on a grant that is in force is about to expire."""
        decisions = self._grants.decisions
        ends, decided = decisions.ends(approval), decisions.decided_at(approval)
        if ends is None or decided is None or self._grants.of(approval) is None:
            return None
        return ends - lead_before(max(ends - decided, timedelta()))

    async def _end(self, key: Key, stored: Stored, approval: CurationApproval) -> Result:
        """See to what time does to a decision: it is told, it ends, and in the end the approval is removed."""
        context, decisions = self._context, self._grants.decisions
        if approval.spec.decision is ApprovalDecision.PENDING:
            return NOTHING
        now = context.clock.now()
        if not self._grants.expired(approval):
            moments = [each for each in (self._warn_at(approval), decisions.ends(approval)) if each is not None]
            for moment in moments:
                if moment > now:
                    return Result(after=min((moment - now).total_seconds() + 1, LONGEST_WAIT_SECONDS))
            return NOTHING
        self._grants.end(key)
        self._approvals.waiters.wake(key)  # a job that waits for an expired one needs a new one
        retention, ended = context.settings.approval_retention, decisions.ended_at(approval)
        if retention is None or ended is None or self._approvals.waiters.of(key) is not None:
            return NOTHING
        left = (ended + retention - now).total_seconds()
        if left > 0:
            return Result(after=min(left + 1, LONGEST_WAIT_SECONDS))
        if not await context.delete(key, stored):
            return RETRY
        await context.refresh(key)
        return NOTHING

    async def _remove_unused(self, key: Key, stored: Stored, approval: CurationApproval) -> _Unused:
        context, now = self._context, self._context.clock.now()
        if approval.spec.decision is not ApprovalDecision.PENDING or self._approvals.waiters.of(key) is not None:
            self._unused_since.pop(key, None)
            return _Unused(False)
        since = self._unused_since.setdefault(key, now)
        # What frees a job within seconds of its denial, as a policy that is applied after it, leaves nothing behind.
        grace = 0.0 if self._approvals.waiters.is_freed(key) else UNUSED_GRACE_SECONDS
        left = grace - (now - since).total_seconds()
        if left > 0:
            return _Unused(False, Result(after=left))
        if not await context.delete(key, stored):
            return _Unused(False, RETRY)
        await context.refresh(key)
        return _Unused(True)

    def _reason(self, approval: CurationApproval) -> tuple[str, str]:
        spec = approval.spec
        if self._grants.expired(approval) and spec.decision is not ApprovalDecision.REVOKED:
            approved = spec.decision is ApprovalDecision.APPROVED
            return EXPIRED, "The grant has expired." if approved else "The denial has expired: jobs may ask anew."
        match spec.decision:
            case ApprovalDecision.PENDING:
                would = f"Under Cancel it would cover {Grant.of(approval).under_cancel}."
                return PENDING, f"Decide with: kubectl curation approve, or deny. {would}"
            case ApprovalDecision.APPROVED:
                covers = f"Under Cancel it covers {Grant.of(approval).under_cancel}."
                return "Approved", f"The grant is in force with scope {spec.scope}. {covers}"
            case ApprovalDecision.DENIED:
                until = f" It ends at {spec.expires_at:%Y-%m-%d %H:%M:%SZ}." if spec.expires_at is not None else ""
                return "Denied", f"Jobs that make this request fail; delete this approval to let them ask anew.{until}"
            case ApprovalDecision.REVOKED:
                return "Revoked", "The grant no longer counts."
