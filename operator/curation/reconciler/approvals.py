"""Denied requests that jobs wait for: one CurationApproval for each, however many jobs wait.

Jobs are woken by the policy book: whatever made their request allowed, an approval or a policy from Git, frees them.
"""

import logging
from dataclasses import dataclass, field
from typing import Final

from curation.api.approval import (
    ApprovalDecision,
    ApprovalSpec,
    CurationApproval,
    EvaluatedRequest,
    approval_name,
    request_digest,
)
from curation.api.job import CurationJob, JobApproval
from curation.api.names import (
    ANNOTATION_CREATED_BY,
    API_VERSION,
    LABEL_MANAGED_BY,
    LABEL_MODULE,
    MANAGED_BY,
    Phase,
    Trigger,
)
from curation.authz.gate import Decision, JudgeContext
from curation.cluster.answers import Created, Exists, Refused, Throttled, Unknown
from curation.cluster.cache import Stored
from curation.cluster.resources import APPROVALS
from curation.reconciler.context import Context, Document, Key
from curation.reconciler.grants import Grants

log = logging.getLogger(__name__)

MAX_PENDING: Final = 32


@dataclass(frozen=True, slots=True)
class ApprovalFacts:
    """What a waiting job's next decision is made from."""

    allowed: bool = False
    policy_invalid: bool = False
    decision: ApprovalDecision | None = None
    too_many: bool = False


@dataclass(slots=True)
class Waiting:
    """The jobs that wait for one approval, with what the gate last said about each."""

    creators: dict[Key, str] = field(default_factory=dict)
    forbidden: dict[Key, str] = field(default_factory=dict)


