"""The gate: may this module make this call? Asked before every outbound request; what it cannot decide is denied."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import cedarpy

from curation.api.approval import EvaluatedRequest
from curation.authz.book import PolicyBook
from curation.authz.cedar_schema import ACTION, AGENT, ENDPOINT, HTTP_CALL_ACTION, LABELS
from curation.authz.decision import CallContext, Decision, call_shown, request_url
from curation.authz.effective import EffectiveSet
from curation.authz.parsed_schema import schema

MAX_FLAWS_SHOWN: Final = 3
"""Policies that do not count as they are written, in the reason of a denial."""


class Gate:
    """Decides by what is in force in the book. Synchronous, in one thread; under 0.5 ms at 100 policies."""

    def __init__(self, book: PolicyBook, clock: Callable[[], datetime]) -> None:
        self._book = book
        self._clock = clock

    def authorize(self, namespace: str, request: EvaluatedRequest, context: CallContext) -> Decision:
        """Decide one request: allowed only if Cedar says Allow and no policy failed to evaluate. Never raises."""
        try:
            now = self._clock() if context.now is None else context.now
            effective = self._book.effective(namespace, request.trigger, now)
            result = cedarpy.is_authorized(
                _request(namespace, request, context),
                effective.policies,
                _entities(namespace, request, context),
                schema(),
            )
            return _decision(effective, result, request)
        except Exception as exc:  # a gate that fails must deny, whatever failed
            error = f"the policies could not be evaluated: {type(exc).__name__}: {exc}"
            return Decision(False, f"denied: {error}", errors=(error,))

    def is_still_valid(self, namespace: str, request: EvaluatedRequest, decision: Decision) -> bool:
        """Whether that decision about the request would be made again now: by the same set, no grant having ended."""
        return decision.by is not None and decision.by is self._book.effective(
            namespace, request.trigger, self._clock()
        )


def _decision(effective: EffectiveSet, result: cedarpy.AuthzResult, request: EvaluatedRequest) -> Decision:
    # Cedar's lists have no fixed order.
    policies = tuple(sorted(effective.origin_of(policy_id) for policy_id in result.diagnostics.reasons))
    errors = tuple(sorted(effective.named(error) for error in result.diagnostics.errors))
    call = call_shown(request)
    if errors:
        # Cedar skips a policy that fails to evaluate, a forbid too: an Allow beside an error proves nothing.
        return Decision(False, f"denied: {call}: {'; '.join(errors)}", policies, errors)
    if result.decision is cedarpy.Decision.Allow:
        return Decision(True, f"{call} is permitted by {', '.join(policies)}", policies, by=effective)
    if policies:
        return Decision(False, f"{call} is forbidden by {', '.join(policies)}", policies)
    return Decision(False, "; ".join((f"no policy permits {call}", *_shown(effective.flaws))))


def _shown(flaws: tuple[str, ...]) -> tuple[str, ...]:
    more = len(flaws) - MAX_FLAWS_SHOWN
    return (*flaws[:MAX_FLAWS_SHOWN], f"and so are {more} more") if more > 0 else flaws


def _uid(kind: str, name: str) -> dict[str, str]:
    # The structured form: no Cedar text is made from names.
    return {"type": kind, "id": name}


def _request(namespace: str, request: EvaluatedRequest, context: CallContext) -> dict[str, Any]:
    return {
        "principal": _uid(AGENT, request.module),
        "action": _uid(ACTION, HTTP_CALL_ACTION),
        "resource": _uid(ENDPOINT, request.host),
        "context": {
            "namespace": namespace,
            "job": context.job,
            "module": request.module,
            "method": request.method,
            "url": request_url(request),
            "path": request.path,
            "query": request.query,
            "trigger": request.trigger.value,
            "generation": context.generation,
            "attempt": context.attempt,
            "labels": {"__entity": _uid(LABELS, context.job)},
        },
    }


def _entities(namespace: str, request: EvaluatedRequest, context: CallContext) -> list[dict[str, Any]]:
    endpoint = {"scheme": request.scheme, "host": request.host, "port": request.port, "path": request.path}
    agent = {"namespace": namespace, "digest": request.module_digest}
    return [
        {"uid": _uid(AGENT, request.module), "attrs": agent, "parents": []},
        {"uid": _uid(ENDPOINT, request.host), "attrs": endpoint, "parents": []},
        {"uid": _uid(LABELS, context.job), "attrs": {}, "parents": [], "tags": dict(context.labels)},
    ]
