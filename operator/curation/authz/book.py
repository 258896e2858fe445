"""The policy book: what is in force, as the Cedar sets that decisions are made with.

A namespace's policies, the cluster's and its grants form one Cedar set, parsed when it is first asked for after a
change and kept until the next.
"""

from datetime import datetime
from typing import Final

from cachetools import LRUCache

from curation.api.names import Trigger
from curation.authz.check_result import PolicyCheck
from curation.authz.effective import EffectiveSet, build
from curation.authz.grant import Grant
from curation.authz.grant_text import grant_text
from curation.authz.policy_check import check_policy
from curation.authz.register import CLUSTER, PolicyRegister
from curation.authz.source import origin_of

MAX_CACHED: Final = 512
"""Parsed sets that are kept, two a namespace at most; one more costs a parse (25 us a policy), no error."""


class PolicyBook(PolicyRegister):
    """A register that can be decided by, for the gate. For one thread."""

    def __init__(self) -> None:
        super().__init__()
        self._cache: LRUCache[tuple[str, bool], EffectiveSet] = LRUCache(MAX_CACHED)
        self._texts: dict[tuple[str, str], str] = {}
        """Of the grants."""

    def put_policy(
        self,
        namespace: str | None,
        name: str,
        text: str,
        *,
        check: PolicyCheck | None = None,
        cancel_only: bool = False,
        forbids_only: bool = False,
    ) -> PolicyCheck:
        """See `put_checked`; the text is checked if ``check`` does not say what it is."""
        if check is None:
            known = self.policy(namespace, name)
            check = known.check if known is not None and known.given == text else check_policy(text)
        self.put_checked(namespace, name, text, check, cancel_only=cancel_only, forbids_only=forbids_only)
        return check

    def put_grant(self, grant: Grant) -> None:
        """See `PolicyRegister.put_grant`. Raises ValueError if Cedar cannot express it; then nothing has changed."""
        self._texts[grant.namespace, grant.key] = grant_text(grant)
        super().put_grant(grant)

    def remove_grant(self, namespace: str, key: str) -> None:
        """See `PolicyRegister.remove_grant`."""
        self._texts.pop((namespace, key), None)
        super().remove_grant(namespace, key)

    def effective(self, namespace: str, trigger: Trigger, now: datetime) -> EffectiveSet:
        """What is in force in a namespace for a trigger at a time; parsed only if something changed or expired."""
        key = (namespace, trigger is Trigger.CANCEL)
        revision = self.revision(namespace)
        found = self._cache.get(key)
        if found is None or found.revision != revision or not found.covers(now):
            found = self._cache[key] = self._build(namespace, trigger, now, revision)
        return found

    def _build(self, namespace: str, trigger: Trigger, now: datetime, revision: int) -> EffectiveSet:
        scopes = (self.in_force(namespace), self.in_force(CLUSTER))
        sources = [s for scope in scopes for _, s in sorted(scope.policies.items()) if s.counts(trigger)]
        grants = [
            (grant, self._texts[namespace, key])
            for key, grant in sorted(scopes[0].grants.items())
            if grant.counts(trigger)
        ]
        flaws = [
            f"{origin_of(place, name)} {flaw}"
            for place, scope in zip((namespace, CLUSTER), scopes, strict=True)
            for name, flaw in sorted(scope.flaws.items())
        ]
        return build(sources, grants, now, revision, flaws)
