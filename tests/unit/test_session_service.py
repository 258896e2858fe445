"""The session service as the module and a person see it: workspaces, sessions, runs, the log, the credential.

Matrix: what is created and how it ends; what an ended, unknown or cancelled thing answers; bad bodies; run ids.
"""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from testing.sessions import SessionService

JOB = "4a1f0c6e-0000-4000-8000-000000000001"
RUN = f"{JOB}.g3.a1"
HEADERS = {
    "Curation-Run-Id": RUN,
    "Curation-Generation": "3",
    "Curation-Attempt": "1",
    "Curation-Trigger": "Submit",
}


class Client:
    """Calls the service over HTTP and returns status and JSON."""

    def __init__(self, service: SessionService, http: aiohttp.ClientSession) -> None:
        self._service = service
        self._http = http

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._http.request(method, self._service.url + path, json=body, headers=sent) as answer:
            return answer.status, await answer.json()

    async def session(self, headers: dict[str, str] = HEADERS) -> str:
        _, workspace = await self.call("POST", "/workspaces", {}, **headers)
        body = {"workspace": workspace["id"], "message": "hello"}
        status, session = await self.call("POST", "/sessions", body, **headers)
        assert status == 201
        return str(session["id"])


@pytest.fixture
async def service() -> AsyncIterator[SessionService]:
    async with SessionService() as service:
        yield service


@pytest.fixture
async def client(service: SessionService) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as http:
        yield Client(service, http)


async def test_a_session_is_created_configured_and_completed(client: Client) -> None:
    status, workspace = await client.call("POST", "/workspaces", {"name": "team/a"}, **HEADERS)
    assert (status, workspace["name"]) == (201, "team/a")
    body = {"workspace": workspace["id"], "message": "clean the set", "title": "Clean", "agent": "curator"}
    status, session = await client.call("POST", "/sessions", body, **HEADERS)
    assert (status, session["state"], session["runID"], session["job"]) == (201, "created", RUN, JOB)
    path = f"/sessions/{session['id']}"
    assert session["url"].endswith(path)

    status, session = await client.call("POST", f"{path}/configure", {"model": "small"})
    assert (status, session["state"], session["settings"]) == (200, "running", {"model": "small"})
    status, session = await client.call("POST", f"{path}/progress", {"percent": 40})
    assert (status, session["progress"]) == (200, {"percent": 40})
    status, session = await client.call("POST", f"{path}/complete", {"output": {"rows": 7}})
    assert (status, session["state"], session["output"]) == (200, "completed", {"rows": 7})
    status, session = await client.call("GET", path)
    assert (status, session["state"], session["message"], session["agent"]) == (
        200,
        "completed",
        "clean the set",
        "curator",
    )


async def test_a_failed_session_keeps_its_reason(client: Client) -> None:
    session = await client.session()
    await client.call("POST", f"/sessions/{session}/fail", {"reason": "out of rows"})
    _, answer = await client.call("GET", f"/sessions/{session}")
    assert (answer["state"], answer["reason"]) == ("failed", "out of rows")


@pytest.mark.parametrize("verb", ["configure", "progress", "complete", "fail"])
async def test_an_ended_session_takes_nothing_more(client: Client, verb: str) -> None:
    session = await client.session()
    await client.call("POST", f"/sessions/{session}/cancel")
    status, answer = await client.call("POST", f"/sessions/{session}/{verb}", {})
    assert status == 409
    assert answer["error"]["message"] == f"the session {session} is cancelled"


async def test_the_cancel_of_an_ended_session_leaves_it_as_it_ended(client: Client) -> None:
    session = await client.session()
    await client.call("POST", f"/sessions/{session}/complete", {"output": 1})
    status, answer = await client.call("POST", f"/sessions/{session}/cancel")
    assert (status, answer["state"], answer["output"]) == (200, "completed", 1)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/sessions/none"),
        ("POST", "/sessions/none/cancel"),
        ("POST", "/sessions/none/configure"),
        ("GET", "/nothing"),
        ("POST", "/control/rules/none/release"),
    ],
)
async def test_what_is_unknown_answers_404_in_json(client: Client, method: str, path: str) -> None:
    status, answer = await client.call(method, path)
    assert status == 404
    assert answer["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({"workspace": "w"}, 422, "message"),
        ({"workspace": "w", "message": ""}, 422, "message"),
        ({"workspace": 5, "message": "m"}, 422, "workspace"),
        ({"workspace": "w", "message": "m", "titel": "x"}, 422, "titel"),
        ({"workspace": "w", "message": "m"}, 404, "workspace w"),
        (["list"], 400, "object"),
    ],
)
async def test_a_bad_session_is_refused_naming_the_field(client: Client, body: Any, status: int, named: str) -> None:
    got, answer = await client.call("POST", "/sessions", body)
    assert got == status
    assert named in answer["error"]["message"]


