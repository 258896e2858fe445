"""The metrics (docs/metrics.md). Labels are bounded: phases, reasons, verdicts, codes; of no object the name, but
of a few policies that do not count."""

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from importlib.metadata import version
from itertools import islice
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from curation.api.approval import ApprovalDecision, CurationApproval, RecordedDecision, Scope
from curation.api.executor import ExecutorType
from curation.api.job import CurationJob, JobStatus
from curation.api.names import Phase
from curation.cluster.request_labels import Asked
from curation.cluster.resources import KINDS
from curation.execution.seam import CallEnd, ExecutionRequest
from curation.isolation.spawn import ChildEnd, Limit
from curation.lifecycle.outcome import Report
from curation.notifying.notice import NoticeType
from curation.workers.account import MemoryAccount

# A series beside each one, of when it began: nobody asks for it, and each Prometheus would store it.
disable_created_metrics()  # type: ignore[no-untyped-call]

NOTICE_RESULTS: Final = ("delivered", "refused", "given_up", "dropped")
MAX_IDLE_SHOWN: Final = 50
"""Policies that `curation_policy_not_in_force` names: each name is a series."""

WEBHOOK: Final = "policies.curation.dev"
"""The webhook's name."""
PULL_RESULTS: Final = (
    *("Pulled", "NotFound", "DigestMismatch", "TooLarge", "Invalid", "PullFailed", "Unauthorized"),
    *("NotSigned", "Error"),
)

