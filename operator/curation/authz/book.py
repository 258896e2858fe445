"""What is in force: the policies of each namespace, those of the cluster, and the grants of approvals.

The policy and approval reconcilers write it, and the gate reads it, in one thread. A namespace's policies, the
cluster's and its grants form one Cedar set, parsed when it is first asked for after a change and kept until the next.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cachetools import LRUCache

from curation.api.names import Trigger
from curation.authz.check_result import PolicyCheck
from curation.authz.effective import EffectiveSet, Source, build, origin_of
from curation.authz.grant import Grant
from curation.authz.policy_check import check_policy

MAX_CACHED: Final = 512
"""Parsed sets that are kept, two a namespace at most; one more costs a parse (25 us a policy), no error."""

PolicyListener = Callable[[str | None], None]
_CLUSTER: Final = None


@dataclass(slots=True)
class _Scope:
    """What one namespace, or the cluster, has put in force. ``revision`` rises with every change."""

    policies: dict[str, Source] = field(default_factory=dict)
    flaws: dict[str, str] = field(default_factory=dict)
    grants: dict[str, tuple[Grant, str]] = field(default_factory=dict)
    revision: int = 0


@dataclass(frozen=True, slots=True)
class InForce:
    """What one namespace, or the cluster, has put in force, by the names of its objects."""

    policies: dict[str, Source] = field(default_factory=dict)
    flaws: dict[str, str] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)


class PolicyBook:
    """Policies and grants in force. Every method is synchronous; for one thread.

    An invalid text is never in force, and puts nothing out of force: the `PolicyReview` of its object decides that.
    """

    def __init__(self) -> None:
        self._scopes: dict[str | None, _Scope] = {}
        self._listeners: list[PolicyListener] = []
        self._cache: LRUCache[tuple[str, bool], EffectiveSet] = LRUCache(MAX_CACHED)
        self._counter = 0
        self._dropped = 0
        """The revision of all namespaces that have nothing of their own: that of the last one that was dropped."""

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
        """Put a policy in force, or replace it; namespace None is the cluster. An invalid text changes nothing.

        ``check`` is what `check_policy` said of this text, if that is known. ``cancel_only`` is for a policy that is
        being deleted: it goes on counting for Cancel requests. With ``forbids_only`` its permits do not count.
        """
        known = self._scope(namespace).policies.get(name)
        if known is not None and (known.given, known.cancel_only, known.forbids_only) == (
            text,
            cancel_only,
            forbids_only,
        ):
            return known.check
        if check is None:
            check = known.check if known is not None and known.given == text else check_policy(text)
        if not check.valid:
            return check
        source = Source.of_policy(namespace, name, text, check, cancel_only=cancel_only, forbids_only=forbids_only)
        self._changed(namespace).policies[name] = source
        self._notify(namespace)
        return check

    def note_flaw(self, namespace: str | None, name: str, flaw: str) -> None:
        """Note that an object does not count as it is written: a denial for want of a permit names it. Empty: it does.

        ``flaw`` continues a sentence whose subject is the object, as in "is invalid".
        """
        if self._scope(namespace).flaws.get(name, "") == flaw:
            return
        flaws = self._changed(namespace).flaws
        if flaw:
            flaws[name] = flaw
        else:
            del flaws[name]
            self._drop_if_empty(namespace)

    def remove_policy(self, namespace: str | None, name: str) -> None:
        """Take a policy out of force. One that is not there is no error."""
        self.note_flaw(namespace, name, "")
        if self._scope(namespace).policies.pop(name, None) is None:
            return
        self._changed(namespace)
        self._drop_if_empty(namespace)
        self._notify(namespace)

    def put_grant(self, grant: Grant) -> None:
        """Put an approved approval in force in its namespace. Raises ValueError if Cedar cannot express it."""
        text = grant.to_cedar_text()
        if self._scope(grant.namespace).grants.get(grant.name) == (grant, text):
            return
        self._changed(grant.namespace).grants[grant.name] = (grant, text)
        self._notify(grant.namespace)

    def remove_grant(self, namespace: str, name: str) -> None:
        """Take a grant out of force: the next call of a run in flight no longer has it."""
        if self._scope(namespace).grants.pop(name, None) is None:
            return
        self._changed(namespace)
        self._drop_if_empty(namespace)
        self._notify(namespace)

    def revision(self, namespace: str) -> int:
        """Rises whenever what is in force in the namespace may have changed, but not when a grant expires."""
        known = self._scopes.get(namespace)
        return max(self._dropped if known is None else known.revision, self._scope(_CLUSTER).revision)

    def in_force(self, namespace: str | None) -> InForce:
        """A copy of what is in force, for a book in another process."""
        scope = self._scope(namespace)
        grants = {name: grant for name, (grant, _) in scope.grants.items()}
        return InForce(dict(scope.policies), dict(scope.flaws), grants)

    def subscribe(self, listener: PolicyListener) -> None:
        """Call ``listener(namespace)`` after every change, None for every namespace, before the change returns."""
        self._listeners.append(listener)

    def effective(self, namespace: str, trigger: Trigger, now: datetime) -> EffectiveSet:
        """What is in force in a namespace for a trigger at a time; parsed only if something changed or expired."""
        key = (namespace, trigger is Trigger.CANCEL)
        revision = self.revision(namespace)
        found = self._cache.get(key)
        if found is None or found.revision != revision or not found.covers(now):
            found = self._cache[key] = self._build(namespace, trigger, now, revision)
        return found

    def _build(self, namespace: str, trigger: Trigger, now: datetime, revision: int) -> EffectiveSet:
        scopes = (self._scope(namespace), self._scope(_CLUSTER))
        sources = [s for scope in scopes for _, s in sorted(scope.policies.items()) if s.counts(trigger)]
        grants = [grant for _, grant in sorted(scopes[0].grants.items())]
        flaws = [
            f"{origin_of(place, name)} {flaw}"
            for place, scope in zip((namespace, _CLUSTER), scopes, strict=True)
            for name, flaw in sorted(scope.flaws.items())
        ]
        return build(sources, grants, now, revision, flaws)

    def _scope(self, namespace: str | None) -> _Scope:
        found = self._scopes.get(namespace)
        # Not kept when merely asked about: a namespace without policies costs nothing.
        return _Scope() if found is None else found

    def _changed(self, namespace: str | None) -> _Scope:
        self._counter += 1
        scope = self._scopes.setdefault(namespace, _Scope())
        scope.revision = self._counter
        return scope

    def _drop_if_empty(self, namespace: str | None) -> None:
        # Namespaces come and go. That of the cluster stays, since its revision is part of every other's.
        scope = self._scope(namespace)
        if namespace is not _CLUSTER and not (scope.policies or scope.grants or scope.flaws):
            # Trap: the revision of a namespace without a scope must not fall to what it was before it had one.
            self._dropped = max(self._dropped, scope.revision)
            self._scopes.pop(namespace, None)

    def _notify(self, namespace: str | None) -> None:
        for listener in self._listeners:
            listener(namespace)
