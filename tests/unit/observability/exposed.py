"""The series that the operator exposes, and those of its files that read them."""

import json
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.metrics import MetricWrapperBase

from curation.api.names import Phase, Trigger
from curation.lifecycle import outcome
from curation.reconciler.runtime.metrics import IdlePolicies, Metrics, WatchAge, WorkersMemory
from curation.workers.account import MemoryAccount

COMPONENTS = Path(__file__).parents[3] / "manifests" / "components"
SCENARIOS = Path(__file__).parent / "rules_test.yaml"
"""What fires in each situation, and what does not: a test file of promtool."""
TARGET_LABELS = frozenset({"namespace", "pod", "instance", "job", "service", "endpoint", "container"})
"""What a ServiceMonitor adds to every series."""
VALUES: dict[str, set[str]] = {
    "phase": set(Phase),
    "verdict": {"applied", "stale", "duplicate", "gone"},
    "trigger": set(Trigger),
    "ready": {"True", "False", "Unknown"},
    "outcome": {kind.__name__ for kind in outcome.Result.__args__},
}
"""The values of labels that a query may name."""


def series() -> dict[str, set[str]]:
    """The labels of each series by its name, `_bucket` and the like included."""
    metrics = Metrics()
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase) and metric._labelnames:
            metric.labels(*("x" for _ in metric._labelnames))
    metrics.registry.register(WatchAge(lambda: {"curationjobs": 1.0}))
    metrics.registry.register(IdlePolicies(lambda: [("CurationPolicy", "ns", "p")]))
    metrics.registry.register(WorkersMemory(MemoryAccount(1)))
    found: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return {name: labels for name, labels in found.items() if not name.endswith("_created")}


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((COMPONENTS / "grafana" / "curation.json").read_text("utf-8"))
    return loaded


def rules() -> list[dict[str, Any]]:
    groups = rule_file()["groups"]
    return [rule for group in groups for rule in group["rules"]]


def rule_file() -> dict[str, Any]:
    """The rules as Prometheus reads them."""
    found = yaml.safe_load((COMPONENTS / "prometheus" / "prometheus-rule.yaml").read_text("utf-8"))
    assert found["kind"] == "PrometheusRule"
    spec: dict[str, Any] = found["spec"]
    return spec