_STATUSES = frozenset(str(status.value) for status in HTTPStatus)
_FAST = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1)
_JOB = (1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
"""Whole seconds at the least: the time at which an object was made has no more."""
_PERSON = (60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 72 * 3600, 7 * 24 * 3600)
_PULL = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 180)
_RUN = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Every metric, in one registry. One instance for each process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.build_info = Gauge(
            "curation_build_info", "1; the labels say which release this replica runs.", ["version"], registry=registry
        )
        self.build_info.labels(version=version("curation-operator")).set(1)
        self.jobs = Gauge("curation_jobs", "Jobs by phase; a new one counts as Queued.", ["phase"], registry=registry)
        for phase in Phase:
            self.jobs.labels(phase=phase.value)
        self.transitions = Counter(
            "curation_transitions_total", "Phase changes written.", ["from", "to", "reason"], registry=registry
        )
        self.completions = Counter(
            "curation_completions_total", "Submit executions that ended, by verdict.", ["verdict"], registry=registry
        )
        for verdict in ("applied", "stale", "duplicate", "gone"):
            self.completions.labels(verdict=verdict)
        self.time_to_running = Histogram(
            "curation_time_to_running_seconds",
            "Time from the creation of a job to Running, with all that it waited for; not of jobs that were changed.",
            buckets=_JOB,
            registry=registry,
        )
        self.time_to_end = Histogram(
            "curation_time_to_end_seconds",
            "Time from the creation of a job to its end, by phase; not of jobs that were changed.",
            ["phase"],
            buckets=_JOB,
            registry=registry,
        )
        for end in (Phase.COMPLETED, Phase.FAILED):
            self.time_to_end.labels(phase=end.value)
        self.run_duration = Histogram(
            "curation_run_duration_seconds",
            "Time from launch to end of an execution, by the executor of its guest.",
            ["trigger", "outcome", "executor"],
            buckets=_RUN,
            registry=registry,
        )
        self.runs_in_flight = Gauge("curation_runs_in_flight", "Executions that have not ended.", registry=registry)
        self.guest_jobs = Gauge(
            "curation_guest_jobs", "Of the leader: executions that have, or are to have, a pod.", registry=registry
        )
        self.guest_pods_ready = Gauge(
            "curation_guest_pods_ready",
            "0 while no run can have a pod by this replica, or its door is not served. 1 too where guest pods are off.",
            registry=registry,
        )
        self.guest_pods_ready.set(1)
        self.guest_pods_lost = Counter(
            "curation_guest_pods_lost_total",
            "Executions that came to nothing since their Job or pod did: by the reason Memory, Evicted or Other.",
            ["reason"],
            registry=registry,
        )
        for reason in ("Memory", "Evicted", "Other"):
            self.guest_pods_lost.labels(reason=reason)
        self.door_knocks = Counter(
            "curation_door_knocks_total",
            "Pods that have knocked at this replica's door: admitted, to come again (later), or refused.",
            ["verdict"],
            registry=registry,
        )
        for verdict in ("admitted", "later", "refused"):
            self.door_knocks.labels(verdict=verdict)
        self.http_calls = Counter(
            "curation_http_calls_total",
            "Outbound calls of modules: decision allowed, denied or none (not asked); code the status or the error.",
            ["decision", "code"],
            registry=registry,
        )
        self.worker_ends = Counter(
            "curation_worker_ends_total",
            "Workers that ended with executions in flight, by the limit that was reached: memory, other or none.",
            ["limit"],
            registry=registry,
        )
        for limit in ("memory", "other", "none"):
            self.worker_ends.labels(limit=limit)
        self.policy_decision = Histogram(
            "curation_policy_decision_seconds", "Time of one decision of the gate.", buckets=_FAST, registry=registry
        )
        self.approvals = Gauge("curation_approvals", "Approvals by decision.", ["decision"], registry=registry)
        self.time_to_decision = Histogram(
            "curation_time_to_decision_seconds",
            "Time from the creation of an approval to the decision about it, by the scope of what was approved.",
            ["decision", "scope"],
            buckets=_PERSON,
            registry=registry,
        )
        self.approvals_expired = Counter(
            "curation_approvals_expired_total",
            "Grants and denials that have ended by themselves.",
            ["scope"],
            registry=registry,
        )
        for scope in Scope:
            self.time_to_decision.labels(decision=ApprovalDecision.APPROVED.value, scope=scope.value)
            self.approvals_expired.labels(scope=scope.value)
        # Of a denial, which has no scope.
        self.time_to_decision.labels(decision=ApprovalDecision.DENIED.value, scope="")
        self.approvals_expired.labels(scope="")
        self.notices = Counter(
            "curation_notices_total",
            "Notices to --notify-url: delivered, refused by the receiver, given up after all tries, or dropped unsent.",
            ["type", "result"],
            registry=registry,
        )
        for notice in NoticeType:
            for result in NOTICE_RESULTS:
                self.notices.labels(type=notice.value, result=result)
        self.modules = Gauge(
            "curation_modules",
            "Modules by the status of their condition Ready; Unknown until it is written.",
            ["ready"],
            registry=registry,
        )
        self.module_pulls = Counter(
            "curation_module_pulls_total",
            "Pulls of modules from registries that ended: result Pulled, or the reason why not.",
            ["result"],
            registry=registry,
        )
        for result in PULL_RESULTS:
            self.module_pulls.labels(result=result)
        self.module_pull_seconds = Histogram(
            "curation_module_pull_seconds",
            "Time of one pull of a module, tries and all.",
            buckets=_PULL,
            registry=registry,
        )
        self.policies = Gauge(
            "curation_policies",
            "Policies by kind; ready says whether the newest revision is valid, and so in force.",
            ["kind", "ready"],
            registry=registry,
        )
        self.approval_age = Gauge(
            "curation_approval_age_seconds", "Age of the oldest pending approval.", registry=registry
        )
        self.api_requests = Counter(
            "curation_api_requests_total",
            "Requests to the API server.",
            ["verb", "resource", "code"],
            registry=registry,
        )
        self.write_conflicts = Counter(
            "curation_write_conflicts_total", "Conditioned writes that answered 409.", registry=registry
        )
        self.queue_depth = Gauge(
            "curation_queue_depth", "Keys in the work queue that no worker has taken.", registry=registry
        )
        self.queue_latency = Histogram(
            "curation_queue_latency_seconds", "Time that a key waits for a worker.", buckets=_RUN, registry=registry
        )
        self.reconcile = Histogram(
            "curation_reconcile_seconds",
            "Time of one reconciliation.",
            ["kind"],
            buckets=(*_FAST, 5),
            registry=registry,
        )
        self.reconcile_errors = Counter(
            "curation_reconcile_errors_total",
            "Reconciliations that raised an exception: a bug.",
            ["kind"],
            registry=registry,
        )
        # From zero on, so that the first error is an increase too.
        for kind in KINDS:
            self.reconcile_errors.labels(kind=kind)
        self.abandoned_runs = Gauge(
            "curation_abandoned_runs", "Runs that are not yet known to be cleaned.", registry=registry
        )
        self.cleanups_failed = Counter(
            "curation_cleanups_failed_total", "Abandoned runs that were given up after 10 minutes.", registry=registry
        )
        self.unreadable = Gauge(
            "curation_unreadable_objects", "Objects that this release cannot read.", ["kind"], registry=registry
        )
        self.refused_writes = Gauge(
            "curation_refused_writes",
            "Writes of the operator that the API server refuses at present (quota, admission, no room), by kind.",
            ["kind"],
            registry=registry,
        )
        for kind in KINDS:
            self.unreadable.labels(kind=kind)
            self.refused_writes.labels(kind=kind)
        self.file_renewals = Counter(
            "curation_file_renewals_total",
            "Changes of files named at start: result loaded, or refused, then the old version stays in use.",
            ["source", "result"],
            registry=registry,
        )
        self.file_refused = Gauge(
            "curation_file_refused",
            "1 while the content of a file named at start is refused and an older version is in use.",
            ["source"],
            registry=registry,
        )
        self.reviews = Counter(
            "curation_webhook_reviews_total",
            "Objects that the webhook of this replica has reviewed, by verdict; unanswered ones were refused for now.",
            ["kind", "verdict"],
            registry=registry,
        )
        # Of the webhook there are series only where it is asked for.
        self.webhook_serving = Gauge(
            "curation_webhook_serving",
            "1 while the webhook of this replica is served with a certificate.",
            ["webhook"],
            registry=registry,
        )
        self.webhook_trusted = Gauge(
            "curation_webhook_trusted",
            "Of a leader that makes the webhook's certificate: 1 if the API server is told to ask it and to trust it.",
            ["webhook"],
            registry=registry,
        )
        self.webhook_reached = Gauge(
            "curation_webhook_reached",
            "Of the leader: 1 if the API server has asked the webhook when it last looked, and was answered.",
            ["webhook"],
            registry=registry,
        )
        self.webhook_certificate_expiry = Gauge(
            "curation_webhook_certificate_expiry_timestamp_seconds",
            "When the certificate that this replica's webhook shows ends.",
            ["webhook"],
            registry=registry,
        )
        self.leader = Gauge("curation_leader", "1 while this process writes.", registry=registry)

    def phase_changed(self, job: CurationJob, after: JobStatus) -> None:
        """Count a phase change of a job that was written; a new run in the same phase is one too.

        `job` is as it was before.
        """
        before = job.status
        if before.phase != after.phase:
            self._measure(job, after)
        if before.phase != after.phase or (before.run and after.run and before.run.id != after.run.id):
            labels = {"from": before.phase or "", "to": after.phase or "", "reason": after.reason}
            self.transitions.labels(**labels).inc()

    def _measure(self, job: CurationJob, after: JobStatus) -> None:
        """How long a person has waited. Only creation has a time that the API server keeps."""
        since = job.metadata.creation_timestamp
        if since is None or after.phase_since is None or after.template_generation != 1:
            return
        seconds = max(0.0, (after.phase_since - since).total_seconds())
        if after.phase is Phase.RUNNING:
            self.time_to_running.observe(seconds)
        elif after.phase in (Phase.COMPLETED, Phase.FAILED):
            self.time_to_end.labels(phase=after.phase.value).observe(seconds)

    def decided(self, approval: CurationApproval, decision: RecordedDecision) -> None:
        """A person has approved or denied, and the status that says so was written."""
        since = approval.metadata.creation_timestamp
        if since is not None and decision.decision in (ApprovalDecision.APPROVED, ApprovalDecision.DENIED):
            seconds = max(0.0, (decision.at - since).total_seconds())
            scope = decision.scope.value if decision.scope is not None else ""
            self.time_to_decision.labels(decision=decision.decision.value, scope=scope).observe(seconds)

    def approval_expired(self, approval: CurationApproval) -> None:
        """A grant, or a denial, has ended, and the status that says so was written."""
        approved = approval.spec.decision is ApprovalDecision.APPROVED
        self.approvals_expired.labels(scope=approval.spec.scope.value if approved else "").inc()

    def file_renewed(self, source: str, loaded: bool) -> None:
        """A file has changed, and could be loaded or not."""
        self.file_renewals.labels(source=source, result="loaded" if loaded else "refused").inc()
        self.file_refused.labels(source=source).set(not loaded)

    def pulled(self, result: str, seconds: float) -> None:
        """A pull has ended."""
        self.module_pulls.labels(result=result).inc()
        self.module_pull_seconds.observe(seconds)

    def depth(self, depth: int) -> None:
        """See `QueueObserver`."""
        self.queue_depth.set(depth)

    def taken(self, waited: float) -> None:
        """See `QueueObserver`."""
        self.queue_latency.observe(waited)

    def on_start(self, request: ExecutionRequest) -> None:
        """See `ExecutionObserver`."""
        self.runs_in_flight.inc()

    def on_call(self, _request: ExecutionRequest, call: CallEnd) -> None:
        """See `ExecutionObserver`."""
        self.http_calls.labels(decision=call.decision, code=_bounded(call.code)).inc()

    def on_end(self, request: ExecutionRequest, report: Report, seconds: float) -> None:
        """See `ExecutionObserver`."""
        self.runs_in_flight.dec()
        outcome = type(report.result).__name__
        executor = (ExecutorType.JOB if request.in_pod else ExecutorType.IN_PROCESS).value
        self.run_duration.labels(request.trigger.value, outcome, executor).observe(seconds)

    def worker_ended(self, _namespace: str, end: ChildEnd) -> None:
        """A worker ended with executions in flight."""
        limit = "none" if end.limit is None else "memory" if end.limit is Limit.MEMORY else "other"
        self.worker_ends.labels(limit=limit).inc()

    def request(self, asked: Asked, code: str, _seconds: float) -> None:
        """A `RequestObserver` of the cluster layer."""
        self.api_requests.labels(verb=asked.verb, resource=asked.resource, code=code).inc()


