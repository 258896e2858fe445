from __future__ import annotations

import json

from testing.controlplane.connection import Connection
from testing.controlplane.namespaces import create, delete
from tests.integration.cli.running import Objects, Plugin, micro, request

JOBS = "curationjobs"


def rows(text: str) -> list[list[str]]:
    return [[cell for cell in line.split("   ") if cell] for line in text.splitlines()]


def test_approvals_are_listed_with_the_pending_ones_first(plugin: Plugin, objects: Objects) -> None:
    decided = objects.approval(request(path="/a"))
    pending = objects.approval(request(path="/b" * 100), ["one", "two"])
    objects.status("curationapprovals", pending, requesters=["ada", "bob"])
    plugin("approve", decided, "--scope", "Host")
    header, first, second = rows(plugin("approvals").stdout)
    assert [word.strip() for word in header] == [
        "NAME",
        "DECISION",
        "SCOPE",
        "REQUEST",
        "WAITING",
        "ASKED BY",
        "AGE",
        "DECIDED BY",
    ]
    assert [cell.strip() for cell in first][:3] == [pending, "Pending", "<none>"]
    assert len(first[3].strip()) <= 66, "a long URL is cut"
    assert [cell.strip() for cell in first][4:6] == ["2", "ada and 1 more"]
    assert [cell.strip() for cell in second][:3] == [decided, "Approved", "Host"]
    assert second[-1].strip() == "admin"
    wide = plugin("approvals", "-o", "wide").stdout
    assert "/b" * 100 in wide
    assert "one,two" in wide


def test_approvals_can_be_chosen_by_decision_and_printed_for_programs(plugin: Plugin, objects: Objects) -> None:
    decided, pending = (objects.approval(request(path=path)) for path in ("/a", "/b"))
    plugin("deny", decided)
    assert plugin("approvals", "--decision", "pending", "-o", "name").stdout.endswith(f"/{pending}\n")
    listed = json.loads(plugin("approvals", "--decision", "Denied", "-o", "json").stdout)
    assert [(item["kind"], item["metadata"]["name"]) for item in listed["items"]] == [("CurationApproval", decided)]
    assert "managedFields" not in listed["items"][0]["metadata"]


def test_all_namespaces_has_a_column_for_them(installed: Connection, plugin: Plugin, objects: Objects) -> None:
    other = create(installed, "test_all_namespaces")
    try:
        mine, theirs = objects.approval(request()), Objects(installed, other).approval(request())
        lines = plugin("approvals", "-A").stdout.splitlines()
        assert lines[0].startswith("NAMESPACE ")
        assert any(line.split()[:2] == [plugin.namespace, mine] for line in lines)
        assert any(line.split()[:2] == [other, theirs] for line in lines)
        assert theirs in plugin("-n", other, "approvals").stdout, "-n may come before the verb"
        assert theirs in plugin("approvals", f"--namespace={other}").stdout, "and after it"
    finally:
        delete(installed, other)


def test_an_empty_list_says_where_it_searched_and_is_no_failure(plugin: Plugin) -> None:
    result = plugin("approvals")
    assert result.stdout == ""
    assert result.stderr == f"No approvals found in namespace {plugin.namespace}.\n"


def test_runs_shows_the_history_and_the_run_in_flight(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    uid = objects.get(JOBS, "build")["metadata"]["uid"]
    history = [{"id": f"{uid}.g1.a1", "outcome": "Denied", "reason": "Denied", "finishedAt": micro(-60)}]
    run = {**objects.run("build"), "id": f"{uid}.g1.a2", "attempt": 2}
    module = {"name": "m", "digest": "sha256:x"}
    abandoned = [{"id": f"{uid}.g1.a1", "module": module, "since": micro(-60)}]
    objects.status(
        JOBS, "build", phase="Submitted", reason="Resubmitted", history=history, run=run, abandonedRuns=abandoned
    )
    header, first, second = (line.split() for line in plugin("runs", "build", "-o", "wide").stdout.splitlines())
    assert header == ["GENERATION", "ATTEMPT", "OUTCOME", "REASON", "ENDED", "CLEAN-UP", "RUN"]
    assert first[:4] == ["1", "1", "Denied", "Denied"]
    assert first[-2:] == ["pending", f"{uid}.g1.a1"]
    assert second == ["1", "2", "InFlight", "Resubmitted", "<none>", "<none>", f"{uid}.g1.a2"]
    assert [entry["outcome"] for entry in json.loads(plugin("runs", "build", "-o", "json").stdout)] == [
        "Denied",
        "InFlight",
    ]


def test_logs_prints_the_end_of_a_failed_run_without_obeying_it(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    log = "info: starting\nerror: \x1b[2J503\n"
    objects.status(JOBS, "build", phase="Failed", run=objects.run("build", finishedAt=micro(-1), log=log))
    assert plugin("logs", "build").stdout == "info: starting\nerror: \\x1b[2J503\n"


def test_logs_of_a_job_without_any_says_where_they_are(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    assert "has not been run yet" in plugin("logs", "build", code=1).stderr
    run = objects.run("build")
    objects.status(JOBS, "build", phase="Submitted", run=run)
    assert f"run {run['id']} has not ended (the job is Submitted)" in plugin("logs", "build", code=1).stderr
    objects.status(JOBS, "build", phase="Running", run=run, session=objects.session(run))
    said = plugin("logs", "build", code=1).stderr
    assert f"run {run['id']} did not fail" in said
    assert "The status keeps the log of a failed run only" in said
    assert f"-l app.kubernetes.io/name=curation-operator --tail=-1 | grep {run['id']}" in said
    ended = objects.run("build", finishedAt=micro(-1))
    objects.status(JOBS, "build", phase="Failed", session=None, run=ended)
    assert "the module logged nothing" in plugin("logs", "build", code=1).stderr
