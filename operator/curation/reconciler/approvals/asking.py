"""Denied requests that jobs wait for: one CurationApproval for each, however many jobs wait.

Jobs are woken by the policy book: whatever made their request allowed, an approval or a policy from Git, frees them.
"""

from dataclasses import dataclass

from curation.api.approval import (
    ApprovalDecision,
    CurationApproval,
    EvaluatedRequest,
    approval_name,
    request_digest,
)
from curation.api.job import CurationJob, JobApproval
from curation.api.names import Phase
from curation.api.reading import Unreadable
from curation.authz.decision import CallContext
from curation.checking.verdict import Question, Verdict
from curation.cluster.cache import Stored
from curation.cluster.resources import APPROVALS
from curation.lifecycle.step import Problem
from curation.reconciler.approvals.grants import Grants
from curation.reconciler.approvals.making import ApprovalMaker
from curation.reconciler.approvals.waiters import Waiters, observation_denied
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.result import NOTHING, Result


@dataclass(frozen=True, slots=True)
class ApprovalFacts:
    """What a waiting job's next decision is made from."""

    allowed: bool = False
    forbids: str | None = ""
    """What denies the request although it were approved; empty: nothing, None: it is not known."""
    decision: ApprovalDecision | None = None
    problem: Problem | None = None
    question: Question | None = None
    """What is to be asked, since `allowed` and `forbids` are not known."""


class Approvals:
    """Registers which job waits for which approval, and has the approvals made."""

    def __init__(self, context: Context, grants: Grants) -> None:
        self._context = context
        self._grants = grants
        self.waiters = Waiters(context.wake)
        self._maker = ApprovalMaker(context, grants, self.waiters)
        context.book.subscribe(self._policies_changed)

    def on_change(self, old: Stored | None, new: Stored | None) -> None:
        """Listener of the approval cache, after `Grants`: wake the jobs that wait for it, or for room."""
        if old is not None and new is not None and (old.uid, old.generation) == (new.uid, new.generation):
            return  # a status that we wrote: it must not wake every job that waits
        known = new or old
        assert known is not None
        if new is None:
            self.waiters.forget(Key(APPROVALS, known.namespace, known.name))
        self.waiters.wake(Key(APPROVALS, known.namespace, known.name))
        self._maker.offer_room(known.namespace)

    def _policies_changed(self, namespace: str | None) -> None:
        for job in self.waiters.in_namespace(namespace):
            self._context.wake(job)

    def facts(self, key: Key, job: CurationJob) -> ApprovalFacts:
        """What is known about the request that a job waits for, in the context of its next attempt."""
        approval = job.status.approval
        if job.status.phase is not Phase.AWAITING_APPROVAL or approval is None:
            return ApprovalFacts()
        question = _question(key, job, approval)
        verdict = self._context.verdicts.of(key, question)
        found = self._found(key.namespace, approval)
        return ApprovalFacts(
            allowed=verdict is not None and verdict.allowed,
            forbids=_forbids(key, verdict) if verdict is not None else None,
            question=question if verdict is None else None,
            # A denial that has ended is none: the job asks anew.
            decision=found.spec.decision if found is not None and not self._denied_once(found) else None,
            problem=self._maker.problem(key, approval),
        )

    def _denied_once(self, approval: CurationApproval) -> bool:
        return approval.spec.decision is ApprovalDecision.DENIED and self._grants.expired(approval)

    def note(self, key: Key, job: CurationJob, facts: ApprovalFacts) -> None:
        """Have what is not known asked, and the approval that the job waits for say what else denies the request."""
        if facts.question is not None:
            self._context.verdicts.ask(key, facts.question)
        if (
            job.status.phase is Phase.AWAITING_APPROVAL
            and job.status.approval is not None
            and facts.forbids is not None
        ):
            place = Key(APPROVALS, key.namespace, job.status.approval.name)
            self.waiters.set_forbidden(place, key, facts.forbids)

    def _found(self, namespace: str, approval: JobApproval) -> CurationApproval | None:
        stored = self._context.caches[APPROVALS].get(namespace, approval.name)
        try:
            found = stored.parse(CurationApproval) if stored is not None else None
        except Unreadable:
            return None
        return found if found is not None and found.spec.request == approval.request else None

    def forget(self, job: Key) -> None:
        """The job is gone, or no longer waits."""
        self._context.verdicts.forget(job)
        left = self.waiters.remove(job)
        self._maker.forget(job)
        if left is None:
            return
        approval, awaited = left
        if not awaited:
            self._maker.no_longer_refused(approval)
        elif self._context.caches[APPROVALS].get(approval.namespace, approval.name) is None:
            self.waiters.wake(approval)  # the one that is gone may have been about to make it
        self._context.wake(approval)

    async def advance(self, key: Key, job: CurationJob) -> Result:
        """Register a waiting job, and see to it that its approval exists."""
        wanted = job.status.approval
        if job.status.phase is not Phase.AWAITING_APPROVAL or job.metadata.deletion_timestamp is not None:
            if key in self.waiters and not observation_denied(job):
                self.forget(key)
            return NOTHING
        if wanted is None:
            self.forget(key)
            return NOTHING
        if self._register(key, job, wanted):
            self.note(key, job, self.facts(key, job))
        return await self._maker.ensure(key, job, wanted)

    def _register(self, key: Key, job: CurationJob, wanted: JobApproval) -> bool:
        """Note which approval the job waits for; True if that is new."""
        approval = Key(APPROVALS, key.namespace, wanted.name)
        if self.waiters.approval_of(key) not in (None, approval):
            self.forget(key)
        return self.waiters.add(key, job, approval)

    async def ask(self, key: Key, job: CurationJob, request: EvaluatedRequest) -> Result:
        """Make the approval of a request that was denied to an observation; it stays until an observation succeeds."""
        wanted = JobApproval(
            name=approval_name(request),
            request_digest=request_digest(request),
            request=request,
            since=self._context.clock.now(),
        )
        self._register(key, job, wanted)
        return await self._maker.ensure(key, job, wanted)


def _question(key: Key, job: CurationJob, approval: JobApproval) -> Question:
    run = job.status.run
    generation, attempt = (run.generation, run.attempt) if run is not None else (job.metadata.generation, 0)
    return Question(approval.request, CallContext(key.name, job.metadata.labels, generation, attempt + 1))


def _forbids(key: Key, verdict: Verdict) -> str:
    # A request that nothing permits is not forbidden: approving it is what helps.
    return f"{key.name}: {verdict.reason}" if verdict.decided and not verdict.allowed else ""