async def test_sessions_are_listed_by_run_job_state_and_life(service: SessionService, client: Client) -> None:
    first = await client.session()
    second = await client.session({**HEADERS, "Curation-Run-Id": f"{JOB}.g4.a2"})
    other = await client.session({**HEADERS, "Curation-Run-Id": "other.g1.a1"})
    service.complete(first)

    async def ids(query: str) -> list[str]:
        return [session["id"] for session in (await client.call("GET", f"/sessions{query}"))[1]]

    assert await ids("") == [first, second, other]
    assert await ids(f"?run={RUN}") == [first]
    assert await ids(f"?job={JOB}") == [first, second]
    assert await ids("?state=completed") == [first]
    assert await ids("?live=true") == [second, other]
    assert await ids("?live=false") == [first]
    assert [s.id for s in service.live_sessions(job=JOB)] == [second]
    assert [s.id for s in service.live_sessions(run="other.g1.a1")] == [other]


async def test_the_cancel_of_a_run_ends_its_sessions_and_workspaces_and_no_others(
    service: SessionService, client: Client
) -> None:
    session = await client.session()
    other = await client.session({**HEADERS, "Curation-Run-Id": f"{JOB}.g3.a2"})
    status, answer = await client.call("POST", f"/runs/{RUN}/cancel", {})
    assert status == 200
    assert answer["sessions"] == [session]
    assert len(answer["workspaces"]) == 1
    assert [s.id for s in service.live_sessions()] == [other]
    assert service.live_workspaces() == [service.sessions(run=f"{JOB}.g3.a2")[0].workspace]
    again = await client.call("POST", f"/runs/{RUN}/cancel", {})
    assert again == (200, {"runID": RUN, "sessions": [], "workspaces": []})


@pytest.mark.parametrize("path", ["/workspaces", "/sessions"])
async def test_a_create_of_a_cancelled_run_answers_410(service: SessionService, client: Client, path: str) -> None:
    workspace = (await client.call("POST", "/workspaces", {}))[1]["id"]
    assert (await client.call("POST", f"/runs/{RUN}/cancel", {}))[0] == 200
    body = {"workspace": workspace, "message": "m"} if path == "/sessions" else {}
    status, answer = await client.call("POST", path, body, **HEADERS)
    assert status == 410
    assert answer["error"]["message"] == f"the run {RUN} was cancelled"
    assert service.sessions() == []
    assert service.live_workspaces() == [workspace]
    later = {**HEADERS, "Curation-Run-Id": f"{JOB}.g3.a2"}
    assert (await client.call("POST", path, body, **later))[0] == 201


async def test_the_log_has_each_call_by_run_in_order_of_arrival(client: Client) -> None:
    session = await client.session()
    await client.call("GET", f"/sessions/{session}", Curation_Run_Id="other.g1.a1", Authorization="Bearer secret")
    _, entries = await client.call("GET", f"/log?run={RUN}")
    assert [(e["method"], e["path"], e["status"]) for e in entries] == [
        ("POST", "/workspaces", 201),
        ("POST", "/sessions", 201),
    ]
    assert {(e["runID"], e["job"], e["generation"], e["attempt"], e["trigger"]) for e in entries} == {
        (RUN, JOB, 3, 1, "Submit")
    }
    assert entries[0]["time"] <= entries[0]["answered"] <= entries[1]["time"] <= entries[1]["answered"]
    _, entries = await client.call("GET", "/log?job=other")
    assert [e["number"] for e in entries] == [3]
    assert entries[0]["headers"]["authorization"] == "redacted"
    assert entries[0]["headers"]["curation-run-id"] == "other.g1.a1"


async def test_calls_without_the_required_header_answer_401_and_do_nothing() -> None:
    async with SessionService(require_header=("X-Key", "k3y")) as service, aiohttp.ClientSession() as http:
        client = Client(service, http)
        assert (await client.call("POST", "/workspaces", {}))[0] == 401
        assert (await client.call("POST", "/workspaces", {}, X_Key="wrong"))[0] == 401
        assert service.live_workspaces() == []
        assert (await client.call("GET", "/healthz")) == (200, {"status": "ok"})
        assert (await client.call("POST", "/workspaces", {}, X_Key="k3y"))[0] == 201
        assert [entry.headers.get("x-key") for entry in service.log()] == [None, "redacted", "redacted"]


async def test_session_ids_are_readable_and_not_to_be_guessed(client: Client) -> None:
    ids = {await client.session() for _ in range(20)}
    assert len(ids) == 20
    for identifier in ids:
        kind, _, _, random = identifier.split("-")
        assert kind == "session"
        assert len(bytes.fromhex(random)) == 8