class WatchAge(Collector):
    """`curation_watch_age_seconds`, computed when it is read."""

    def __init__(self, ages: Callable[[], dict[str, float]]) -> None:
        self._ages = ages

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        family = GaugeMetricFamily(
            "curation_watch_age_seconds",
            "Time since the watch of a kind was last seen alive; of several namespaces, the longest.",
            labels=["resource"],
        )
        for resource, age in sorted(self._ages().items()):
            family.add_metric([resource], age)
        yield family


class WorkersMemory(Collector):
    """The account of the workers' memory, as it is when it is read."""

    def __init__(self, account: MemoryAccount) -> None:
        self._account = account

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        account = self._account
        yield GaugeMetricFamily(
            "curation_workers_memory_admitted_bytes",
            "Memory that is kept for workers and the executions that are admitted to them.",
            value=account.used,
        )
        limit = GaugeMetricFamily(
            "curation_workers_memory_limit_bytes",
            "What workers may take together, a namespace a quarter of it; no series where it is not bounded.",
        )
        if account.limit is not None:
            limit.add_metric([], account.limit)
        yield limit
        yield GaugeMetricFamily(
            "curation_executions_waiting_for_memory", "Executions that wait for memory.", value=account.waiting
        )


class IdlePolicies(Collector):
    """`curation_policy_not_in_force`, computed when it is read: the one metric with names, so that an alert has them.

    At most `MAX_IDLE_SHOWN` of them; `curation_policies` counts all.
    """

    def __init__(self, idle: Callable[[], Iterable[tuple[str, str, str]]]) -> None:
        self._idle = idle

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        family = GaugeMetricFamily(
            "curation_policy_not_in_force",
            "1 for a policy that is invalid and of which no permit counts; the first 50 by name.",
            labels=["kind", "policy_namespace", "policy"],
        )
        for kind, namespace, name in islice(self._idle(), MAX_IDLE_SHOWN):
            family.add_metric([kind, namespace, name], 1.0)
        yield family


def _bounded(code: str) -> str:
    # A remote service chooses its statuses, and each would be a series for ever.
    return f"{code[0]}xx" if code.isdigit() and code not in _STATUSES else code
