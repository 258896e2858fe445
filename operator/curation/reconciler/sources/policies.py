"""CurationPolicies: put each in force, as far as it counts, once it is judged; say in its status what is in force."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from curation.api.names import POLICY_INVALID
from curation.api.policy import CurationPolicy, PolicyStatus
from curation.api.reading import Unreadable
from curation.authz.check_result import PolicyCheck
from curation.authz.policy_review import PolicyReview, put_in_force, review
from curation.checking.checkers import Checkers
from curation.cluster.answers import Document, Refused
from curation.cluster.cache import Stored
from curation.cluster.resources import CLUSTER_POLICIES, POLICIES
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.result import NOTHING, Result
from curation.reconciler.runtime.writes import ready_condition, result_of, write_own_status
from curation.reconciler.sources.in_use import TERMINATING, InUse
from curation.reconciler.sources.judging import AnyPolicy, Judging

log = logging.getLogger(__name__)

FORBIDDEN: Final = 403
IN_FORCE: Final = "inForce"


class Idle(NamedTuple):
    """A policy object of which no permit counts: none at all, or its forbids alone."""

    kind: str
    namespace: str
    name: str


class PolicyReconciler:
    """Keeps the policy book in step with the policies of both kinds."""

    def __init__(self, context: Context, in_use: InUse, checkers: Checkers) -> None:
        self._context = context
        self.judging = Judging(checkers, self._review_of, self._judged, self._all_judged, context.clock.monotonic)
        self._asked: set[Key] = set()
        """Policies whose status was to be written, and that wait."""
        self._held: dict[str, set[Key]] = {}
        """Jobs that wait for policies, by the namespace of those; "" is the cluster."""
        self._in_use = in_use
        in_use.accepts = self._is_not_ours
        self._reviews: dict[Key, PolicyReview] = {}
        self._reported: dict[Key, tuple[str, int, str]] = {}
        """The revision, and the reason, of the last report that it is not in force."""
        self._not_ours: set[Key] = set()
        """Cluster policies that this operator, which is limited to namespaces, may read and not write."""
        for kind in (POLICIES, CLUSTER_POLICIES):
            for ready in ("True", "False"):
                context.metrics.policies.labels(kind=kind.kind, ready=ready)

    def on_change(self, old: Stored | None, new: Stored | None) -> None:
        """Listener of the policy caches: a deletion counts at once, a new text once it is judged, before any write."""
        known = new or old
        assert known is not None
        namespace = known.namespace or None
        key = Key(POLICIES if namespace else CLUSTER_POLICIES, known.namespace, known.name)
        if new is not None:
            # One that cannot be read any more goes on counting as it was read last: it may forbid.
            with suppress(Unreadable):
                self._see(key, new.parse(CurationPolicy))
            return
        self._forget(key)
        self._reported.pop(key, None)
        self._not_ours.discard(key)

    def held(self, key: Key) -> Result | None:
        """If this job waits for the judgement of a policy that counts for it: until when, at the latest."""
        holding = self.judging.holding(key.namespace)
        for place in holding:
            self._held.setdefault(place, set()).add(key)
        return Result(after=min(holding.values())) if holding else None

    def _see(self, key: Key, policy: CurationPolicy) -> None:
        before, meta = self._reviews.get(key), policy.metadata
        if before is not None and before.uid != meta.uid:
            # Another object of this name: what the one before it permitted ends now, whatever this one says.
            self._forget(key)
        elif before is not None and meta.deletion_timestamp is not None and not before.deleting:
            put_in_force(self._context.book, key.namespace or None, key.name, replace(before, deleting=True))
        if not self.judging.take(key, policy):
            self._judged(key, policy, {})

    def _review_of(self, key: Key) -> PolicyReview | None:
        return self._reviews.get(key)

    def _judged(self, key: Key, policy: AnyPolicy, checks: dict[str, PolicyCheck]) -> None:
        reviewed = review(policy, self._reviews.get(key), checks.__getitem__)
        self._count(key, reviewed)
        put_in_force(self._context.book, key.namespace or None, key.name, reviewed)

    def _all_judged(self, key: Key) -> None:
        if key in self._asked:
            self._asked.discard(key)
            self._context.wake(key)
        if not self.judging.waits_in(key.namespace):
            for held in self._held.pop(key.namespace, ()):
                self._context.wake(held)

    def _forget(self, key: Key) -> None:
        self.judging.forget(key)
        self._count(key, None)
        self._context.book.remove_policy(key.namespace or None, key.name)
        self._all_judged(key)

    def _count(self, key: Key, reviewed: PolicyReview | None) -> None:
        before = self._reviews.pop(key, None)
        for each, change in ((before, -1), (reviewed, 1)):
            if each is not None:
                ready = str(each.check.valid)
                self._context.metrics.policies.labels(kind=key.kind.kind, ready=ready).inc(change)
        if reviewed is not None:
            self._reviews[key] = reviewed

    def idle(self) -> Iterator[Idle]:
        """The policies that are not as their authors believe: no permit of them counts."""
        for key, reviewed in sorted(self._reviews.items(), key=lambda item: (item[0].namespace, item[0].name)):
            if (reviewed.in_force is None or reviewed.missed) and not reviewed.deleting:
                yield Idle(key.kind.kind, key.namespace, key.name)

    async def reconcile(self, key: Key) -> Result:
        """Write the policy's status."""
        stored = self._context.cache(key).get(key.namespace, key.name)
        if stored is None:
            return NOTHING
        try:
            policy = stored.parse(CurationPolicy)
        except Unreadable:
            return await self._in_use.let_go(key, stored)
        if self.judging.waits(key) or (reviewed := self._reviews.get(key)) is None:
            self._asked.add(key)
            return NOTHING
        self._report(key, policy, reviewed)
        if key in self._not_ours:
            return NOTHING
        check = reviewed.check

        async def write(counts: bool, reason: str, message: str) -> Result:
            status = PolicyStatus(
                observed_generation=policy.metadata.generation,
                policies=check.count if check.valid else None,
                in_force=reviewed.record(),
                conditions=ready_condition(
                    policy.status.conditions,
                    counts,
                    reason,
                    message,
                    policy.metadata.generation,
                    self._context.clock.now(),
                ),
            )
            return await self._write(key, stored, policy.status, status)

        of_use, show = reviewed.in_force is not None, partial(write, False, TERMINATING)
        kept = await self._in_use.advance(key, policy.metadata, of_use=of_use, show=show)
        return await write(check.valid, reviewed.reason, reviewed.message) if kept is None else kept

    async def _write(self, key: Key, stored: Stored, old: PolicyStatus, new: PolicyStatus) -> Result:
        unrecorded, left_out = False, stored.left_out(CurationPolicy)
        if new.in_force is None:
            # What another release has recorded, and this one cannot read, is not for it to drop.
            left_out = {name: value for name, value in left_out.items() if name != IN_FORCE}

        def accepts(refused: Refused) -> bool:
            nonlocal unrecorded
            if self._is_not_ours(key, refused):
                return True
            unrecorded = new.in_force != old.in_force and "status.inForce" in refused.message
            if unrecorded:
                log.error("%s: which revision is in force is not recorded: %s", key, refused.message)
            return unrecorded

        outcome = await write_own_status(self._context, key, stored, old, new, left_out, accepts)
        if unrecorded:
            # It holds while this process runs, and is to be seen all the same.
            without = new.model_copy(update={"in_force": old.in_force})
            outcome = await write_own_status(self._context, key, stored, old, without, left_out)
        return result_of(outcome)

    def _is_not_ours(self, key: Key, refused: Refused) -> bool:
        """Whether this operator is limited to namespaces and may not write cluster policies."""
        if key.kind is not CLUSTER_POLICIES or refused.code != FORBIDDEN or not self._context.settings.namespaces:
            return False
        self._not_ours.add(key)
        log.warning(
            "%s counts here, and its status is left to others, since it may not be written (%s): which revision of it "
            "was the last valid one is known from what they record, and else only while this process runs",
            key,
            refused.message,
        )
        return True

    def _report(self, key: Key, policy: CurationPolicy, reviewed: PolicyReview) -> None:
        """Make an Event and a log line of a revision that is not in force, once."""
        if reviewed.check.valid or reviewed.deleting:
            self._reported.pop(key, None)
            return
        reported = (reviewed.uid, reviewed.generation, reviewed.reason)
        if self._reported.get(key) == reported:
            return
        self._reported[key] = reported
        said = next((c for c in policy.status.conditions if c.type == "Ready"), None)
        if said is not None and (said.observed_generation, said.reason) == reported[1:] and said.status == "False":
            return  # by the process before this one, or another operator
        log.warning("%s: %s: %s", key, reviewed.reason, reviewed.message)
        self._context.events.record(
            _regarding(key, policy),
            POLICY_INVALID,
            f"{reviewed.reason}: {reviewed.message}",
            action=POLICY_INVALID,
            type="Warning",
        )


def _regarding(key: Key, policy: CurationPolicy) -> Document:
    meta = policy.metadata
    metadata = {"name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version}
    if meta.namespace:
        metadata["namespace"] = meta.namespace
    return {"apiVersion": key.kind.api_version, "kind": key.kind.kind, "metadata": metadata}
