"""No label lets what others choose, objects or services, make series without bound."""

from typing import Any

from curation.execution.seam import CallEnd
from curation.reconciler.runtime.metrics import IdlePolicies, Metrics
from tests.unit.observability.exposed import series

OURS = {
    "version",
    "phase",
    "from",
    "to",
    "reason",
    "verdict",
    "trigger",
    "outcome",
    "source",
    "result",
    "decision",
    "scope",
    "type",
    "code",
    "kind",
    "ready",
    "resource",
    "verb",
    "webhook",
    "limit",
    "executor",
}


def test_no_label_holds_the_name_of_an_object() -> None:
    others = {name: labels for name, labels in series().items() if name != "curation_policy_not_in_force"}
    labels = set[str]().union(*others.values())
    assert labels - {"le"} == OURS


def test_the_one_metric_with_names_has_a_bounded_number_of_them() -> None:
    named = IdlePolicies(lambda: (("CurationPolicy", "ns", f"p{number}") for number in range(1000)))
    [family] = named.collect()
    assert len(family.samples) == 50
    assert family.samples[0].labels == {"kind": "CurationPolicy", "policy_namespace": "ns", "policy": "p0"}


def test_a_service_that_answers_any_status_makes_few_series() -> None:
    metrics = Metrics()
    invocation: Any = None  # on_call does not read it
    for status in range(100, 1000):
        metrics.on_call(invocation, CallEnd(1, "allowed", str(status), 0.1))
    metrics.on_call(invocation, CallEnd(2, "denied", "denied", 0.1))
    [family] = [each for each in metrics.registry.collect() if each.name == "curation_http_calls"]
    counted = {sample.labels["code"]: sample.value for sample in family.samples if sample.name.endswith("_total")}
    assert len(counted) < 80
    assert sum(counted.values()) == 901
    assert {code: counted[code] for code in ("200", "418", "503", "9xx", "denied")} == {
        **dict.fromkeys(("200", "418", "503", "denied"), 1),
        "9xx": 100,
    }
