"""The shipped module, running in wasmtime against the real session service.

Matrix: Submit with and without a workspace, and what the message is made of; Observe in each state of a session;
Cancel of a session and of a run, in each state.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from wasmtime import Engine
from wasmtime.component import Component, ComponentInstanceType, FuncType

from testing.sessions import SessionService
from tests.unit.guest_harness import COMPONENT, UID, Harness


@pytest.fixture
async def service() -> AsyncIterator[SessionService]:
    async with SessionService() as service:
        yield service


@pytest.fixture
def job(service: SessionService) -> Harness:
    return Harness({"api_url": service.url})


async def spawn(job: Harness) -> dict[str, Any]:
    ok, result = await job.run("Submit")
    assert ok, result
    job.calls.clear()
    return dict(result["session"])


def test_the_component_imports_only_the_host_and_exports_only_run() -> None:
    engine = Engine()
    kind = Component.from_file(engine, str(COMPONENT)).type
    imports = {name: item.ty for name, item in kind.imports(engine).items()}
    assert list(imports) == ["curation:guest/host@0.1.0"]
    host = imports["curation:guest/host@0.1.0"]
    assert isinstance(host, ComponentInstanceType)
    assert {name for name, _ in host.exports(engine).items()} == {"http-call", "log"}
    exports = {name: item.ty for name, item in kind.exports(engine).items()}
    assert list(exports) == ["run"]
    assert isinstance(exports["run"], FuncType)


async def test_submit_makes_a_workspace_and_a_running_session(service: SessionService, job: Harness) -> None:
    ok, result = await job.run("Submit")
    [session] = service.live_sessions()
    assert (ok, result) == (
        True,
        {"action": "SessionSpawned", "session": {"id": session.id, "url": f"{service.url}/sessions/{session.id}"}},
    )
    assert (session.state, session.message, session.title) == ("running", "hello", "team-a/clean")
    assert [session.workspace] == service.live_workspaces()
    assert session.settings == {
        "job": {"namespace": "team-a", "name": "clean", "uid": UID, "labels": {"team": "a"}},
        "run": {"id": job.run_id, "generation": 3, "attempt": 1},
        "input": {"message": "hello"},
    }
    assert job.calls == [
        f"POST {service.url}/workspaces",
        f"POST {service.url}/sessions",
        f"POST {service.url}/sessions/{session.id}/configure",
    ]
    assert [entry.caller.run_id for entry in service.log()] == [job.run_id] * 3
    assert [level for level, _ in job.logged] == ["info"] * 3
    assert job.logged[1] == ("info", f"created session {session.id} in workspace {session.workspace}")


@pytest.mark.parametrize("where", ["input", "config"])
async def test_submit_uses_a_workspace_that_is_given(service: SessionService, job: Harness, where: str) -> None:
    await spawn(job)
    [workspace] = service.live_workspaces()
    job.input = {"message": "again"}
    (job.input if where == "input" else job.config)["workspace"] = workspace
    await spawn(job)
    assert [session.workspace for session in service.sessions()] == [workspace, workspace]
    assert service.live_workspaces() == [workspace]


async def test_the_workspace_of_the_input_wins_over_that_of_the_config(service: SessionService, job: Harness) -> None:
    job.config["workspace"] = "of-config"
    job.input["workspace"] = "of-input"
    ok, error = await job.run("Submit")
    assert not ok
    assert error["message"] == f"POST {service.url}/sessions answered 404: there is no workspace of-input"


async def test_a_slash_at_the_end_of_the_api_url_changes_nothing(service: SessionService, job: Harness) -> None:
    job.config["api_url"] += "/"
    await spawn(job)
    assert service.log()[0].path == "/workspaces"


@pytest.mark.parametrize("blanks", [(" ", ""), ("", "\n"), ("\t", "/ ")])
async def test_blanks_around_the_api_url_change_nothing(
    service: SessionService, job: Harness, blanks: tuple[str, str]
) -> None:
    job.config["api_url"] = blanks[0] + job.config["api_url"] + blanks[1]
    await spawn(job)
    assert service.log()[0].path == "/workspaces"


LONG = "9" * 60


@pytest.mark.parametrize("number", ["0", "7", "9007199254740993", "18446744073709551616", LONG])
async def test_an_id_that_is_a_number_is_given_back_as_it_came(job: Harness, number: str) -> None:
    job.answer = f'{{"id": {number}}}'
    ok, result = await job.run("Submit")
    assert (ok, result["session"]) == (True, {"id": number})
    workspace, session, configure = job.asked
    assert f'"workspace":{number},' in session["body"] or f'"workspace":{number}}}' in session["body"]
    assert configure["url"] == f"{job.config['api_url']}/sessions/{number}/configure"
    assert workspace["url"] == f"{job.config['api_url']}/workspaces"


async def test_a_workspace_of_the_input_may_be_a_number(job: Harness) -> None:
    job.answer, job.input = '{"id": 1}', {"message": "m", "workspace": 9007199254740993}
    assert (await job.run("Submit"))[0]
    assert json.loads(job.asked[0]["body"])["workspace"] == 9007199254740993


@pytest.mark.parametrize("number", ["18446744073709551616", f"-{LONG}", f"0.{LONG}1", "1.0", "1e+400"])
async def test_numbers_of_any_length_pass_unchanged(job: Harness, number: str) -> None:
    job.answer = f'{{"id": "s", "state": "completed", "output": {{"n": {number}}}}}'
    context = json.dumps(job.context("Submit")).replace('"hello"', f'"hello", "n": {number}')
    await job.run_text(context)
    assert f'"n":{number}' in job.asked[-1]["body"]
    assert f'{{\\"n\\":{number}}}' in job.asked[1]["body"]
    ok, _ = await job.run("Observe", {"id": "s"})
    assert ok
    assert f'"n":{number}' in job.said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"message": "Clean it."}, "Clean it."),
        ({"message": "Clean it.", "title": "T"}, "Clean it."),
        ({"dataset": "s3://set"}, "Dataset: s3://set"),
        ({"dataset": {"b": 1, "a": [2]}}, 'Dataset: {"a":[2],"b":1}'),
        ({"instructions": "Be kind."}, "Instructions:\nBe kind."),
        ({"instructions": ["Look.", "Fix."]}, "Instructions:\n1. Look.\n2. Fix."),
        (
            {"message": "Clean it.", "dataset": "set", "instructions": ["Look."], "rows": 5, "lang": "de", "x": None},
            'Clean it.\n\nDataset: set\n\nInstructions:\n1. Look.\n\nFurther input: {"lang":"de","rows":5}',
        ),
        ({"message": 'Zeile «ü» \u2028 \U0001f9ea " \\ \u0000'}, 'Zeile «ü» \u2028 \U0001f9ea " \\ \u0000'),
    ],
)
async def test_the_message_is_made_of_the_input(
    service: SessionService, job: Harness, given: dict[str, Any], message: str
) -> None:
    job.input = given
    await spawn(job)
    [session] = service.sessions()
    assert session.message == message
    assert session.title == given.get("title", "team-a/clean")


async def test_the_agent_of_the_config_is_named(service: SessionService, job: Harness) -> None:
    job.config["agent"] = "curator-2"
    await spawn(job)
    assert [session.agent for session in service.sessions()] == ["curator-2"]


async def test_observe_reports_a_running_session_and_its_progress(service: SessionService, job: Harness) -> None:
    session = await spawn(job)
    assert await job.run("Observe", session) == (True, {"action": "Running"})
    service.report(session["id"], {"percent": 40})
    assert await job.run("Observe", session) == (True, {"action": "Running", "progress": {"percent": 40}})
    service.report(session["id"], "half")
    assert await job.run("Observe", session) == (True, {"action": "Running", "progress": {"result": "half"}})
    assert set(job.calls) == {f"GET {service.url}/sessions/{session['id']}"}


@pytest.mark.parametrize(
    ("output", "expected"),
    [({"rows": 7}, {"rows": 7}), (None, {}), ("done", {"result": "done"}), ([1], {"result": [1]})],
)
async def test_observe_reports_the_output_of_a_completed_session(
    service: SessionService, job: Harness, output: Any, expected: Any
) -> None:
    session = await spawn(job)
    service.complete(session["id"], output)
    assert await job.run("Observe", session) == (True, {"action": "Completed", "output": expected})


@pytest.mark.parametrize("reason", ["out of rows", None])
async def test_observe_reports_why_a_session_failed(service: SessionService, job: Harness, reason: str | None) -> None:
    session = await spawn(job)
    service.fail(session["id"], reason)
    expected = reason or f"The session {session['id']} failed and gave no reason."
    assert await job.run("Observe", session) == (True, {"action": "Failed", "reason": expected})


async def test_observe_says_of_a_cancelled_session_that_it_failed(service: SessionService, job: Harness) -> None:
    session = await spawn(job)
    service.cancel(session["id"])
    expected = f"The session {session['id']} was cancelled at the session service."
    assert await job.run("Observe", session) == (True, {"action": "Failed", "reason": expected})


async def test_observe_says_of_an_unknown_session_that_it_is_gone(job: Harness) -> None:
    expected = "The session no/such is gone: the session service answered 404."
    assert await job.run("Observe", {"id": "no/such"}) == (True, {"action": "Failed", "reason": expected})
    assert job.calls[0].endswith("/sessions/no%2Fsuch")


async def test_cancel_ends_exactly_the_session_that_is_given(service: SessionService, job: Harness) -> None:
    first, second = await spawn(job), await spawn(job)
    assert await job.run("Cancel", first) == (True, {"action": "Cancelled"})
    assert [session.id for session in service.live_sessions()] == [second["id"]]
    assert service.sessions()[0].state == "cancelled"
    assert job.calls == [f"POST {service.url}/sessions/{first['id']}/cancel"]


async def test_cancel_without_a_session_ends_all_the_run_has_made_and_may_make(
    service: SessionService, job: Harness
) -> None:
    await spawn(job)
    other = Harness(job.config, attempt=2)
    kept = await spawn(other)
    assert await job.run("Cancel") == (True, {"action": "Cancelled"})
    assert job.calls == [f"POST {service.url}/runs/{job.run_id}/cancel"]
    assert [session.id for session in service.live_sessions()] == [kept["id"]]
    ok, error = await job.run("Submit")
    assert not ok
    assert error["message"] == f"POST {service.url}/workspaces answered 410: the run {job.run_id} was cancelled"


async def test_cancel_takes_no_input(service: SessionService, job: Harness) -> None:
    session = await spawn(job)
    job.input = {}
    assert await job.run("Cancel", session) == (True, {"action": "Cancelled"})
    assert service.live_sessions() == []


@pytest.mark.parametrize("ended", ["complete", "fail", "cancel"])
async def test_cancel_of_an_ended_session_succeeds(service: SessionService, job: Harness, ended: str) -> None:
    session = await spawn(job)
    getattr(service, ended)(session["id"])
    assert await job.run("Cancel", session) == (True, {"action": "Cancelled"})


@pytest.mark.parametrize("status", [404, 409, 410])
async def test_a_cancel_that_finds_nothing_to_cancel_succeeds(
    service: SessionService, job: Harness, status: int
) -> None:
    service.add_rule("fail", status=status)
    assert await job.run("Cancel", {"id": "s"}) == (True, {"action": "Cancelled"})
    assert await job.run("Cancel") == (True, {"action": "Cancelled"})
