"""why: what a person learns about a job in each of its situations, from statuses such as the operator writes."""

from __future__ import annotations

import json

import pytest

from testing.controlplane.connection import Kubectl
from tests.integration.cli.running import DIGEST, Objects, Plugin, condition, micro, request

JOBS = "curationjobs"


def section(screen: str, title: str) -> str:
    """The lines under one heading of the screen."""
    lines: list[str] = []
    inside = False
    for line in screen.splitlines():
        if not line.startswith(" "):
            inside = line.startswith(f"{title}:")
            line = line.partition(":")[2]
        if inside:
            lines.append(line.strip())
    return "\n".join(lines)


def test_a_fresh_job_waits_for_the_operator(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    screen = plugin("why", "build").stdout
    assert "by admin, generation 1" in section(screen, "Job")
    assert "has not seen it yet; see whether it runs:" in section(screen, "Waits for")
    assert "it does not exist in this namespace" in section(screen, "Module")


def test_a_denied_job_shows_the_request_and_the_command_that_frees_it(plugin: Plugin, objects: Objects) -> None:
    objects.module()
    objects.job()
    objects.awaiting("build", request())
    name = objects.approval(request(), ["build"], waiting=3)
    screen = plugin("why", "build").stdout
    assert section(screen, "Phase").startswith("AwaitingApproval (Denied) for ")
    assert section(screen, "Module") == "build-session-message: Ready"
    decision = section(screen, "Decision")
    said = "no policy permits POST https://sessions.example.test:443/sessions?dry=1 (Submit by module"
    assert "operator: denied: no policy permits the call" in decision, "it says something else than the gate now"
    assert f"checked now: denied: {said}" in decision
    assert f"CurationApproval {name} (Pending for " in section(screen, "Waits for")
    assert "3 jobs waiting" in section(screen, "Waits for")
    command = section(screen, "You can").splitlines()[0].partition("#")[0].split()
    assert command[:3] == ["kubectl", "curation", "approve"]
    plugin(*command[2:])
    assert objects.get("curationapprovals", name)["spec"]["decision"] == "Approved"
    screen = plugin("why", "build").stdout
    assert f"is permitted by CurationApproval/{objects.namespace}/{name}" in section(screen, "Decision")
    assert "the operator to queue it: its request is allowed by now" in section(screen, "Waits for")


def test_a_denial_that_would_be_made_again_now_is_shown_once(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    objects.awaiting("build", request())
    [evaluated] = section(plugin("why", "build").stdout, "Decision").splitlines()[1:]
    said = evaluated.removeprefix("checked now: denied: ")
    objects.status(JOBS, "build", conditions=[condition("Authorized", "False", "Denied", said)])
    assert section(plugin("why", "build").stdout, "Decision") == evaluated


def test_a_forbid_beside_an_approval_is_named(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    objects.awaiting("build", request())
    name = objects.approval(request(), ["build"])
    plugin("approve", name)
    objects.policy(
        "freeze", '@id("no-sessions") forbid (principal, action, resource) when { context.method == "POST" };'
    )
    screen = plugin("why", "build").stdout
    policy = f"CurationPolicy/{objects.namespace}/freeze#no-sessions"
    assert f"is forbidden by {policy}" in section(screen, "Decision")
    assert f"more than CurationApproval {name}, which is Approved by admin" in section(screen, "Waits for")
    assert section(screen, "You can").startswith(f"change {policy}")


def test_an_invalid_policy_is_named_with_its_error_and_is_to_be_mended_whatever_the_job_does(
    plugin: Plugin, objects: Objects
) -> None:
    objects.job()
    objects.awaiting("build", request())
    objects.policy("broken", "permit (principal, action, resource")
    screen = plugin("why", "build").stdout
    named = f"invalid: CurationPolicy {objects.namespace}/broken: ParseError: policy 0, line 1"
    decision = section(screen, "Decision")
    assert named in decision
    assert "nothing of this object counts" in decision
    assert f"; CurationPolicy/{objects.namespace}/broken is invalid" in decision
    assert "check-policy" in section(screen, "You can").splitlines()[0]
    assert "kubectl curation approve" in section(screen, "You can")
    run = objects.run("build")
    objects.status(JOBS, "build", phase="Running", reason="SessionSpawned", run=run, session=objects.session(run))
    screen = plugin("why", "build").stdout
    assert named in section(screen, "Decision")
    assert "check-policy" in section(screen, "You can").splitlines()[0]


def test_who_may_not_read_cluster_policies_learns_that_the_answer_leaves_them_out(
    plugin: Plugin, objects: Objects, kubectl: Kubectl
) -> None:
    objects.job()
    objects.awaiting("build", request())
    kubectl("create", "rolebinding", "v", "--clusterrole=curation-viewer", "--user=vic")
    screen = plugin("why", "build", user="vic", groups=("people",)).stdout
    note = section(screen, "Note")
    assert "you may not list clustercurationpolicies: cluster policies are left out" in note
    assert "you may not list events" in note
    assert "checked now: denied" in section(screen, "Decision")


@pytest.mark.parametrize(
    ("status", "waits", "step"),
    [
        (
            {"phase": "Queued", "reason": "Backoff", "retryAt": 7200},
            "the next attempt in 1",
            "kubectl curation logs build",
        ),
        (
            {"phase": "Queued", "reason": "WaitingForModule"},
            "CurationModule build-session-message to be Ready",
            "kubectl describe",
        ),
        ({"phase": "Queued", "reason": "Suspended"}, "spec.suspend to become false", "kubectl curation resume build"),
        ({"phase": "Failed", "reason": "EgressRefused"}, "", "change the URL"),
        ({"phase": "Completed", "reason": "Completed"}, "", "kubectl curation rerun build"),
    ],
    ids=lambda value: value.get("reason") if isinstance(value, dict) else None,
)
def test_each_reason_says_what_comes_next(
    plugin: Plugin, objects: Objects, status: dict[str, object], waits: str, step: str
) -> None:
    objects.job()
    if isinstance(delay := status.get("retryAt"), int):
        status = {**status, "retryAt": micro(delay)}
    objects.status(JOBS, "build", phaseSince=micro(-5), run=objects.run("build", retries=1), **status)
    screen = plugin("why", "build").stdout
    assert section(screen, "Waits for").startswith(waits)
    assert bool(section(screen, "Waits for")) is bool(waits)
    assert section(screen, "You can").startswith(step)


def test_a_module_that_is_not_ready_says_why(plugin: Plugin, objects: Objects) -> None:
    objects.module()
    failed = condition("Ready", "False", "DigestMismatch", "the bytes have another digest")
    objects.status("curationmodules", "build-session-message", conditions=[failed])
    objects.job()
    objects.status(JOBS, "build", phase="Queued", reason="WaitingForModule", phaseSince=micro(-5))
    screen = plugin("why", "build").stdout
    assert "DigestMismatch: the bytes have another digest" in section(screen, "Module")
    assert screen.count("the bytes have another digest") == 1


def test_a_module_that_does_not_exist_is_named_once_with_those_that_do(plugin: Plugin, objects: Objects) -> None:
    objects.module("other")
    objects.module("another")
    objects.job()
    objects.status(JOBS, "build", phase="Queued", reason="WaitingForModule", phaseSince=micro(-5))
    screen = plugin("why", "build").stdout
    assert section(screen, "Module").endswith("; there are: another, other")
    assert screen.count("does not exist") == 1
    assert section(screen, "Waits for") == "CurationModule build-session-message to be Ready"


def test_sessions_and_runs_to_clean_are_shown(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    run = objects.run("build")
    module = {"name": "build-session-message", "digest": DIGEST}
    abandoned = [
        {"id": "u.g1.a1", "module": module, "since": micro(-30), "session": {"id": "session-7"}},
        {"id": "u.g1.a2", "module": module, "since": micro(-30)},
    ]
    session = {"id": "session-9", "url": "https://s/9", "runID": run["id"], "spawnedAt": micro(-20)}
    objects.status(
        JOBS, "build", phase="Running", phaseSince=micro(-20), run=run, session=session, abandonedRuns=abandoned
    )
    screen = plugin("why", "build").stdout
    assert "session-9 https://s/9" in section(screen, "Session")
    assert "held by operator-1/abc" in section(screen, "Run")
    assert "run u.g1.a1: session session-7 is still to be cancelled" in section(screen, "Clean-up")
    assert "run u.g1.a2: whatever it has created is still to be cancelled" in section(screen, "Clean-up")
    assert "deadline in" in section(screen, "Waits for")
    assert "spec.timeouts.runningSeconds: 7200" in section(screen, "Waits for")


def test_recent_events_are_shown_with_their_count(plugin: Plugin, objects: Objects, kubectl: Kubectl) -> None:
    job = objects.job()
    regarding = {
        "apiVersion": "curation.dev/v1alpha1",
        "kind": "CurationJob",
        "name": "build",
        "namespace": objects.namespace,
        "uid": job["metadata"]["uid"],
    }
    for index, reason in enumerate(("Submitted", "RetryScheduled")):
        event = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"e{index}", "namespace": objects.namespace},
            "eventTime": micro(-60 + index),
            "reason": reason,
            "note": "HTTP 503",
            "action": "Run",
            "type": "Warning",
            "regarding": regarding,
            "reportingController": "curation-operator",
            "reportingInstance": "x",
            "series": {"count": 4, "lastObservedTime": micro(-10 + index)},
        }
        kubectl("create", "-f", "-", input=json.dumps(event))
    events = section(plugin("why", "build").stdout, "Events").splitlines()
    assert [event.split()[3] for event in events] == ["Submitted", "RetryScheduled"]
    assert all("Warning" in event and "(x4)" in event and "HTTP 503" in event for event in events)


def test_a_terminal_is_not_steered_by_what_a_service_answered(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    objects.status(
        JOBS, "build", phase="Failed", reason="ModuleError", phaseSince=micro(-5), message="\x1b]0;owned\x07 done"
    )
    result = plugin("why", "build")
    assert "\x1b" not in result.stdout
    assert r"\x1b]0;owned\x07 done" in result.stdout


def test_why_as_json_has_the_same_lines(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    objects.awaiting("build", request())
    document = json.loads(plugin("why", "build", "-o", "json").stdout)
    assert (document["phase"], document["reason"]) == ("AwaitingApproval", "Denied")
    assert document["run"]["attempt"] == 1
    assert any("checked now: denied" in line for line in document["decision"])
    assert "approve" in document["next"][0]


def test_an_edit_that_the_operator_has_not_seen_is_shown(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    objects.status(JOBS, "build", phase="Completed", phaseSince=micro(-5))
    objects.patch(JOBS, "build", {"spec": {"rerun": "1"}})
    assert "has acted on generation 1 and not yet on 2" in section(plugin("why", "build").stdout, "Waits for")
