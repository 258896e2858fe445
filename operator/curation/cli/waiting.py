"""What a job waits for, in sentences: one function a phase, all pure."""

from datetime import datetime, timedelta

from curation.api.approval import ApprovalDecision
from curation.api.job import MAX_ABANDONED_RUNS, Observe
from curation.api.names import ConditionType, Phase, Reason
from curation.api.schema import Condition
from curation.cli.known import Known
from curation.cli.text import age, duration, plural
from curation.lifecycle.conditions import OBSERVATION_FAILED, find
from curation.lifecycle.deadlines import HELD_AT_MOST


def waits_for(known: Known) -> list[str]:
    """What must happen before the job moves on; nothing for one that has finished and has been seen as it is."""
    job, status = known.job, known.job.status
    lines = []
    if job.metadata.deletion_timestamp is not None:
        deleted = job.metadata.deletion_timestamp
        until = _at(deleted + HELD_AT_MOST, known.now)
        lines.append(
            f"its deletion, requested {age(deleted, known.now)} ago: the operator cancels its sessions first, "
            f"and gives that up {until}"
        )
    elif status.observed_generation < job.metadata.generation:
        seen = (
            "has not seen it yet"
            if status.observed_generation < 0
            else (f"has acted on generation {status.observed_generation} and not yet on {job.metadata.generation}")
        )
        lines.append(f"the operator, which {seen}; see whether it runs: kubectl get deployment -n curation-system")
    match status.phase:
        case Phase.QUEUED:
            lines += _queued(known)
        case Phase.SUBMITTED:
            if job.spec.executor.in_pod and (status.run is None or status.run.pod is None):
                lines.append("the pod of its run (see the message); the operator gives it ten minutes")
            lines.append(f"the module's run to end{_deadline(known, job.spec.timeouts.submitted_seconds, 'submitted')}")
        case Phase.AWAITING_APPROVAL:
            lines += _awaiting(known)
        case Phase.RUNNING:
            lines += _running(known)
    return lines


def _queued(known: Known) -> list[str]:
    job, status = known.job, known.job.status
    match status.reason:
        case Reason.SUSPENDED:
            return ["spec.suspend to become false"]
        case Reason.WAITING_FOR_MODULE | Reason.MODULE_UNUSABLE:
            return [f"CurationModule {job.spec.module_ref.name} to be Ready"]
        case Reason.EXECUTOR_UNAVAILABLE:
            return ["an operator with guest pods, or a spec.executor that this one has (see the message)"]
        case Reason.WAITING_FOR_CONFIG_MAP:
            return [f"what {sources_of(known)} names (see the message); the operator reads it again by itself"]
        case Reason.WAITING_FOR_SLOT:
            if "memory" in status.message:
                return ["memory of the workers (see the message): those runs to end that have it"]
            return ["a free slot: the operator runs as many modules as --max-concurrent-runs allows"]
        case Reason.WAITING_FOR_CLEANUP:
            count = plural(len(status.abandoned_runs), "earlier run")
            return [f"clean-up: {count} may still own a session, and at most {MAX_ABANDONED_RUNS} may be open"]
        case Reason.WRITE_REFUSED:
            return ["the API server to accept what the operator writes (see the message)"]
        case Reason.BACKOFF if status.retry_at is not None:
            run = status.run
            if run is not None and run.interruptions:
                return [f"the next attempt {_at(status.retry_at, known.now)}; that the last was interrupted counts not"]
            retries = run.retries if run else 0
            return [
                f"the next attempt {_at(status.retry_at, known.now)}, retry {retries + 1} of {job.spec.retry.limit}"
            ]
    return ["its next attempt, which is about to start"]


def sources_of(known: Known) -> str:
    """Which fields of the job name ConfigMaps."""
    spec = known.job.spec
    fields = {"spec.inputFrom": spec.input_from, "spec.configFrom": spec.config_from}
    return " or ".join(field for field, value in fields.items() if value is not None)


