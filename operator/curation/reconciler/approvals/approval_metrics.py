"""How many approvals there are of each decision, and how long the oldest pending one has waited."""

from collections.abc import Callable
from datetime import datetime

from curation.api.approval import ApprovalDecision, CurationApproval
from curation.api.reading import Unreadable
from curation.cluster.cache import Stored
from curation.reconciler.runtime.metrics import Metrics


class ApprovalMetrics:
    """Keeps `curation_approvals` as approvals change; `curation_approval_age_seconds` is computed when it is read."""

    def __init__(self, metrics: Metrics, now: Callable[[], datetime]) -> None:
        self._metrics = metrics
        self._now = now
        self._decisions: dict[str, ApprovalDecision] = {}  # by uid
        self._pending_since: dict[str, datetime] = {}  # by uid
        for decision in ApprovalDecision:
            metrics.approvals.labels(decision=decision.value)
        metrics.approval_age.set_function(self.oldest_age)

    def on_change(self, old: Stored | None, new: Stored | None) -> None:
        """Listener of the approval cache. The two may be of different uids: an approval that was made anew."""
        if old is not None:
            self._forget(old.uid)
        if new is None:
            return
        try:
            approval = new.parse(CurationApproval)
        except Unreadable:
            return  # it counts as such
        decision = self._decisions[new.uid] = approval.spec.decision
        self._metrics.approvals.labels(decision=decision.value).inc()
        if decision is ApprovalDecision.PENDING:
            self._pending_since[new.uid] = approval.metadata.creation_timestamp or self._now()

    def oldest_age(self) -> float:
        """Seconds since the oldest pending approval was made; 0 when none is pending."""
        if not self._pending_since:
            return 0.0
        # creationTimestamp is in whole seconds, and the server's clock is learnt: never below zero.
        return max(0.0, (self._now() - min(self._pending_since.values())).total_seconds())

    def _forget(self, uid: str) -> None:
        decision = self._decisions.pop(uid, None)
        if decision is not None:
            self._metrics.approvals.labels(decision=decision.value).dec()
        self._pending_since.pop(uid, None)
