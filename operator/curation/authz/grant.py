"""An approval as the Cedar policy that it is the grant of, in Cedar's JSON policy form: see `grant_text`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from curation.api.approval import CurationApproval, EvaluatedRequest, Scope
from curation.api.cancel import CancelRequest
from curation.api.names import Trigger
from curation.authz.cancel_grant import condition, in_words
from curation.authz.cedar_schema import ACTION, AGENT, ENDPOINT, HTTP_CALL_ACTION

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grant:
    """An approved request: in force in its namespace, for its module's build, until ``expires_at`` (None: no end).

    Scope Request grants the whole tuple; Path any query of it; Host any trigger, method, path and query on its scheme,
    host and port. Each also covers the Cancel requests that the module declares (``cancel``; None: it declares none,
    and then all) to that origin, so that what was allowed to start can be stopped.
    """

    namespace: str
    name: str
    request: EvaluatedRequest
    scope: Scope
    expires_at: datetime | None = None
    cancel: tuple[CancelRequest, ...] | None = None
    cancel_only: bool = False
    """It has ended, and goes on counting for Cancel requests, for a while."""

    @classmethod
    def of(cls, approval: CurationApproval) -> Self:
        """What approving it puts in force, whether or not it is approved."""
        spec, meta = approval.spec, approval.metadata
        return cls(meta.namespace, meta.name, spec.request, spec.scope, spec.expires_at, spec.cancel)

    @property
    def under_cancel(self) -> str:
        """What it covers under Cancel, in words."""
        return in_words(self.request, self.scope, self.cancel)

    @property
    def key(self) -> str:
        """What tells it from the others of its namespace: one that has ended and its successor have one name."""
        return ended_key(self.name) if self.cancel_only else self.name

    @property
    def origin(self) -> str:
        """How decisions name it."""
        return f"CurationApproval/{self.namespace}/{self.name}"

    def expired(self, now: datetime) -> bool:
        """Whether the grant has ended at ``now``."""
        return self.expires_at is not None and now >= self.expires_at

    def counts(self, trigger: Trigger) -> bool:
        """Whether it counts for a trigger: one that has ended counts for Cancel alone."""
        return not self.cancel_only or trigger is Trigger.CANCEL

    def to_cedar_json(self) -> Json:
        """The policy in Cedar's JSON policy form."""
        request = self.request
        bound = [
            _equals("principal", "namespace", self.namespace),
            _equals("principal", "digest", request.module_digest),
            _equals("resource", "scheme", request.scheme),
            _equals("resource", "port", request.port),
        ]
        if self.scope is not Scope.HOST:
            exact = [
                _equals("context", "trigger", request.trigger.value),
                _equals("context", "method", request.method),
                _equals("context", "path", request.path),
            ]
            if self.scope is Scope.REQUEST:
                exact.append(_equals("context", "query", request.query))
            cancel = condition(self.cancel)
            bound.append(_all(exact) if cancel is None else {"||": {"left": _all(exact), "right": cancel}})
        return {
            "effect": "permit",
            "annotations": {"id": self.origin, "under_cancel": self.under_cancel},
            "principal": {"op": "==", "entity": {"type": AGENT, "id": request.module}},
            "action": {"op": "==", "entity": {"type": ACTION, "id": HTTP_CALL_ACTION}},
            "resource": {"op": "==", "entity": {"type": ENDPOINT, "id": request.host}},
            "conditions": [{"kind": "when", "body": term} for term in bound],
        }


def ended_key(name: str) -> str:
    """The key of a grant of this name that has ended."""
    return f"{name} (ended)"


def _equals(variable: str, attribute: str, value: str | int) -> Json:
    return {"==": {"left": {".": {"left": {"Var": variable}, "attr": attribute}}, "right": {"Value": value}}}


def _all(terms: list[Json]) -> Json:
    body = terms[0]
    for term in terms[1:]:
        body = {"&&": {"left": body, "right": term}}
    return body


def grant_to_wire(grant: Grant) -> Json:
    """For another process."""
    return {
        "name": grant.name,
        "request": grant.request.to_wire(),
        "scope": grant.scope.value,
        "expiresAt": None if grant.expires_at is None else grant.expires_at.isoformat(),
        "cancel": None if grant.cancel is None else [each.to_wire() for each in grant.cancel],
        "cancelOnly": grant.cancel_only,
    }


def grant_of_wire(namespace: str, read: Json) -> Grant:
    """See `grant_to_wire`. Raises KeyError, TypeError or ValueError for what is none."""
    expires, cancel = read["expiresAt"], read["cancel"]
    return Grant(
        namespace,
        str(read["name"]),
        EvaluatedRequest.model_validate(read["request"]),
        Scope(read["scope"]),
        None if expires is None else datetime.fromisoformat(expires),
        None if cancel is None else tuple(CancelRequest.model_validate(each) for each in cancel),
        bool(read["cancelOnly"]),
    )
