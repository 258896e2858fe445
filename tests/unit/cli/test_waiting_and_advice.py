"""What a job waits for and what a person can do, for every reason that a job can be in its phase for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from curation.api.approval import ApprovalDecision, CurationApproval, EvaluatedRequest, approval_name, request_digest
from curation.api.job import CurationJob
from curation.api.module import CurationModule
from curation.api.names import SESSION_FINALIZER, FailureClass, Phase, Reason, Trigger
from curation.authz.book import PolicyBook
from curation.authz.decision import CallContext, Decision
from curation.authz.gate import Gate
from curation.cli.advice import next_steps
from curation.cli.explain import explain
from curation.cli.known import Evaluated, Known, requests_of
from curation.cli.visible_policies import VisiblePolicies
from curation.cli.waiting import module_state, waits_for
from curation.lifecycle.decide import decide
from curation.lifecycle.step import Facts

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
ASKED = EvaluatedRequest.model_validate(
    {
        "module": "m",
        "moduleDigest": "sha256:x",
        "trigger": "Submit",
        "method": "POST",
        "scheme": "https",
        "host": "h",
        "port": 443,
        "path": "/",
    }
)
DENIED = Decision(False, "no policy permits it")

RUN = {
    "id": "u.g1.a1",
    "generation": 1,
    "attempt": 1,
    "retries": 1,
    "templateDigest": "d",
    "module": {"name": "m", "digest": "x"},
    "holder": "h",
    "submittedAt": NOW,
}
INPUT_FROM = {"configMapKeyRef": {"name": "work", "key": "input.json"}}
LOGGED = {**RUN, "log": "oops"}
SESSION = {"id": "s", "runID": "u.g1.a1", "spawnedAt": NOW}


def _had(phase: Phase) -> dict[str, Any]:
    """What a status of this phase always has."""
    run = {} if phase is Phase.QUEUED else {"run": RUN}
    return {**run, "session": SESSION} if phase is Phase.RUNNING else run


def known(
    phase: Phase,
    reason: str = "",
    *,
    decision: str | None = None,
    evaluated: Decision = DENIED,
    spec: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    module: CurationModule | None = None,
    invalid: tuple[str, ...] = (),
    **status: Any,
) -> Known:
    waits = decision is not None
    name = approval_name(ASKED)
    approval = {
        "name": name,
        "requestDigest": request_digest(ASKED),
        "request": ASKED,
        "since": NOW - timedelta(hours=3),
    }
    job = CurationJob.model_validate(
        {
            "metadata": {"name": "build", "namespace": "demo", "generation": 1, **(metadata or {})},
            "spec": {"moduleRef": {"name": "m"}, **(spec or {})},
            "status": {
                "observedGeneration": 1,
                "phase": phase,
                "reason": reason,
                "phaseSince": NOW - timedelta(seconds=60),
                **({"approval": approval} if waits else {}),
                **_had(phase),
                **status,
            },
        }
    )
    requests: tuple[Evaluated, ...] = ()
    if waits and decision:
        spec_of = {"request": ASKED, "requestDigest": request_digest(ASKED), "decision": decision, "decidedBy": "ada"}
        found = CurationApproval.model_validate(
            {"metadata": {"name": name}, "spec": spec_of, "status": {"waiting": 10, "jobs": ["build"]}}
        )
        requests = (Evaluated(found, evaluated),)
    return Known(job, NOW, module, ("build", "test"), requests, evaluated if waits else None, (), (), invalid)


FORBIDDEN = Decision(False, "forbidden", ("CurationPolicy/demo/p#0",))
ALLOWED = Decision(True, "permitted")
Q, A = Phase.QUEUED, Phase.AWAITING_APPROVAL


@pytest.mark.parametrize(
    ("what", "waits", "step"),
    [
        (
            known(Q, Reason.BACKOFF, retryAt=NOW + timedelta(seconds=30), run=RUN),
            "the next attempt in 30s",
            "logs build",
        ),
        (known(Q, Reason.BACKOFF, retryAt=NOW - timedelta(seconds=30), run=RUN), "the next attempt now", "logs build"),
        (
            known(Q, Reason.WAITING_FOR_CONFIG_MAP, spec={"inputFrom": INPUT_FROM}),
            "what spec.inputFrom names (see the message)",
            "kubectl describe configmap work",
        ),
        (
            known(Q, Reason.WAITING_FOR_CONFIG_MAP, spec={"configFrom": {"configMapRef": {"name": "settings"}}}),
            "what spec.configFrom names (see the message)",
            "kubectl describe configmap settings",
        ),
        (known(Q, Reason.WAITING_FOR_MODULE), "CurationModule m to be Ready", "kubectl describe curationmodule m"),
        (known(Q, Reason.WAITING_FOR_SLOT), "a free slot", "watch build"),
        (known(Q, Reason.WAITING_FOR_SLOT, message="It takes memory."), "memory of the workers", "watch build"),
        (known(Q, Reason.WAITING_FOR_CLEANUP), "clean-up: 0 earlier runs", "watch build"),
        (known(Q, Reason.SUSPENDED), "spec.suspend to become false", "resume build"),
        (known(Q, Reason.APPROVED), "its next attempt", "watch build"),
        (known(Phase.SUBMITTED, Reason.SUBMITTED), "the module's run to end; deadline in 14m", "watch build"),
        (
            known(Q, Reason.EXECUTOR_UNAVAILABLE, spec={"executor": {"type": "Job"}}),
            "an operator with guest pods",
            """kubectl patch curationjob build -n demo --type=merge -p '{"spec":{"executor":null}}'""",
        ),
        (
            known(Phase.SUBMITTED, Reason.SUBMITTED, spec={"executor": {"type": "Job"}}),
            "the pod of its run (see the message)",
            "watch build",
        ),
        (known(A, Reason.DENIED, decision="Pending"), "(Pending for 3h, 10 jobs waiting)", "approve m-"),
        (known(A, Reason.DENIED, decision=""), "(it is gone, or you may not see it)", "approve m-"),
        (known(A, Reason.DENIED, decision="Denied"), "which is Denied by ada", "watch build"),
        (known(A, Reason.DENIED, decision="Revoked"), "which is Revoked by ada", "watch build"),
        (known(A, Reason.DENIED, decision="Approved", evaluated=ALLOWED), "allowed by now", "watch build"),
        (
            known(A, Reason.DENIED, decision="Approved", evaluated=FORBIDDEN),
            "something else",
            "change CurationPolicy/demo/p#0",
        ),
        (known(A, Reason.DENIED, decision="Pending", evaluated=FORBIDDEN), "Pending", "change CurationPolicy/demo/p#0"),
        (
            known(A, Reason.TOO_MANY_APPROVALS, decision="Pending"),
            "room for its approval",
            "approvals --decision Pending",
        ),
        (known(Phase.RUNNING, Reason.SESSION_SPAWNED), "its session to end", "suspend build"),
    ],
)
def test_each_open_reason_says_what_is_waited_for_and_what_helps(what: Known, waits: str, step: str) -> None:
    assert waits in "\n".join(waits_for(what))
    assert step in next_steps(what)[0]


@pytest.mark.parametrize(
    ("what", "steps"),
    [
        (known(Phase.COMPLETED, Reason.COMPLETED), ["rerun"]),
        (known(Phase.FAILED, FailureClass.MODULE_ERROR, run=LOGGED), ["logs", "rerun"]),
        (known(Phase.FAILED, FailureClass.EGRESS_REFUSED), ["change the URL", "rerun"]),
        (known(Phase.FAILED, FailureClass.DENIED), ["apply a CurationPolicy", "rerun"]),
        (known(Phase.FAILED, FailureClass.MODULE_UNAVAILABLE), ["describe curationmodule", "rerun"]),
        (known(Phase.FAILED, Reason.APPROVAL_DENIED), ["kubectl get cappr -n demo", "rerun"]),
        (known(Phase.FAILED, Reason.APPROVAL_TIMEOUT), ["spec.timeouts", "rerun"]),
        (known(Phase.FAILED, Reason.DEADLINE_EXCEEDED), ["spec.timeouts", "rerun"]),
        (known(Phase.FAILED, Reason.INVALID_SPEC), ["kubectl edit curationjob"]),
    ],
)
def test_a_finished_job_waits_for_nothing_and_offers_a_way_on(what: Known, steps: list[str]) -> None:
    assert waits_for(what) == []
    offered = next_steps(what)
    assert len(offered) == len(steps)
    assert all(step in line for step, line in zip(steps, offered, strict=True))


@pytest.mark.parametrize("phase", [*Phase])
def test_no_status_is_without_an_answer_and_every_command_names_the_namespace(phase: Phase) -> None:
    for reason in (*Reason, *FailureClass, "OfANewerRelease"):
        for what in (known(phase, reason, run=LOGGED), known(phase, reason, decision="Pending")):
            assert phase.terminal or waits_for(what), reason
            steps = next_steps(what)
            assert steps, reason
            assert all("-n demo" in step for step in steps if step.startswith("kubectl")), reason


def test_a_job_that_is_being_deleted_offers_nothing_more() -> None:
    what = known(Phase.RUNNING, metadata={"deletionTimestamp": NOW - timedelta(seconds=5)})
    assert "its deletion, requested 5s ago" in waits_for(what)[0]
    assert next_steps(what) == []


def test_a_pause_after_a_second_denial_and_the_approval_timeout_are_said() -> None:
    what = known(
        A,
        Reason.DENIED,
        decision="Pending",
        spec={"timeouts": {"approvalSeconds": 90}},
        retryAt=NOW + timedelta(seconds=10),
    )
    said = "\n".join(waits_for(what))
    assert "denied again right after it was freed: in 10s" in said
    assert "deadline in 30s" in said


def approval(asked: EvaluatedRequest, decision: str = "Pending", *jobs: str) -> CurationApproval:
    spec = {"request": asked, "requestDigest": request_digest(asked), "decision": decision}
    status = {"waiting": len(jobs), "jobs": jobs}
    metadata = {"name": approval_name(asked), "namespace": "demo"}
    return CurationApproval.model_validate({"metadata": metadata, "spec": spec, "status": status})


def among(what: Known, *approvals: CurationApproval) -> Known:
    """The same job in a namespace with these approvals, as `why` reads them."""
    visible = VisiblePolicies("demo", Gate(PolicyBook(), lambda: NOW), approvals, (), ())
    return replace(what, requests=requests_of(what.job, visible))


def asking(**changed: object) -> EvaluatedRequest:
    return ASKED.model_copy(update=changed)


def failed_by_a_denial() -> Known:
    """A job as the operator leaves it: what it waited for is gone from its status."""
    waiting = known(A, Reason.DENIED, decision="Denied", metadata={"finalizers": [SESSION_FINALIZER]})
    status = decide(waiting.job, Facts(NOW, "h", approval=ApprovalDecision.DENIED)).status
    assert (status.phase, status.reason, status.approval) == (Phase.FAILED, Reason.APPROVAL_DENIED, None)
    return replace(waiting, job=waiting.job.model_copy(update={"status": status}), requests=())


def test_the_denial_that_failed_a_job_is_named_though_neither_speaks_of_the_other_any_more() -> None:
    others = [approval(asking(path=f"/{n}"), "Denied", "build") for n in range(5)]
    what = among(failed_by_a_denial(), *others, approval(ASKED, "Denied"))
    assert next_steps(what)[0].startswith(f"kubectl delete curationapproval {approval_name(ASKED)} -n demo ")


@pytest.mark.parametrize("approvals", [(), (approval(ASKED),), (approval(asking(path="/other"), "Denied", "build"),)])
def test_a_denial_that_is_gone_or_asked_anew_is_for_the_person_to_find(
    approvals: tuple[CurationApproval, ...],
) -> None:
    what = among(failed_by_a_denial(), *approvals)
    assert next_steps(what)[0].startswith("kubectl get cappr -n demo ")


OBSERVED = asking(trigger=Trigger.OBSERVE, method="GET", path="/sessions/1", module_digest="x")


def running_denied(asked: EvaluatedRequest, authorized: str = "False") -> Known:
    """A Running job, the last observation of whose session was decided so, as the operator records it."""
    said = Gate(PolicyBook(), lambda: NOW).authorize("demo", asked, CallContext("build")).reason
    condition = {
        "type": "Authorized",
        "status": authorized,
        "reason": "Denied",
        "message": said,
        "lastTransitionTime": NOW,
    }
    return known(Phase.RUNNING, Reason.SESSION_SPAWNED, run=RUN, conditions=[condition])


@pytest.mark.parametrize("asked", [OBSERVED, OBSERVED.model_copy(update={"query": "q" * 1000})], ids=["short", "cut"])
def test_a_denied_observation_can_be_approved_though_ten_other_jobs_are_listed(asked: EvaluatedRequest) -> None:
    first_ten = [f"a{n}" for n in range(10)]
    steps = next_steps(among(running_denied(asked), approval(asked, "Pending", *first_ten)))
    assert len(steps) == 2
    assert steps[1].startswith(f"kubectl curation approve {approval_name(asked)} -n demo ")


@pytest.mark.parametrize(
    ("authorized", "found"),
    [
        ("True", approval(OBSERVED)),
        ("False", approval(OBSERVED, "Denied")),
        ("False", approval(OBSERVED.model_copy(update={"module_digest": "y"}))),
        ("False", approval(OBSERVED.model_copy(update={"trigger": Trigger.CANCEL}))),
        ("False", approval(OBSERVED.model_copy(update={"path": "/sessions/2"}))),
        ("False", approval(OBSERVED.model_copy(update={"path": "/sessions/"}))),
    ],
    ids=["allowed since", "decided", "another build", "another trigger", "another session", "a shorter path"],
)
def test_an_approval_of_another_call_is_no_advice_for_a_running_job(authorized: str, found: CurationApproval) -> None:
    assert len(next_steps(among(running_denied(OBSERVED, authorized), found))) == 1


@pytest.mark.parametrize("phase", [Phase.QUEUED, Phase.SUBMITTED, Phase.AWAITING_APPROVAL, Phase.RUNNING, Phase.FAILED])
def test_an_invalid_policy_is_to_be_mended_whatever_the_job_does(phase: Phase) -> None:
    assert "mend the invalid policy" in next_steps(known(phase, invalid=("CurationPolicy demo/p: ParseError",)))[0]


def test_a_module_that_does_not_exist_is_named_with_those_that_do_and_once() -> None:
    missing = known(Q, Reason.WAITING_FOR_MODULE)
    assert module_state(missing).endswith("; there are: build, test")
    assert waits_for(missing) == ["CurationModule m to be Ready"]


def test_a_deleted_job_says_until_when_its_sessions_are_cancelled() -> None:
    deleted = known(Phase.RUNNING, metadata={"deletionTimestamp": NOW - timedelta(minutes=3)})
    assert "gives that up in 7m (2030-01-01 12:07:00Z)" in waits_for(deleted)[0]


def test_the_pod_of_a_run_is_named_and_waited_for_no_more() -> None:
    pod = {"name": "u-g1-a1-x", "uid": "p", "jobUID": "j", "node": "node-1"}
    there = known(Phase.SUBMITTED, spec={"executor": {"type": "Job"}}, run={**RUN, "pod": pod})
    (run,) = [part.lines for part in explain(there) if part.key == "run"]
    assert "in pod u-g1-a1-x, on node node-1" in run
    assert not any("the pod of its run" in line for line in waits_for(there))


def test_what_a_job_is_given_from_a_config_map_is_said_before_and_after_it_is_frozen() -> None:
    def given(**status: Any) -> tuple[str, ...]:
        spec = {"inputFrom": INPUT_FROM, "configFrom": {"configMapRef": {"name": "settings"}}}
        (found,) = [part.lines for part in explain(known(Q, spec=spec, **status)) if part.key == "sources"]
        return found

    assert given() == (
        "the input of ConfigMap work, key input.json, which is read when a run is claimed",
        "the configuration of ConfigMap settings, which is read when a run is claimed",
    )
    assert all("as it was at the first attempt" in line for line in given(frozen={"input": {"a": 1}, "config": {}}))
    assert not [part for part in explain(known(Q)) if part.key == "sources"]
