"""Writes `docs/metrics.md` from the metrics that the operator registers. ``--check`` writes nothing and shows a diff.

Run as ``python -m hack.metrics_reference [--check]``.
"""

import argparse
import difflib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from prometheus_client import Histogram
from prometheus_client.metrics import MetricWrapperBase

from curation.admission.reviews import KINDS as REVIEWED_KINDS
from curation.api.approval import ApprovalDecision
from curation.api.crd import CRD_KINDS
from curation.api.executor import ExecutorType
from curation.api.names import FailureClass, Phase, Reason, Trigger
from curation.cluster.request_labels import NO_ANSWER
from curation.lifecycle.complete import Ruling
from curation.lifecycle.outcome import Result
from curation.notifying.notice import NoticeType
from curation.reconciler.runtime.job_index import UNREADABLE_PHASE
from curation.reconciler.runtime.metrics import (
    NOTICE_RESULTS,
    PULL_RESULTS,
    WEBHOOK,
    IdlePolicies,
    Metrics,
    WatchAge,
    WorkersMemory,
)
from curation.workers.account import MemoryAccount

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "metrics.md"

_HEAD: Final = """\
<!-- Generated from reconciler/runtime/metrics.py by `python -m hack.metrics_reference`; do not edit. -->

# Metrics

Each replica serves these metrics on `/metrics`, in the Prometheus text format or as OpenMetrics.
[Operations](operations.md#alerts) says which of them are worth an alert.

The number of series is bounded. No label holds the name of an object, with one exception:
`curation_policy_not_in_force` names at most 50 policies.

A histogram has the series `..._bucket`, `..._count` and `..._sum`. There are no `..._created` series.
"""

_POLICY_KINDS: Final = ("CurationPolicy", "ClusterCurationPolicy")
_PHASES: Final = tuple(phase.value for phase in Phase)
_REASONS: Final = tuple(dict.fromkeys([*(each.value for each in Reason), *(each.value for each in FailureClass)]))

# What each label can be; a sentence where the values are not ours to list.
_VALUES: Final[dict[tuple[str, str], Iterable[str] | str]] = {
    ("curation_jobs", "phase"): (*_PHASES, UNREADABLE_PHASE),
    ("curation_transitions_total", "from"): ("", *_PHASES),
    ("curation_transitions_total", "to"): _PHASES,
    ("curation_transitions_total", "reason"): ("", *_REASONS),
    ("curation_completions_total", "verdict"): tuple(each.value for each in Ruling),
    ("curation_run_duration_seconds", "trigger"): tuple(each.value for each in Trigger),
    ("curation_run_duration_seconds", "outcome"): tuple(each.__name__ for each in get_args(Result)),
    ("curation_run_duration_seconds", "executor"): tuple(each.value for each in ExecutorType),
    ("curation_guest_pods_lost_total", "reason"): ("Memory", "Evicted", "Other"),
    ("curation_door_knocks_total", "verdict"): ("admitted", "later", "refused"),
    ("curation_module_pulls_total", "result"): PULL_RESULTS,
    ("curation_worker_ends_total", "limit"): ("memory", "other", "none"),
    ("curation_http_calls_total", "decision"): ("allowed", "denied", "none"),
    ("curation_http_calls_total", "code"): (
        "the HTTP status of a response (`5xx` and the like for one that is not registered); else `denied`, "
        "`unavailable`, `limit`, `cancelled`, `invalid`, `timeout`, "
        "or `lost` (the process that made it has ended)"
    ),
    ("curation_policies", "kind"): _POLICY_KINDS,
    ("curation_policies", "ready"): ("True", "False"),
    ("curation_policy_not_in_force", "kind"): _POLICY_KINDS,
    ("curation_policy_not_in_force", "policy_namespace"): "of the policy; empty for a ClusterCurationPolicy",
    ("curation_policy_not_in_force", "policy"): "its name",
    ("curation_build_info", "version"): "such as `0.1.0`",
    ("curation_time_to_end_seconds", "phase"): (Phase.COMPLETED.value, Phase.FAILED.value),
    ("curation_time_to_decision_seconds", "decision"): (
        ApprovalDecision.APPROVED.value,
        ApprovalDecision.DENIED.value,
    ),
    ("curation_time_to_decision_seconds", "scope"): "`Request`, `Path` or `Host`; empty of a denial",
    ("curation_approvals_expired_total", "scope"): "`Request`, `Path` or `Host`; empty of a denial",
    ("curation_notices_total", "type"): tuple(each.value for each in NoticeType),
    ("curation_notices_total", "result"): NOTICE_RESULTS,
    ("curation_modules", "ready"): ("True", "False", "Unknown"),
    ("curation_approvals", "decision"): tuple(each.value for each in ApprovalDecision),
    ("curation_api_requests_total", "verb"): "the Kubernetes verb, such as `patch`; `dry-run` of what has no effect",
    ("curation_api_requests_total", "resource"): "such as `curationjobs` or `curationjobs/status`; or `nonresource`",
    ("curation_api_requests_total", "code"): f"the HTTP status; `{NO_ANSWER}` if no answer came",
    ("curation_reconcile_seconds", "kind"): tuple(kind.name for kind in CRD_KINDS),
    ("curation_reconcile_errors_total", "kind"): tuple(kind.name for kind in CRD_KINDS),
    ("curation_unreadable_objects", "kind"): tuple(kind.name for kind in CRD_KINDS),
    ("curation_refused_writes", "kind"): tuple(kind.name for kind in CRD_KINDS),
    ("curation_file_renewals_total", "source"): ("ca-bundle", "cluster-access", "https-certificate"),
    ("curation_file_renewals_total", "result"): ("loaded", "refused"),
    ("curation_file_refused", "source"): ("ca-bundle", "cluster-access", "https-certificate"),
    ("curation_webhook_reviews_total", "kind"): (*REVIEWED_KINDS, "other"),
    ("curation_webhook_reviews_total", "verdict"): ("allowed", "warned", "refused", "unanswered"),
    ("curation_webhook_serving", "webhook"): (WEBHOOK,),
    ("curation_webhook_trusted", "webhook"): (WEBHOOK,),
    ("curation_webhook_reached", "webhook"): (WEBHOOK,),
    ("curation_webhook_certificate_expiry_timestamp_seconds", "webhook"): (WEBHOOK,),
    ("curation_watch_age_seconds", "resource"): tuple(kind.plural for kind in CRD_KINDS),
}