def _awaiting(known: Known) -> list[str]:
    status, lines = known.job.status, []
    match status.reason:
        case Reason.APPROVAL_REFUSED:
            lines.append("its approval to be made, which the API server refuses (see the message), or a policy")
        case Reason.APPROVAL_UNREADABLE:
            lines.append("its approval, which cannot be read (see the message), to be deleted; or a policy")
        case Reason.TOO_MANY_APPROVALS:
            lines.append("room for its approval: too many are Pending in this namespace; decide or delete some")
        case _ if status.approval is not None:
            lines.append(_approval_state(known))
        case _:
            lines.append("its next attempt: what it waited for is gone")
    if known.waited is not None and known.waited.allowed:
        lines.append("the operator to queue it: its request is allowed by now")
    if status.retry_at is not None and status.retry_at > known.now:
        lines.append(
            f"a pause, because it was denied again right after it was freed: {_at(status.retry_at, known.now)}"
        )
    limit = known.job.spec.timeouts.approval_seconds
    if limit is not None:
        lines.append(f"at most spec.timeouts.approvalSeconds{_deadline(known, limit, 'approval')}")
    return lines


def _approval_state(known: Known) -> str:
    waited = known.job.status.approval
    if waited is None:
        return "its next attempt: what it waited for is gone"
    approval = known.approval
    if approval is None:
        return f"CurationApproval {waited.name} (it is gone, or you may not see it), or a policy that permits the call"
    decision = approval.spec.decision
    by = f" by {approval.spec.decided_by}" if approval.spec.decided_by else ""
    if decision is ApprovalDecision.PENDING:
        jobs = plural(approval.status.waiting, "job")
        return f"CurationApproval {waited.name} (Pending for {age(waited.since, known.now)}, {jobs} waiting)" + (
            ", or a policy that permits the call"
        )
    if decision is ApprovalDecision.APPROVED:
        return (
            f"more than CurationApproval {waited.name}, which is Approved{by}: "
            "something else forbids the request (see Decision)"
        )
    return f"the operator to act on CurationApproval {waited.name}, which is {decision}{by}"


def _running(known: Known) -> list[str]:
    job = known.job
    lines = [
        f"its session to end, observed every {_intervals(job.spec.observation)}"
        + _deadline(known, job.spec.timeouts.running_seconds, "running")
    ]
    reconciling = find(job.status.conditions, ConditionType.RECONCILING)
    if reconciling is not None and reconciling.reason == OBSERVATION_FAILED:
        lines.append(f"an observation that succeeds; the last one did not: {reconciling.message}")
    return lines


def _intervals(observe: Observe) -> str:
    shortest, longest = observe.interval_seconds, observe.max_interval_seconds
    return f"{shortest}s" if shortest >= longest else f"{shortest}s to {longest}s"


def module_state(known: Known) -> str:
    """Whether the module can be run, and why not."""
    module = known.module
    if module is None:
        there = f"; there are: {', '.join(known.modules[:20])}" if known.modules else ""
        return f"it does not exist in this namespace, or you may not see it, or it cannot be read{there}"
    ready = find(module.status.conditions, "Ready")
    if ready is None:
        return "the operator has not loaded it yet"
    return "Ready" if ready.status == "True" else _because(ready)


def _because(condition: Condition) -> str:
    return f"{condition.reason}: {condition.message}" if condition.message else condition.reason


def _deadline(known: Known, limit: int, field: str) -> str:
    since = known.job.status.phase_since
    if since is None:
        return ""
    return f"; deadline {_at(since + timedelta(seconds=limit), known.now)} (spec.timeouts.{field}Seconds: {limit})"


def _at(moment: datetime, now: datetime) -> str:
    when = f"{moment:%Y-%m-%d %H:%M:%SZ}"
    return f"in {duration(moment - now)} ({when})" if moment > now else f"now (due {age(moment, now)} ago, {when})"
