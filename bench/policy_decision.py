"""What one policy decision costs at 100 policies: the gate, and Cedar with parsed handles against Cedar with text.

Run: ``python -m bench.policy_decision``. It prints microseconds a decision and the ratio of text to handles.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median

import cedarpy

from curation.api.approval import EvaluatedRequest
from curation.api.names import Trigger
from curation.authz.book import PolicyBook
from curation.authz.cedar_schema import SCHEMA_TEXT
from curation.authz.decision import CallContext
from curation.authz.gate import Gate

POLICIES = 100
REQUEST = EvaluatedRequest(
    module="m",
    module_digest="sha256:0",
    trigger=Trigger.SUBMIT,
    method="GET",
    scheme="https",
    host="h7.example",
    port=443,
    path="/v1/sessions",
)


def policy_text(count: int = POLICIES) -> str:
    """Policies as people write them: a module, a host, a method and a path each."""
    return "\n".join(
        f'@id("p{n}") permit (principal == Agent::"m", action, resource == HttpEndpoint::"h{n}.example")'
        ' when { context.method == "GET" && resource.path like "/v1/*" && context.labels.hasTag("team") };'
        for n in range(count)
    )


def microseconds(decide: Callable[[], object], rounds: int = 7, calls: int = 100) -> float:
    """Median over the rounds of the mean of the calls."""
    means = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            decide()
        means.append((time.perf_counter() - start) / calls * 1e6)
    return median(means)


def main() -> None:
    """Measure and print."""
    text = policy_text()
    book = PolicyBook()
    book.put_policy("ns", "p", text)
    now = datetime(2025, 1, 1, tzinfo=UTC)
    gate = Gate(book, lambda: now)
    context = CallContext("j", {"team": "a"})
    if not gate.authorize("ns", REQUEST, context).allowed:
        raise SystemExit("the benchmark's policies should allow its request")

    request = {
        "principal": {"type": "Agent", "id": "m"},
        "action": {"type": "Action", "id": "http_call"},
        "resource": {"type": "HttpEndpoint", "id": "h7.example"},
    }
    entities: list[dict[str, object]] = []
    parsed, no_entities = cedarpy.PolicySet.from_str(text), cedarpy.Entities.from_json_str("[]")
    through_gate = microseconds(lambda: gate.authorize("ns", REQUEST, context))
    handles = microseconds(lambda: cedarpy.is_authorized(request, parsed, no_entities))
    plain = microseconds(lambda: cedarpy.is_authorized(request, text, entities, SCHEMA_TEXT), calls=20)
    print(f"gate, {POLICIES} policies, schema-checked request: {through_gate:8.0f} us")
    print(f"cedarpy with handles, bare request:              {handles:8.0f} us")
    print(f"cedarpy with text, bare request:                 {plain:8.0f} us")
    print(f"text / handles: {plain / handles:.1f}   text / gate: {plain / through_gate:.1f}")


if __name__ == "__main__":
    main()
