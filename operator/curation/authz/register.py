"""What is in force: the policies of each namespace, those of the cluster, and the grants of approvals.

By itself, so that the operator, which decides no call, need not load Cedar. `book.PolicyBook` decides by it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from curation.authz.check_result import PolicyCheck
from curation.authz.grant import Grant
from curation.authz.source import Source

PolicyListener = Callable[[str | None], None]
CLUSTER: Final = None


@dataclass(frozen=True, slots=True)
class InForce:
    """What one namespace, or the cluster, has put in force, by the names of its objects."""

    policies: dict[str, Source] = field(default_factory=dict)
    flaws: dict[str, str] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    """By `Grant.key`."""


@dataclass(slots=True)
class _Scope:
    """What one namespace, or the cluster, has put in force. ``revision`` rises with every change."""

    policies: dict[str, Source] = field(default_factory=dict)
    flaws: dict[str, str] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    revision: int = 0


class PolicyRegister:
    """Policies and grants in force. Every method is synchronous; for one thread.

    An invalid text is never in force, and puts nothing out of force: the `PolicyReview` of its object decides that.
    """

    def __init__(self) -> None:
        self._scopes: dict[str | None, _Scope] = {}
        self._listeners: list[PolicyListener] = []
        self._counter = 0
        self._dropped = 0
        """The revision of all namespaces that have nothing of their own: that of the last one that was dropped."""

    def put_checked(
        self,
        namespace: str | None,
        name: str,
        text: str,
        check: PolicyCheck,
        *,
        cancel_only: bool = False,
        forbids_only: bool = False,
    ) -> None:
        """Put a policy in force, or replace it; namespace None is the cluster. An invalid text changes nothing.

        ``check`` is what is known of this text. ``cancel_only`` is for a policy that is being deleted: it goes on
        counting for Cancel requests. With ``forbids_only`` its permits do not count.
        """
        known = self.policy(namespace, name)
        if not check.valid or (known is not None and known.is_of(text, cancel_only, forbids_only)):
            return
        source = Source.of_policy(namespace, name, text, check, cancel_only=cancel_only, forbids_only=forbids_only)
        self._changed(namespace).policies[name] = source
        self._notify(namespace)

    def policy(self, namespace: str | None, name: str) -> Source | None:
        """What is in force of an object; namespace None is the cluster."""
        return self._scope(namespace).policies.get(name)

    def policies(self, namespace: str | None) -> Iterable[Source]:
        """All that is in force of a namespace's policies, or of the cluster's."""
        return self._scope(namespace).policies.values()

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
        """Put an approved approval in force in its namespace."""
        if self._scope(grant.namespace).grants.get(grant.key) == grant:
            return
        self._changed(grant.namespace).grants[grant.key] = grant
        self._notify(grant.namespace)

    def remove_grant(self, namespace: str, key: str) -> None:
        """Take a grant out of force, by its `Grant.key`: the next call of a run in flight no longer has it."""
        if self._scope(namespace).grants.pop(key, None) is None:
            return
        self._changed(namespace)
        self._drop_if_empty(namespace)
        self._notify(namespace)

    def revision(self, namespace: str) -> int:
        """Rises whenever what is in force in the namespace may have changed, but not when a grant expires."""
        known = self._scopes.get(namespace)
        return max(self._dropped if known is None else known.revision, self._scope(CLUSTER).revision)

    def in_force(self, namespace: str | None) -> InForce:
        """A copy of what is in force, for a book in another process."""
        scope = self._scope(namespace)
        return InForce(dict(scope.policies), dict(scope.flaws), dict(scope.grants))

    def subscribe(self, listener: PolicyListener) -> None:
        """Call ``listener(namespace)`` after every change, None for every namespace, before the change returns."""
        self._listeners.append(listener)

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
        if namespace is not CLUSTER and not (scope.policies or scope.grants or scope.flaws):
            # Trap: the revision of a namespace without a scope must not fall to what it was before it had one.
            self._dropped = max(self._dropped, scope.revision)
            self._scopes.pop(namespace, None)

    def _notify(self, namespace: str | None) -> None:
        for listener in self._listeners:
            listener(namespace)
