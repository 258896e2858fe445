"""What a person can do about a job next: commands to copy, most useful first. Pure."""

from curation.api.approval import ApprovalDecision
from curation.api.names import ConditionType, EventReason, FailureClass, Phase, Reason
from curation.cli.known import Known
from curation.cluster.answers import no_room
from curation.lifecycle.conditions import find

PLUGIN = "kubectl curation"


def next_steps(known: Known) -> list[str]:
    """Commands, each with what it is for."""
    return [*_phase_steps(known), *_refused(known)]


def _refused(known: Known) -> list[str]:
    """What helps against a write that the API server has refused not long ago."""
    reported = [event for event in known.events if event.reason == EventReason.WRITE_REFUSED and event.at is not None]
    if not reported or known.job.status.reason in (Reason.APPROVAL_REFUSED, Reason.WRITE_REFUSED):
        return []
    if no_room(reported[-1].message):
        name = known.job.metadata.name
        smaller = "the store has no room for it, and so cannot even delete it"
        patch = """--type=merge -p '{"spec":{"input":null}}'"""
        return [f"kubectl patch curationjob {name}{known.flag} {patch}   # make it smaller: {smaller}"]
    return ["change the quota or the admission policy that the Warning WriteRefused names"]


def _phase_steps(known: Known) -> list[str]:
    job = known.job
    if job.metadata.deletion_timestamp is not None:
        return []
    match job.status.phase:
        case Phase.QUEUED:
            steps = _queued(known)
        case Phase.AWAITING_APPROVAL:
            steps = _awaiting(known)
        case Phase.RUNNING:
            steps = [_command(known, "suspend", "cancel the session and hold the job"), *_denied_observation(known)]
        case Phase.FAILED:
            steps = _failed(known)
        case Phase.COMPLETED:
            steps = [_command(known, "rerun", "run it again")]
        case _:
            steps = [_command(known, "watch", "follow it")]
    if known.invalid and job.status.phase is not Phase.COMPLETED:
        steps.insert(0, "mend the invalid policy named above; check it with: kubectl curation check-policy FILE")
    return steps


def _command(known: Known, verb: str, purpose: str, name: str = "") -> str:
    return f"{PLUGIN} {verb} {name or known.job.metadata.name}{known.flag}   # {purpose}"


def _queued(known: Known) -> list[str]:
    if known.job.status.reason == Reason.SUSPENDED:
        return [_command(known, "resume", "let it go on")]
    if known.job.status.reason in (Reason.WAITING_FOR_MODULE, Reason.MODULE_UNUSABLE):
        module = known.job.spec.module_ref.name
        return [f"kubectl describe curationmodule {module}{known.flag}   # what is wrong with the module"]
    if known.job.status.reason == Reason.EXECUTOR_UNAVAILABLE:
        patch = """--type=merge -p '{"spec":{"executor":null}}'"""
        name = known.job.metadata.name
        return [f"kubectl patch curationjob {name}{known.flag} {patch}   # run it beside the worker"]
    if known.job.status.reason == Reason.WAITING_FOR_CONFIG_MAP and _config_maps(known):
        return [f"kubectl describe configmap {name}{known.flag}   # what is there" for name in _config_maps(known)]
    if known.job.status.reason == Reason.WRITE_REFUSED:
        return ["change the quota, the admission policy or the right that the message names; the operator tries again"]
    if known.job.status.reason == Reason.BACKOFF:
        return [_command(known, "logs", "what the failed run logged"), _command(known, "rerun", "do not wait")]
    return [_command(known, "watch", "follow it")]


def _config_maps(known: Known) -> list[str]:
    spec = known.job.spec
    names = [spec.input_from.config_map_key_ref.name] if spec.input_from is not None else []
    return [*names, *([spec.config_from.config_map_ref.name] if spec.config_from is not None else [])]


def _awaiting(known: Known) -> list[str]:
    status = known.job.status
    if status.reason == Reason.TOO_MANY_APPROVALS:
        return [f"{PLUGIN} approvals --decision Pending{known.flag}   # decide or delete some"]
    if status.reason == Reason.APPROVAL_REFUSED:
        return [
            "change the quota or the admission policy that the message names; the operator tries again",
            "or apply a CurationPolicy that permits the call   # for good, through Git",
        ]
    if status.approval is None:
        return [_command(known, "watch", "follow it")]
    if status.reason == Reason.APPROVAL_UNREADABLE:
        return [f"kubectl delete curationapproval {status.approval.name}{known.flag}   # the operator makes a new one"]
    name = status.approval.name
    decision = known.approval.spec.decision if known.approval is not None else ApprovalDecision.PENDING
    if known.waited is not None and known.waited.policies and not known.waited.allowed:
        deny = [_command(known, "deny", "fail the jobs that wait for it", name)]
        forbids = ", ".join(known.waited.policies)
        pending = decision is ApprovalDecision.PENDING
        return [f"change {forbids}   # a forbid outweighs every approval", *(deny if pending else [])]
    if decision is not ApprovalDecision.PENDING:
        # The operator's turn: it fails the job, queues it, or makes a new approval.
        return [_command(known, "watch", "follow it")]
    return [
        _command(
            known,
            "approve",
            "allow this request, whatever its body, for each job of this build; --scope Path or Host allows more",
            name,
        ),
        _command(known, "deny", "fail every job that waits for it", name),
        "or apply a CurationPolicy that permits the call   # for good, through Git",
    ]


def _denied_observation(known: Known) -> list[str]:
    return [
        _command(known, "approve", "let the session be observed", evaluated.approval.metadata.name)
        for evaluated in known.requests
        if evaluated.approval.spec.decision is ApprovalDecision.PENDING
    ]


def _failed(known: Known) -> list[str]:
    status = known.job.status
    steps = [_command(known, "logs", "what the module logged")] if status.run is not None and status.run.log else []
    rerun = _command(known, "rerun", "run it again")
    match status.reason:
        case FailureClass.EGRESS_REFUSED:
            why = "no policy can allow the present address or URL"
            return [*steps, f"change the URL in spec.input or spec.config   # {why}; the message says what can", rerun]
        case FailureClass.DENIED:
            return [*steps, "apply a CurationPolicy that permits the call (see the decision)", rerun]
        case FailureClass.MODULE_UNAVAILABLE:
            module = known.job.spec.module_ref.name
            return [f"kubectl describe curationmodule {module}{known.flag}   # what is wrong with the module", rerun]
        case Reason.APPROVAL_DENIED:
            if known.denial is None:
                return [f"kubectl get cappr{known.flag}   # if the denial is still there, delete it", rerun]
            name = known.denial.metadata.name
            return [f"kubectl delete curationapproval {name}{known.flag}   # let jobs ask anew", rerun]
        case Reason.INVALID_SPEC:
            return [f"kubectl edit curationjob {known.job.metadata.name}{known.flag}   # mend the field that is named"]
        case Reason.DEADLINE_EXCEEDED | Reason.APPROVAL_TIMEOUT:
            return [*steps, "raise the timeout of that phase in spec.timeouts, if it was too short", rerun]
    return [*steps, rerun]


def authorized(known: Known) -> str:
    """What the operator's own last decision was, from the Authorized condition."""
    condition = find(known.job.status.conditions, ConditionType.AUTHORIZED)
    if condition is None or condition.status == "Unknown":
        return ""
    return f"{'allowed' if condition.status == 'True' else 'denied'}: {condition.message}"
