"""CurationPolicies: put each in force the moment it is seen, and say in its status whether it is valid."""

from contextlib import suppress

from curation.api.policy import CurationPolicy, PolicyStatus
from curation.api.reading import Unreadable
from curation.authz.policy import PolicyCheck
from curation.cluster.cache import Stored
from curation.reconciler.context import Context, Key
from curation.reconciler.in_use import InUse
from curation.reconciler.writes import ready_condition, write_own_status


class PolicyReconciler:
    """Keeps the policy book in step with the policies of both kinds."""

    def __init__(self, context: Context, in_use: InUse) -> None:
        self._context = context
        self._in_use = in_use

    def seen(self, old: Stored | None, new: Stored | None) -> None:
        """Listener of the policy caches: a policy counts, or stops counting, at once, before any status is written."""
        if new is not None:
            # One that cannot be read any more goes on counting as it was read last: it may forbid.
            with suppress(Unreadable):
                self._put(new)
        elif old is not None:
            self._context.book.remove_policy(old.namespace or None, old.name)

    def _put(self, stored: Stored) -> PolicyCheck:
        policy = stored.parse(CurationPolicy)
        return self._context.book.put_policy(
            stored.namespace or None,
            stored.name,
            policy.spec.cedar,
            cancel_only=policy.metadata.deletion_timestamp is not None,
        )

    async def reconcile(self, key: Key) -> None:
        """Write the policy's status."""
        stored = self._context.cache(key).get(key.namespace, key.name)
        if stored is None:
            return
        try:
            policy = stored.parse(CurationPolicy)
        except Unreadable:
            await self._in_use.let_go(key, stored)
            return
        check = self._put(stored)
        if await self._in_use.advance(key, policy.metadata, of_use=check.valid):
            return
        status = PolicyStatus(
            observed_generation=policy.metadata.generation,
            policies=check.count if check.valid else None,
            conditions=ready_condition(
                policy.status.conditions,
                check.valid,
                check.reason,
                check.message or f"{check.count} policies are in force.",
                policy.metadata.generation,
                self._context.clock.now(),
            ),
        )
        await write_own_status(self._context, key, stored, policy.status, status, stored.left_out(CurationPolicy))
