"""The grants of approvals: in force, or no longer, in the very call that receives the change."""

from datetime import datetime

from curation.api.approval import ApprovalDecision, CurationApproval
from curation.authz.grant import Grant
from curation.cluster.cache import Stored
from curation.cluster.resources import APPROVALS
from curation.reconciler.context import Context, Key
from curation.reconciler.in_use import HELD_AT_MOST
from curation.reconciler.job_index import JobIndex


class Grants:
    """Keeps the policy book in step with the approvals."""

    def __init__(self, context: Context, jobs: JobIndex) -> None:
        self._context = context
        self._jobs = jobs
        self._in_force: dict[Key, Grant] = {}
        self._kept: dict[Key, datetime] = {}  # of grants that have ended, which count for Cancel only

    def seen(self, old: Stored | None, new: Stored | None) -> None:
        """Listener of the approval cache: revoking stops the next call of a run in flight."""
        known = new or old
        assert known is not None
        key = Key(APPROVALS, known.namespace, known.name)
        grant = self.of(new.parse(CurationApproval)) if new is not None else None
        if grant is None:
            self.end(key)
            return
        self._in_force[key] = grant
        self._context.book.put_grant(grant)

    def end(self, key: Key) -> None:
        """The grant was revoked, deleted or has expired: what it allowed to start can still be stopped, for a while."""
        grant = self._in_force.pop(key, None)
        if grant is None:
            return
        if self._jobs.may_own_sessions(key.namespace):
            self._kept[key] = self._context.clock.now()
            self._context.queue.add(key)  # to be dropped in time
            self._context.book.put_policy(key.namespace, _kept_name(key), grant.to_cedar_text(), cancel_only=True)
        self._context.book.remove_grant(key.namespace, key.name)

    def of(self, approval: CurationApproval) -> Grant | None:
        """The grant that the approval is, if it is in force."""
        spec, meta = approval.spec, approval.metadata
        if spec.decision is not ApprovalDecision.APPROVED or meta.deletion_timestamp is not None:
            return None
        if self.spent(approval):
            return None
        return Grant(meta.namespace, meta.name, spec.request, spec.scope, spec.expires_at)

    def spent(self, approval: CurationApproval) -> bool:
        """Whether it was revoked or has expired: a job that needs it asks anew."""
        spec = approval.spec
        expired = spec.expires_at is not None and spec.expires_at <= self._context.clock.now()
        return spec.decision is ApprovalDecision.REVOKED or (spec.decision is ApprovalDecision.APPROVED and expired)

    def drop_kept(self, key: Key) -> None:
        """Forget a grant that has ended once no session can need it, at the latest after 10 minutes."""
        since = self._kept.get(key)
        if since is None:
            return
        if self._context.clock.now() < since + HELD_AT_MOST and self._jobs.may_own_sessions(key.namespace):
            self._context.queue.add_after(key, 1.0)
            return
        del self._kept[key]
        self._context.book.remove_policy(key.namespace, _kept_name(key))


def stands_for(approval: CurationApproval) -> str:
    """The Cedar text of the policy that approving it puts in force."""
    spec, meta = approval.spec, approval.metadata
    return Grant(meta.namespace, meta.name, spec.request, spec.scope, spec.expires_at).to_cedar_text()


def _kept_name(key: Key) -> str:
    # A space: no object of that name can exist.
    return f"approval {key.name}"