@dataclass(frozen=True)
class MetricInfo:
    """One metric, by the name that a query uses."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


def metrics() -> list[MetricInfo]:
    """Every metric of the operator, by name."""
    found = [_described(each) for each in vars(Metrics()).values() if isinstance(each, MetricWrapperBase)]
    computed = (
        WatchAge(lambda: {"curationjobs": 0.0}),
        IdlePolicies(lambda: [("CurationPolicy", "ns", "p")]),
        WorkersMemory(MemoryAccount(1)),
    )
    for family in (each for collector in computed for each in collector.collect()):
        labels = tuple(family.samples[0].labels)
        found.append(MetricInfo(family.name, family.type, labels, family.documentation))
    return sorted(found, key=lambda each: each.name)


def _described(metric: MetricWrapperBase) -> MetricInfo:
    (family,) = metric.describe()
    # A metric without a child yet has no samples, so its labels are only known to the object itself.
    labels = tuple(metric._labelnames)
    name = f"{family.name}_total" if family.type == "counter" else family.name
    buckets = tuple(metric._kwargs["buckets"]) if isinstance(metric, Histogram) else ()
    return MetricInfo(name, family.type, labels, family.documentation, buckets)


def page() -> str:
    """The text of `docs/metrics.md`."""
    return "\n".join([_HEAD, "| metric | type | meaning |", "|---|---|---|", *_rows(), "", "## Labels", "", *_labels()])


def _rows() -> Iterator[str]:
    for metric in metrics():
        labels = f"{{{','.join(metric.labels)}}}" if metric.labels else ""
        bounds = f" Buckets: {', '.join(f'{bound:g}' for bound in metric.buckets)}." if metric.buckets else ""
        yield f"| `{metric.name}{labels}` | {metric.type} | {metric.help}{bounds} |"


def _labels() -> Iterator[str]:
    yield "| metric | label | values |"
    yield "|---|---|---|"
    for metric in metrics():
        for label in metric.labels:
            values = _VALUES[metric.name, label]
            text = (
                values if isinstance(values, str) else ", ".join(f"`{value}`" if value else "empty" for value in values)
            )
            yield f"| `{metric.name}` | `{label}` | {text} |"
    yield ""


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 1 when ``--check`` found a difference."""
    parser = argparse.ArgumentParser(prog="python -m hack.metrics_reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; print a diff and exit 1 if it differs")
    check = parser.parse_args(arguments).check
    text = page()
    if not check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    old = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    name = str(PAGE.relative_to(ROOT))
    lines = list(difflib.unified_diff(old.splitlines(True), text.splitlines(True), f"a/{name}", f"b/{name}"))
    sys.stdout.writelines(lines)
    if lines:
        sys.stderr.write(f"{name} differs from the code: run `python -m hack.metrics_reference`, commit the result\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
