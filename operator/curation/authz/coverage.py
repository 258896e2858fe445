"""What else a grant would cover: asked of Cedar itself, with the very policy that the grant stands for."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from curation.api.approval import ApprovalDecision, CurationApproval, EvaluatedRequest, Scope
from curation.authz.book import PolicyBook
from curation.authz.decision import CallContext
from curation.authz.gate import Gate
from curation.authz.grant import Grant

_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


def scope_in_words(request: EvaluatedRequest, scope: Scope) -> str:
    """What a scope grants, as the end of a sentence that begins with "It covers"."""
    origin = f"{request.scheme}://{request.host}:{request.port}"
    exact = f"{request.method} {request.path} on {origin} under {request.trigger}"
    match scope:
        case Scope.REQUEST:
            query = f"with the query {request.query}" if request.query else "without a query"
            return f"{exact}, {query}, with any body"
        case Scope.PATH:
            return f"{exact}, with any query and any body"
        case Scope.HOST:
            return f"every method, path and query on {origin}, under every trigger"


def would_answer(
    approval: CurationApproval, scope: Scope, others: Iterable[CurationApproval]
) -> tuple[CurationApproval, ...]:
    """Of the others that are Pending in the namespace, those whose request the grant would permit too."""
    book = PolicyBook()
    namespace = approval.metadata.namespace
    book.put_grant(replace(Grant.of(approval), scope=scope, expires_at=None))
    gate = Gate(book, lambda: _ANY_TIME)
    return tuple(
        other
        for other in others
        if other.metadata.name != approval.metadata.name
        and other.metadata.namespace == namespace
        and other.spec.decision is ApprovalDecision.PENDING
        and gate.authorize(namespace, other.spec.request, CallContext("any")).allowed
    )
