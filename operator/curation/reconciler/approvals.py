"""CurationApprovals: one for each denied request that jobs wait for; an approved one is the grant.

The policy book is told in the call that receives the change, so that revoking counts for the next call of a run in
flight. Jobs are woken by the book: whatever made their request allowed, an approval or a policy from Git, frees them.
"""

import logging
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from curation.api.approval import (
    ApprovalDecision,
    ApprovalSpec,
    ApprovalStatus,
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
from curation.authz.grant import Grant
from curation.cluster.answers import Created, Exists, Refused, Throttled, Unknown
from curation.cluster.cache import Stored
from curation.cluster.resources import APPROVALS
from curation.reconciler.context import Context, Document, Key
from curation.reconciler.in_use import HELD_AT_MOST
from curation.reconciler.job_index import JobIndex
from curation.reconciler.writes import ready_condition, write_own_status

log = logging.getLogger(__name__)

MAX_PENDING: Final = 32
# A restart sees approvals before the jobs that wait for them; and a job that was just freed may be denied again.
UNUSED_GRACE_SECONDS: Final = 15.0
_SHOWN_JOBS: Final = 10
_SHOWN_REQUESTERS: Final = 32


@dataclass(frozen=True, slots=True)
class ApprovalFacts:
    """What a waiting job's next decision is made from."""

    allowed: bool = False
    policy_invalid: bool = False
    decision: ApprovalDecision | None = None
    too_many: bool = False


@dataclass(slots=True)
class _Waiting:
    """The jobs that wait for one approval, with what the gate last said about each."""

    creators: dict[Key, str] = field(default_factory=dict)
    forbidden: dict[Key, str] = field(default_factory=dict)


class Approvals:
    """Makes approvals, puts grants in force, frees jobs, keeps the statuses of approvals."""

    def __init__(self, context: Context, jobs: JobIndex) -> None:
        self._context = context
        self._jobs = jobs
        self._kept: dict[Key, datetime] = {}  # grants of deleted approvals, which count for Cancel only
        self._waiting: dict[Key, _Waiting] = {}  # by approval
        self._waits_for: dict[Key, Key | None] = {}  # by job; None: for a policy to be mended
        self._crowded: dict[str, set[Key]] = {}  # jobs that wait for room, by namespace
        self._unused_since: dict[Key, datetime] = {}
        context.book.subscribe(self._policies_changed)

    # -- what is in force --------------------------------------------------------------------------------------------

    def seen(self, old: Stored | None, new: Stored | None) -> None:
        """Listener of the approval cache: a grant counts, or stops counting, at once."""
        known = new or old
        assert known is not None
        key = Key(APPROVALS, known.namespace, known.name)
        approval = new.parse(CurationApproval) if new is not None else None
        grant = self._grant(approval) if approval is not None else None
        if grant is not None:
            self._context.book.put_grant(grant)
        else:
            self._keep_for_cancel(key, old if new is None else None)
            self._context.book.remove_grant(known.namespace, known.name)
        for job in tuple(self._waiting[key].creators) if key in self._waiting else ():
            self._context.queue.add(job)
        for job in self._crowded.pop(known.namespace, ()):
            self._context.queue.add(job)

    def _grant(self, approval: CurationApproval) -> Grant | None:
        spec, meta = approval.spec, approval.metadata
        if spec.decision is not ApprovalDecision.APPROVED or meta.deletion_timestamp is not None:
            return None
        if spec.expires_at is not None and spec.expires_at <= self._context.clock.now():
            return None
        return Grant(meta.namespace, meta.name, spec.request, spec.scope, spec.expires_at)

    def _keep_for_cancel(self, key: Key, deleted: Stored | None) -> None:
        """What was allowed to start can be stopped, even if the approval goes with its namespace or its job."""
        grant = self._grant(deleted.parse(CurationApproval)) if deleted is not None else None
        if grant is not None and self._jobs.may_own_sessions(key.namespace):
            self._kept[key] = self._context.clock.now()
            self._context.book.put_policy(key.namespace, _kept_name(key), grant.to_cedar_text(), cancel_only=True)

    def _drop_kept(self, key: Key) -> None:
        since = self._kept.get(key)
        if since is None:
            return
        if self._context.clock.now() < since + HELD_AT_MOST and self._jobs.may_own_sessions(key.namespace):
            self._context.queue.add_after(key, 1.0)
            return
        del self._kept[key]
        self._context.book.remove_policy(key.namespace, _kept_name(key))

    def _policies_changed(self, namespace: str | None) -> None:
        for job in self._waits_for:
            if namespace is None or job.namespace == namespace:
                self._context.queue.add(job)

    # -- waiting jobs ------------------------------------------------------------------------------------------------

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
            waiting.forbidden.pop(key, None)
            if not decision.allowed and decision.policies:
                waiting.forbidden[key] = f"{key.name}: {decision.reason}"
        return decision

    def _found(self, namespace: str, approval: JobApproval) -> CurationApproval | None:
        stored = self._context.caches[APPROVALS].get(namespace, approval.name)
        if stored is None:
            return None
        found = stored.parse(CurationApproval)
        return found if found.spec.request == approval.request else None

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
        known = self._waiting.setdefault(approval, _Waiting())
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
            if found.metadata.deletion_timestamp is not None or not self._spent(found):
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

    def _spent(self, approval: CurationApproval) -> bool:
        spec = approval.spec
        expired = spec.expires_at is not None and spec.expires_at <= self._context.clock.now()
        return spec.decision is ApprovalDecision.REVOKED or (spec.decision is ApprovalDecision.APPROVED and expired)

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

    # -- the approval's own status -----------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> None:
        """Write who waits and what the grant stands for; remove a pending approval that nobody waits for."""
        context = self._context
        self._drop_kept(key)
        stored = context.caches[APPROVALS].get(key.namespace, key.name)
        if stored is None:
            self._unused_since.pop(key, None)
            return
        approval = stored.parse(CurationApproval)
        if approval.metadata.deletion_timestamp is not None or await self._removed_unused(key, stored, approval):
            return
        waiting = self._waiting.get(key, _Waiting())
        jobs = sorted(job.name for job in waiting.creators)
        before = set(approval.status.requesters)
        requesters = sorted(before | {creator for creator in waiting.creators.values() if creator})
        status = ApprovalStatus(
            observed_generation=approval.metadata.generation,
            waiting=len(jobs),
            jobs=tuple(jobs[:_SHOWN_JOBS]),
            requesters=tuple(requesters[:_SHOWN_REQUESTERS]),
            forbidden=tuple(sorted(text[:512] for text in waiting.forbidden.values())[:_SHOWN_JOBS]),
            cedar=_stands_for(approval),
            conditions=ready_condition(
                approval.status.conditions,
                self._grant(approval) is not None,
                *self._reason(approval),
                approval.metadata.generation,
                context.clock.now(),
            ),
        )
        await write_own_status(context, key, stored, approval.status, status)
        expires = approval.spec.expires_at
        if expires is not None and expires > context.clock.now():
            context.queue.add_after(key, (expires - context.clock.now()).total_seconds() + 1)

    async def _removed_unused(self, key: Key, stored: Stored, approval: CurationApproval) -> bool:
        context, now = self._context, self._context.clock.now()
        if approval.spec.decision is not ApprovalDecision.PENDING or key in self._waiting:
            self._unused_since.pop(key, None)
            return False
        since = self._unused_since.setdefault(key, now)
        left = UNUSED_GRACE_SECONDS - (now - since).total_seconds()
        if left > 0:
            context.queue.add_after(key, left)
            return False
        version = str(stored.resource_version)
        await context.api.delete(APPROVALS, key.namespace, key.name, uid=stored.uid, resource_version=version)
        await context.refresh(key)
        return True

    def _reason(self, approval: CurationApproval) -> tuple[str, str]:
        spec = approval.spec
        if self._spent(approval) and spec.decision is ApprovalDecision.APPROVED:
            return "Expired", "The grant has expired."
        match spec.decision:
            case ApprovalDecision.PENDING:
                return "Pending", "Decide with: kubectl curation approve, or deny."
            case ApprovalDecision.APPROVED:
                return "Approved", f"The grant is in force with scope {spec.scope}."
            case ApprovalDecision.DENIED:
                return "Denied", "Jobs that meet this request fail; delete this approval to let them ask anew."
            case ApprovalDecision.REVOKED:
                return "Revoked", "The grant no longer counts."


def _kept_name(key: Key) -> str:
    # A space: no object of that name can exist.
    return f"approval {key.name}"


def _stands_for(approval: CurationApproval) -> str:
    spec, meta = approval.spec, approval.metadata
    return Grant(meta.namespace, meta.name, spec.request, spec.scope, spec.expires_at).to_cedar_text()


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