class Approvals:
    """Makes approvals, and knows which jobs wait for which."""

    def __init__(self, context: Context, grants: Grants) -> None:
        self._context = context
        self._grants = grants
        self._waiting: dict[Key, Waiting] = {}  # by approval
        self._waits_for: dict[Key, Key | None] = {}  # by job; None: for a policy to be mended
        self._crowded: dict[str, set[Key]] = {}  # jobs that wait for room, by namespace
        context.book.subscribe(self._policies_changed)

    def seen(self, old: Stored | None, new: Stored | None) -> None:
        """Listener of the approval cache, after `Grants`: wake the jobs that wait for it, or for room."""
        known = new or old
        assert known is not None
        key = Key(APPROVALS, known.namespace, known.name)
        for job in tuple(self._waiting[key].creators) if key in self._waiting else ():
            self._context.queue.add(job)
        for job in self._crowded.pop(known.namespace, ()):
            self._context.queue.add(job)

    def _policies_changed(self, namespace: str | None) -> None:
        for job in self._waits_for:
            if namespace is None or job.namespace == namespace:
                self._context.queue.add(job)

    def facts(self, key: Key, job: CurationJob) -> ApprovalFacts:
        """What is known about the request that a job waits for, in the context of its next attempt."""
        if job.status.phase is not Phase.AWAITING_APPROVAL:
            return ApprovalFacts()
        approval = job.status.approval
        if approval is None:
            invalid = self._context.book.effective(key.namespace, Trigger.SUBMIT, self._context.clock.now()).invalid
            return ApprovalFacts(policy_invalid=bool(invalid))
        decision = self._judge(key, job, approval)
        found = self._found(key.namespace, approval)
        return ApprovalFacts(
            allowed=decision.allowed,
            policy_invalid=decision.policy_invalid,
            decision=found.spec.decision if found is not None else None,
            too_many=key in self._crowded.get(key.namespace, ()),
        )

    def _judge(self, key: Key, job: CurationJob, approval: JobApproval) -> Decision:
        run = job.status.run
        assert run is not None
        context = JudgeContext(key.name, job.metadata.labels, run.generation, run.attempt + 1)
        decision = self._context.gate.judge(key.namespace, approval.request, context)
        waiting = self._waiting.get(Key(APPROVALS, key.namespace, approval.name))
        if waiting is not None:
            forbids = f"{key.name}: {decision.reason}" if not decision.allowed and decision.policies else ""
            if waiting.forbidden.get(key, "") != forbids:
                waiting.forbidden[key] = forbids
                self._context.queue.add(Key(APPROVALS, key.namespace, approval.name))
        return decision

    def _found(self, namespace: str, approval: JobApproval) -> CurationApproval | None:
        stored = self._context.caches[APPROVALS].get(namespace, approval.name)
        if stored is None:
            return None
        found = stored.parse(CurationApproval)
        return found if found.spec.request == approval.request else None

    def waiting(self, approval: Key) -> Waiting | None:
        """The jobs that wait for an approval, if there are any."""
        return self._waiting.get(approval)

    def forget(self, job: Key) -> None:
        """The job is gone, or no longer waits."""
        approval = self._waits_for.pop(job, None)
        self._crowded.get(job.namespace, set()).discard(job)
        if approval is None or approval not in self._waiting:
            return
        waiting = self._waiting[approval]
        waiting.creators.pop(job, None)
        waiting.forbidden.pop(job, None)
        if not waiting.creators:
            del self._waiting[approval]
        self._context.queue.add(approval)

    async def advance(self, key: Key, job: CurationJob) -> None:
        """Register a waiting job, and see to it that its approval exists."""
        wanted = job.status.approval
        if job.status.phase is not Phase.AWAITING_APPROVAL or job.metadata.deletion_timestamp is not None:
            if key in self._waits_for:
                self.forget(key)
            return
        if wanted is None:
            self._waits_for[key] = None
            return
        approval = Key(APPROVALS, key.namespace, wanted.name)
        if self._waits_for.get(key) not in (None, approval):
            self.forget(key)
        known = self._waiting.setdefault(approval, Waiting())
        if key not in known.creators:
            self._waits_for[key] = approval
            known.creators[key] = job.metadata.annotations.get(ANNOTATION_CREATED_BY, "")
            self._context.queue.add(approval)
        await self.ensure(key, job, wanted)

    async def ensure(self, key: Key, job: CurationJob, wanted: JobApproval) -> None:
        """Make the approval of a denied request unless there is one that can still be decided or still counts."""
        context = self._context
        place = Key(APPROVALS, key.namespace, wanted.name)
        stored = context.caches[APPROVALS].get(key.namespace, wanted.name)
        if stored is not None:
            found = stored.parse(CurationApproval)
            if found.spec.request != wanted.request:
                self._report_clash(key, wanted)
                return
            if found.metadata.deletion_timestamp is not None or not self._grants.spent(found):
                return
            # Expired or revoked: replaced by a new Pending one. Its deletion wakes this job.
            await context.api.delete(
                APPROVALS, key.namespace, wanted.name, uid=stored.uid, resource_version=str(stored.resource_version)
            )
            await context.refresh(place)
        if self._pending(key.namespace) >= MAX_PENDING:
            crowd = self._crowded.setdefault(key.namespace, set())
            if key not in crowd:
                crowd.add(key)
                context.queue.add(key)
            return
        self._crowded.get(key.namespace, set()).discard(key)
        match await context.api.create(APPROVALS, key.namespace, _new(key.namespace, wanted)):
            case Created(obj):
                context.caches[APPROVALS].put(obj)
            case Exists():
                await context.refresh(place)
                context.queue.add(key)
            case Throttled(retry_after):
                context.queue.add_after(key, retry_after)
            case Refused(code, reason, message):
                log.error("the API server refuses the approval %s: %s %s: %s", wanted.name, code, reason, message)
                context.queue.add_rate_limited(key)
            case Unknown(message):
                log.warning("the answer to the creation of approval %s was lost: %s", wanted.name, message)
                context.queue.add_rate_limited(key)

    async def ask(self, key: Key, job: CurationJob, request: EvaluatedRequest) -> None:
        """Make the approval of a request that was denied to an observation: the job does not wait for it."""
        wanted = JobApproval(
            name=approval_name(request),
            request_digest=request_digest(request),
            request=request,
            since=self._context.clock.now(),
        )
        await self.ensure(key, job, wanted)

    def _pending(self, namespace: str) -> int:
        return sum(
            stored.parse(CurationApproval).spec.decision is ApprovalDecision.PENDING
            for stored in self._context.caches[APPROVALS].in_namespace(namespace)
        )

    def _report_clash(self, key: Key, wanted: JobApproval) -> None:
        log.error(
            "CurationApproval %s/%s records another request than the one that %s waits for; delete it",
            key.namespace,
            wanted.name,
            key.name,
        )


def _new(namespace: str, wanted: JobApproval) -> Document:
    spec = ApprovalSpec(request=wanted.request, request_digest=wanted.request_digest)
    return {
        "apiVersion": API_VERSION,
        "kind": "CurationApproval",
        "metadata": {
            "name": wanted.name,
            "namespace": namespace,
            "labels": {LABEL_MANAGED_BY: MANAGED_BY, LABEL_MODULE: wanted.request.module},
        },
        "spec": spec.to_wire(),
    }
