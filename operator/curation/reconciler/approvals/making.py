"""Makes the CurationApprovals that jobs wait for: at most so many Pending in a namespace, each by one job at a time."""

import logging
from dataclasses import dataclass
from typing import Final

from curation.api.approval import ApprovalDecision, ApprovalSpec, CurationApproval, RecordedDecision
from curation.api.cancel import CancelRequest
from curation.api.job import CurationJob, JobApproval
from curation.api.module import CurationModule
from curation.api.names import API_VERSION, LABEL_MANAGED_BY, LABEL_MODULE, MANAGED_BY, EventReason, Reason
from curation.api.reading import Unreadable
from curation.cluster.answers import Created, Document
from curation.cluster.cache import Stored
from curation.cluster.resources import APPROVALS, MODULES
from curation.lifecycle.event import Event
from curation.lifecycle.log_fields import run_fields
from curation.lifecycle.step import Problem
from curation.reconciler.approvals.grants import Grants
from curation.reconciler.approvals.waiters import Waiters
from curation.reconciler.runtime.context import DELETION, Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.refusals import refusal_text
from curation.reconciler.runtime.regarding import regarding
from curation.reconciler.runtime.result import AT_ONCE, NOTHING, RETRY, Result
from curation.reconciler.runtime.writes import settle
from curation.wasm.declared import declared_cancel

log = logging.getLogger(__name__)

MAX_PENDING: Final = 32
APPROVAL: Final = "the approval"
"""See `Refusals`."""


@dataclass(frozen=True, slots=True)
class _RefusedApproval:
    """An approval that the API server refuses to make."""

    by: Key
    """The job that goes on trying, for all that wait for it."""
    said: str


