"""One policy object that counts, and how decisions name its policies. By itself, so that it needs no Cedar."""

from dataclasses import dataclass
from typing import Self

from curation.api.names import Trigger
from curation.authz.check_result import PolicyCheck
from curation.authz.scan import name_of, scan


@dataclass(frozen=True, slots=True)
class Source:
    """One CurationPolicy or ClusterCurationPolicy: its text, whether it is valid, and the names of its policies."""

    given: str
    """The whole text, which is valid."""
    text: str
    """What counts of it."""
    check: PolicyCheck
    cancel_only: bool
    forbids_only: bool
    origins: tuple[str, ...]

    @classmethod
    def of_policy(
        cls,
        namespace: str | None,
        name: str,
        given: str,
        check: PolicyCheck,
        *,
        cancel_only: bool,
        forbids_only: bool,
    ) -> Self:
        """Name each policy ``<kind>/<namespace>/<name>#<@id or index>``, an @id that is used twice by its index."""
        origin = origin_of(namespace, name)
        statements = scan(given)
        ids = [statement.id for statement in statements]
        names: list[str] = []
        texts: list[str] = []
        for index, statement in enumerate(statements):
            if forbids_only and not statement.forbids:
                continue
            repeated = ids.count(statement.id) > 1 if statement.id is not None else False
            names.append(f"{origin}#{index if repeated else name_of(statement, index)}")
            texts.append(given[statement.start : statement.end])
        text = "\n".join(texts) if forbids_only else given
        return cls(given, text, check, cancel_only, forbids_only, tuple(names))

    def is_of(self, given: str, cancel_only: bool, forbids_only: bool) -> bool:
        """Whether it is this very text, put in force in this very way."""
        return (self.given, self.cancel_only, self.forbids_only) == (given, cancel_only, forbids_only)

    def counts(self, trigger: Trigger) -> bool:
        """Whether it counts for a trigger: one that is being deleted counts for Cancel alone."""
        return not self.cancel_only or trigger is Trigger.CANCEL


def origin_of(namespace: str | None, name: str) -> str:
    """How decisions name a policy object; namespace None is the cluster."""
    return f"ClusterCurationPolicy/{name}" if namespace is None else f"CurationPolicy/{namespace}/{name}"
