"""The status of CurationApprovals: who waits, what the grant permits. Removes those that nobody waits for."""

from datetime import datetime
from typing import Final

from curation.api.approval import ApprovalDecision, ApprovalStatus, CurationApproval
from curation.api.reading import Unreadable
from curation.authz.grant import Grant
from curation.cluster.cache import Stored
from curation.cluster.resources import APPROVALS
from curation.lifecycle import conditions
from curation.reconciler.approvals.asking import Approvals
from curation.reconciler.approvals.grants import Grants, granted_text
from curation.reconciler.approvals.waiters import Waiting
from curation.reconciler.runtime.context import DELETION, Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.writes import STATUS, ready_condition, write_own_status

# A restart sees approvals before the jobs that wait for them.
PENDING: Final = "Pending"
UNUSED_GRACE_SECONDS: Final = 15.0
_SHOWN_JOBS: Final = 10
_SHOWN_REQUESTERS: Final = 32


class ApprovalReconciler:
    """Keeps the statuses of approvals."""

    def __init__(self, context: Context, approvals: Approvals, grants: Grants) -> None:
        self._context = context
        self._approvals = approvals
        self._grants = grants
        self._unused_since: dict[Key, datetime] = {}
        self._awaited: set[Key] = set()
        """Approvals that a job has waited for since this process began."""

    async def reconcile(self, key: Key) -> None:
        """Write who waits and what the grant permits; remove a pending approval that nobody waits for."""
        context = self._context
        self._grants.drop_kept(key)
        stored = context.caches[APPROVALS].get(key.namespace, key.name)
        if stored is None:
            self._unused_since.pop(key, None)
            self._awaited.discard(key)
            context.refusals.ended(key, STATUS)
            context.refusals.ended(key, DELETION)
            return
        try:
            approval = stored.parse(CurationApproval)
        except Unreadable:
            return  # reported already; it grants nothing, and its deletion needs nothing from us
        if approval.metadata.deletion_timestamp is not None or await self._removed_unused(key, stored, approval):
            return
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
        status = ApprovalStatus(
            observed_generation=approval.metadata.generation,
            waiting=count,
            jobs=shown,
            requesters=tuple(requesters[:_SHOWN_REQUESTERS]),
            approved_by=approval.spec.decided_by
            if approval.spec.decision is ApprovalDecision.APPROVED
            else approval.status.approved_by,
            forbidden=tuple(sorted(text[:512] for text in waiting.forbidden.values() if text)[:_SHOWN_JOBS]),
            cedar=granted_text(approval),
            conditions=ready_condition(
                approval.status.conditions,
                self._grants.of(approval) is not None,
                *self._reason(approval),
                approval.metadata.generation,
                context.clock.now(),
            ),
        )
        written = await write_own_status(
            context, key, stored, approval.status, status, stored.left_out(CurationApproval)
        )
        said = conditions.find(approval.status.conditions, "Ready")
        if written and (said is None or said.reason == PENDING):
            context.metrics.decided(approval, context.clock.now())
        expires = approval.spec.expires_at
        if expires is not None and expires > context.clock.now():
            context.queue.add_after(key, (expires - context.clock.now()).total_seconds() + 1)
        elif self._grants.expired(approval):
            self._grants.end(key)
            self._approvals.waiters.wake(key)  # a job that waits for an expired one needs a new one

    async def _removed_unused(self, key: Key, stored: Stored, approval: CurationApproval) -> bool:
        context, now = self._context, self._context.clock.now()
        if approval.spec.decision is not ApprovalDecision.PENDING or self._approvals.waiters.of(key) is not None:
            self._unused_since.pop(key, None)
            return False
        since = self._unused_since.setdefault(key, now)
        # What frees a job within seconds of its denial, as a policy that is applied after it, leaves nothing behind.
        grace = 0.0 if self._approvals.waiters.is_freed(key) else UNUSED_GRACE_SECONDS
        left = grace - (now - since).total_seconds()
        if left > 0:
            context.queue.add_after(key, left)
            return False
        if not await context.delete(key, stored):
            return False
        await context.refresh(key)
        return True

    def _reason(self, approval: CurationApproval) -> tuple[str, str]:
        spec = approval.spec
        if self._grants.expired(approval) and spec.decision is ApprovalDecision.APPROVED:
            return "Expired", "The grant has expired."
        match spec.decision:
            case ApprovalDecision.PENDING:
                would = f"Under Cancel it would cover {Grant.of(approval).under_cancel}."
                return PENDING, f"Decide with: kubectl curation approve, or deny. {would}"
            case ApprovalDecision.APPROVED:
                covers = f"Under Cancel it covers {Grant.of(approval).under_cancel}."
                return "Approved", f"The grant is in force with scope {spec.scope}. {covers}"
            case ApprovalDecision.DENIED:
                return "Denied", "Jobs that make this request fail; delete this approval to let them ask anew."
            case ApprovalDecision.REVOKED:
                return "Revoked", "The grant no longer counts."
