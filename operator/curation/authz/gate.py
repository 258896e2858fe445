"""The gate: may this module make this call? Asked before every outbound request; what it cannot decide is denied."""

from collections.abc import Callable, Hashable
from datetime import datetime
from typing import Any, Final

import cedarpy
from cachetools import LRUCache

from curation.api.approval import EvaluatedRequest
from curation.api.names import Trigger
from curation.authz.book import PolicyBook
from curation.authz.cedar_schema import ACTION, AGENT, ENDPOINT, HTTP_CALL_ACTION, LABELS
from curation.authz.decision import CallContext, Decision, call_shown, request_url
from curation.authz.effective import EffectiveSet
from curation.authz.parsed_schema import schema

MAX_FLAWS_SHOWN: Final = 3
"""Policies that do not count as they are written, in the reason of a denial."""
MAX_KEPT_CHARS: Final = 2048
"""Characters of path, query and labels of one; what is longer is decided each time."""


class Gate:
    """Decides by what is in force in the book. Synchronous, in one thread; under 0.5 ms at 100 policies.

    Whoever observes a session asks the same again and again. So what a set has allowed may be remembered for as long
    as that very set is in force: Cedar knows nothing beside the set and the request.
    """

    def __init__(self, book: PolicyBook, clock: Callable[[], datetime], *, keeps: int = 0) -> None:
        """`keeps`: how many allowing decisions of a namespace are remembered, those that were asked for last."""
        self._book = book
        self._clock = clock
        self._keeps = keeps
        self._kept: dict[tuple[str, bool], tuple[EffectiveSet, LRUCache[Hashable, Decision]]] = {}

    def authorize(self, namespace: str, request: EvaluatedRequest, context: CallContext) -> Decision:
        """Decide one request: allowed only if Cedar says Allow and no policy failed to evaluate. Never raises."""
        try:
            now = self._clock() if context.now is None else context.now
            effective = self._book.effective(namespace, request.trigger, now)
            key = _key(request, context) if self._keeps else None
            if key is None:
                return self._decide(effective, namespace, request, context)
            kept = self._allowed_by(effective, namespace, request.trigger)
            decision = kept.get(key)
            if decision is None:
                decision = self._decide(effective, namespace, request, context)
                if decision.allowed:
                    kept[key] = decision
            return decision
        except Exception as exc:  # a gate that fails must deny, whatever failed
            error = f"the policies could not be evaluated: {type(exc).__name__}: {exc}"
            return Decision(False, f"denied: {error}", errors=(error,))

    def _allowed_by(self, effective: EffectiveSet, namespace: str, trigger: Trigger) -> LRUCache[Hashable, Decision]:
        place = (namespace, trigger is Trigger.CANCEL)
        by, kept = self._kept.get(place, (None, None))
        if kept is None or by is not effective:  # what another set has allowed goes with that set
            kept = LRUCache(self._keeps)
            self._kept[place] = effective, kept
        return kept

    def _decide(
        self, effective: EffectiveSet, namespace: str, request: EvaluatedRequest, context: CallContext
    ) -> Decision:
        result = cedarpy.is_authorized(
            _request(namespace, request, context),
            effective.policies,
            _entities(namespace, request, context),
            schema(),
        )
        return _decision(effective, result, request)

    def is_still_valid(self, namespace: str, request: EvaluatedRequest, decision: Decision) -> bool:
        """Whether that decision about the request would be made again now: by the same set, no grant having ended."""
        return decision.by is not None and decision.by is self._book.effective(
            namespace, request.trigger, self._clock()
        )


def _key(request: EvaluatedRequest, context: CallContext) -> Hashable | None:
    """All that a decision depends on beside namespace and policies; None of what is too long to be kept."""
    size = len(request.path) + len(request.query)
    size += sum(len(name) + len(value) for name, value in context.labels.items())
    if size > MAX_KEPT_CHARS:
        return None
    labels = frozenset(context.labels.items())
    return request, context.job, labels, context.generation, context.attempt


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
