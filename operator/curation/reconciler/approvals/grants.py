"""The grants of approvals: in force, or no longer, in the very call that receives the change."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from curation.api.approval import ApprovalDecision, CurationApproval
from curation.api.names import ConditionType
from curation.api.reading import Unreadable
from curation.authz.grant import Grant, ended_key
from curation.cluster.cache import Stored
from curation.cluster.resources import APPROVALS
from curation.lifecycle import conditions
from curation.lifecycle.deadlines import HELD_AT_MOST
from curation.reconciler.approvals.decisions import Decisions
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.job_index import JobIndex
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.result import NOTHING, Result

JOBS_UNKNOWN_AT_MOST: Final = timedelta(seconds=15)
CHECK_AGAIN_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Kept:
    """How long a grant that has ended counts for Cancel: while a job may own a session, within these times."""

    at_least: datetime
    at_most: datetime


class Grants:
    """Keeps the policy book in step with the approvals."""

    def __init__(self, context: Context, jobs: JobIndex) -> None:
        self._context = context
        self._jobs = jobs
        self.decisions = Decisions(context)
        self._in_force: dict[Key, Grant] = {}
        self._kept: dict[Key, _Kept] = {}

    def on_change(self, old: Stored | None, new: Stored | None) -> None:
        """Listener of the approval cache: revoking stops the next call of a run in flight."""
        known = new or old
        assert known is not None
        self.decisions.on_change(old, new)
        key = Key(APPROVALS, known.namespace, known.name)
        approval = _readable(new)
        grant = self.of(approval) if approval is not None else None
        if grant is not None:
            self._in_force[key] = grant
            self._context.book.put_grant(grant)
        elif old is None and approval is not None and self._has_granted(approval):
            self._recall(key, approval)
        else:
            self.end(key)

    def end(self, key: Key) -> None:
        """The grant was revoked, deleted or has expired: what it allowed to start can still be stopped, for a while."""
        grant = self._in_force.pop(key, None)
        if grant is None:
            return
        if self._jobs.may_own_sessions(key.namespace):
            now = self._context.clock.now()
            self._keep(key, grant, _Kept(now, now + HELD_AT_MOST))
        self._context.book.remove_grant(key.namespace, key.name)

    def _recall(self, key: Key, approval: CurationApproval) -> None:
        """A grant that had ended before this process saw it counts for Cancel as for the process that saw it end."""
        now = self._context.clock.now()
        at_most = (self._ended_at(approval) or now) + HELD_AT_MOST
        if now < at_most:
            # Trap: a process that starts sees approvals before the jobs that need them.
            self._keep(key, Grant.of(approval), _Kept(now + JOBS_UNKNOWN_AT_MOST, at_most))

    def _keep(self, key: Key, grant: Grant, until: _Kept) -> None:
        self._kept[key] = until
        self._context.wake(key)  # to be dropped in time
        self._context.book.put_grant(_ended(grant))

    def of(self, approval: CurationApproval) -> Grant | None:
        """The grant that the approval is, if it is in force."""
        spec, meta = approval.spec, approval.metadata
        if spec.decision is not ApprovalDecision.APPROVED or meta.deletion_timestamp is not None:
            return None
        if self.expired(approval):
            return None
        return replace(Grant.of(approval), expires_at=self.decisions.ends(approval))

    def expired(self, approval: CurationApproval) -> bool:
        """Whether it was revoked, or the grant or the denial has ended: a job that needs it asks anew."""
        return self.decisions.expired(approval)

    def _has_granted(self, approval: CurationApproval) -> bool:
        return approval.spec.decision is not ApprovalDecision.DENIED and self.expired(approval)

    def _ended_at(self, approval: CurationApproval) -> datetime | None:
        """When a grant ended; of one that was revoked None where that has not been written yet."""
        if approval.spec.decision is ApprovalDecision.APPROVED:
            return self.decisions.ends(approval)
        ready = conditions.find(approval.status.conditions, ConditionType.READY)
        return ready.last_transition_time if ready is not None and ready.reason == ApprovalDecision.REVOKED else None

    def drop_kept(self, key: Key) -> Result:
        """Forget a grant that has ended once no session can need it, at the latest after 10 minutes."""
        if key not in self._kept:
            return NOTHING
        now, kept = self._context.clock.now(), self._kept[key]
        if now < kept.at_most and (now < kept.at_least or self._jobs.may_own_sessions(key.namespace)):
            return Result(after=CHECK_AGAIN_SECONDS)
        del self._kept[key]
        self._context.book.remove_grant(key.namespace, ended_key(key.name))
        return NOTHING


def _readable(stored: Stored | None) -> CurationApproval | None:
    """The approval; none that cannot be read grants anything."""
    try:
        return stored.parse(CurationApproval) if stored is not None else None
    except Unreadable:
        return None


def _ended(grant: Grant) -> Grant:
    return replace(grant, expires_at=None, cancel_only=True)