class ApprovalMaker:
    """Makes approvals. Used by `asking` alone."""

    def __init__(self, context: Context, grants: Grants, waiters: Waiters) -> None:
        self._context = context
        self._grants = grants
        self._waiters = waiters
        self._over_quota: dict[str, set[Key]] = {}  # by namespace: jobs that wait for room
        self._making: set[Key] = set()  # approvals whose creation is under way
        self._refused: dict[Key, _RefusedApproval] = {}  # approvals that the API server refuses to make
        self._carried: dict[Key, tuple[RecordedDecision, ...]] = {}  # of approvals that were deleted to be made anew

    def problem(self, key: Key, approval: JobApproval) -> Problem | None:
        """Why there is no approval that could free the job, and what helps."""
        place = Key(APPROVALS, key.namespace, approval.name)
        if self._waits_for_room(key):
            return Problem(
                Reason.TOO_MANY_APPROVALS,
                "As many CurationApprovals as allowed are Pending in this namespace; decide or delete some of them.",
            )
        refused = self._refused.get(place)
        if refused is not None:
            return Problem(
                Reason.APPROVAL_REFUSED,
                "The API server refuses the CurationApproval that would be asked for, which is tried again: "
                f"{refused.said}. A policy that allows the call frees the job as well.",
                warn=True,
            )
        stored = self._context.caches[APPROVALS].get(key.namespace, approval.name)
        try:
            if stored is not None:
                stored.parse(CurationApproval)
        except Unreadable as error:
            return Problem(
                Reason.APPROVAL_UNREADABLE,
                f"CurationApproval {approval.name} cannot be read ({error.fault.field}: {error.fault.problem}); "
                "delete it, and a new one is made.",
            )
        return None

    async def ensure(self, key: Key, job: CurationJob, wanted: JobApproval) -> Result:
        """Make the approval of a denied request unless there is one that can still be decided or still counts."""
        context = self._context
        place = Key(APPROVALS, key.namespace, wanted.name)
        if place in self._making:
            return NOTHING  # another job makes it; once it is there it wakes all that wait for it
        stored = context.caches[APPROVALS].get(key.namespace, wanted.name)
        try:
            found = stored.parse(CurationApproval) if stored is not None else None
        except Unreadable:
            self.no_longer_refused(place)
            return NOTHING  # its name is taken: the job says so, and waits for it to go
        self._note_clash(key, job, place, found is not None and found.spec.request != wanted.request)
        if found is not None and (
            found.spec.request != wanted.request
            or found.metadata.deletion_timestamp is not None
            or not self._grants.expired(found)
        ):
            waited_for_room = self._waits_for_room(key)
            self.forget(key)
            self.no_longer_refused(place)
            return AT_ONCE if waited_for_room else NOTHING
        refused = self._refused.get(place)
        if refused is not None and refused.by != key and refused.by in self._waiters:
            return NOTHING  # one job tries again for all
        self._making.add(place)
        try:
            if stored is not None:
                # Expired or revoked: replaced by a new Pending one, which says what was decided before.
                carried = self._grants.decisions.carried(found) if found is not None else ()
                if not await context.delete(place, stored):
                    self._refuse(place, key, context.refusals.said(place, DELETION))
                    return RETRY
                self._carried[place] = carried
                await context.refresh(place)
            return await self._make(key, job, place, wanted)
        finally:
            self._making.discard(place)
            self.offer_room(key.namespace)  # if it was not made, what it had taken is free again

    def offer_room(self, namespace: str) -> None:
        """Decide the jobs that wait for room again, if there is some."""
        over_quota = self._over_quota.get(namespace)
        if over_quota and self._taken(namespace) < MAX_PENDING:
            for job in over_quota:
                self._context.wake(job)

    def _waits_for_room(self, job: Key) -> bool:
        return job in self._over_quota.get(job.namespace, ())

    def no_longer_refused(self, place: Key) -> None:
        """The approval is there, or nobody wants it any more."""
        self._carried.pop(place, None)
        self._context.refusals.ended(place, APPROVAL)
        if self._refused.pop(place, None) is not None:
            self._waiters.wake(place)

    async def _make(self, key: Key, job: CurationJob, place: Key, wanted: JobApproval) -> Result:
        context = self._context
        if self._taken(key.namespace) > MAX_PENDING:  # its own place is one of those
            if not self._waits_for_room(key):
                self._over_quota.setdefault(key.namespace, set()).add(key)
                self._waiters.wake(place)
            return NOTHING
        self.forget(key)
        fields = run_fields(key.namespace, key.name, job.status.run)
        new = _new(key.namespace, wanted, self._cancel(place, wanted), self._carried.get(place, ()))
        answer = await context.api.create(APPROVALS, key.namespace, new)
        # One that is there, whoever made it, is what was wanted: the jobs are decided again, and find out what it says.
        outcome = await settle(
            context, place, answer, APPROVAL, lambda _: True, about=regarding(job), log_fields=fields
        )
        if outcome.landed:
            self.no_longer_refused(place)
            if not isinstance(answer, Created):
                self._waiters.wake(place)
        if outcome.objection is not None:
            # A job that waits says so in its status too; after a denied observation only the report says it.
            self._refuse(place, key, refusal_text(outcome.objection))
        return outcome.result

    def _cancel(self, place: Key, wanted: JobApproval) -> tuple[CancelRequest, ...] | None:
        """What the module declares now: whoever decides sees it, and what is declared later adds nothing to it."""
        stored = self._context.caches[MODULES].get(place.namespace, wanted.request.module)
        # A module that is gone cancels nothing.
        try:
            return declared_cancel(stored.parse(CurationModule).spec) if stored is not None else ()
        except Unreadable:
            return ()

    def _refuse(self, place: Key, key: Key, said: str) -> None:
        """Nobody may make the approval: all that wait for it say so, and this job goes on trying."""
        before = self._refused.get(place)
        self._refused[place] = _RefusedApproval(key, said)
        if before is None or before.said != said:
            self._waiters.wake(place)

    def _taken(self, namespace: str) -> int:
        """How many approvals are Pending or being made."""
        making = sum(place.namespace == namespace for place in self._making)
        return making + sum(map(_pending, self._context.caches[APPROVALS].in_namespace(namespace)))

    def _note_clash(self, key: Key, job: CurationJob, approval: Key, clashes: bool) -> None:
        """Note whether the approval of that name records another request; if so it is reported, never shared."""
        if not self._waiters.set_clashing(approval, key, job, clashes):
            return
        message = (
            f"CurationApproval {approval.name} records another request than the one that was denied; "
            "it cannot free this job: delete it, and the operator makes the right one."
        )
        fields = run_fields(key.namespace, key.name, job.status.run)
        log.error("%s/%s: %s", key.namespace, key.name, message, extra=fields)
        self._context.record_event(regarding(job), Event(EventReason.AWAITING_APPROVAL, message, warning=True), fields)

    def forget(self, job: Key) -> None:
        """The job waits for no approval any more."""
        waiting = self._over_quota.get(job.namespace)
        if waiting is not None:
            waiting.discard(job)
            if not waiting:
                del self._over_quota[job.namespace]


def _pending(stored: Stored) -> bool:
    try:
        return stored.parse(CurationApproval).spec.decision is ApprovalDecision.PENDING
    except Unreadable:
        return False


def _new(
    namespace: str,
    wanted: JobApproval,
    cancel: tuple[CancelRequest, ...] | None,
    earlier: tuple[RecordedDecision, ...],
) -> Document:
    spec = ApprovalSpec(request=wanted.request, request_digest=wanted.request_digest, cancel=cancel, earlier=earlier)
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
