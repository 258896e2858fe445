"""The shipped module's errors: a sentence that names the field or the call, and the class that decides on a retry.

Matrix: bad config, input and context; each code of the host; statuses of the service at each call; answers that make
no sense.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from testing.sessions import SessionService
from tests.unit.guest_harness import Harness


@pytest.fixture
async def service() -> AsyncIterator[SessionService]:
    async with SessionService() as service:
        yield service


@pytest.fixture
def job(service: SessionService) -> Harness:
    return Harness({"api_url": service.url})


@pytest.mark.parametrize("trigger", ["Submit", "Observe", "Cancel"])
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, "config.api_url is missing: set spec.config.api_url"),
        ({"api_url": ""}, "config.api_url is missing: set spec.config.api_url"),
        ({"api_url": 5}, "config.api_url must be a string; found a number."),
        (
            {"api_url": "sessions.example"},
            "config.api_url must start with http:// or https://; found sessions.example.",
        ),
        *(
            ({"api_url": url}, "config.api_url must be a base URL alone, without blanks, a query (?) or a fragment (#)")
            for url in (
                "http://x/v1?key=a",
                "http://x/v1?",
                "http://x/#a",
                "http://x/a b",
                "http://x/\ta",
                "http://x/\n/a",
            )
        ),
    ],
)
async def test_a_bad_api_url_is_named_and_nothing_is_called(
    trigger: str, config: dict[str, Any], expected: str
) -> None:
    job = Harness(config)
    ok, error = await job.run(trigger, {"id": "s"})
    assert not ok
    assert error["message"].startswith(expected)
    assert error["class"] == "ModuleError"
    assert job.calls == []
    assert job.logged == [("error", error["message"])]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "input.message is missing"),
        ({"title": "T", "rows": 5}, "input.message is missing"),
        ({"instructions": []}, "input.message is missing"),
        ({"message": ["a"]}, "input.message must be a string; found a list."),
        ({"message": "m", "title": {}}, "input.title must be a string; found an object."),
        ({"message": "m", "workspace": True}, "input.workspace must be a string; found a boolean."),
        ({"instructions": 5}, "input.instructions must be a string or a list of strings; found a number."),
        ({"instructions": ["a", None]}, "input.instructions must be a string or a list of strings; found null."),
    ],
)
async def test_a_bad_input_is_named_and_makes_nothing(
    service: SessionService, job: Harness, given: dict[str, Any], expected: str
) -> None:
    job.input = given
    ok, error = await job.run("Submit")
    assert not ok
    assert error["message"].startswith(expected)
    assert error["class"] == "ModuleError"
    assert service.log() == []


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ("", "The context is not JSON."),
        ("[", "The context is not JSON."),
        ("{}", "trigger is missing."),
        ('{"trigger": "Dance"}', "trigger is Dance; this module knows Submit, Observe and Cancel."),
        ('{"trigger": 1}', "trigger must be a string; found a number."),
        ('{"trigger": "Observe", "config": {"api_url": "http://x"}}', "session.id is missing."),
        ('{"trigger": "Cancel", "config": {"api_url": "http://x"}}', "run.id is missing."),
    ],
)
async def test_a_context_that_makes_no_sense_is_an_error_and_no_trap(job: Harness, context: str, expected: str) -> None:
    assert await job.run_text(context) == (False, {"message": expected, "class": "ModuleError"})
    assert job.calls == []


@pytest.mark.parametrize("trigger", ["Submit", "Observe", "Cancel"])
@pytest.mark.parametrize(
    ("code", "failure", "expected"),
    [
        ("denied", "Denied", "was denied by policy"),
        ("unavailable", "HTTPUnavailable", "got no answer"),
        ("limit", "LimitExceeded", "went over a limit"),
        ("invalid", "EgressRefused", "was refused as a request that no policy can allow"),
        ("cancelled", "ModuleError", "was not sent, because this run has been superseded"),
        ("new-code", "ModuleError", "failed"),
    ],
)
async def test_each_refusal_of_the_host_has_its_class_and_ends_the_run(
    job: Harness, trigger: str, code: str, failure: str, expected: str
) -> None:
    job.refuse = {"code": code, "message": "says the host."}
    ok, error = await job.run(trigger, {"id": "s"})
    assert len(job.calls) == 1
    assert (ok, error) == (False, {"message": f"{job.calls[0]} {expected}: says the host.", "class": failure})


@pytest.mark.parametrize("path", ["/workspaces", "/sessions", "/sessions/*/configure"])
@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (400, "ModuleError"),
        (401, "ModuleError"),
        (404, "ModuleError"),
        (408, "HTTPUnavailable"),
        (410, "ModuleError"),
        (429, "HTTPUnavailable"),
        (500, "HTTPUnavailable"),
        (503, "HTTPUnavailable"),
    ],
)
async def test_a_submit_that_the_service_refuses_names_the_call_and_the_status(
    service: SessionService, job: Harness, path: str, status: int, failure: str
) -> None:
    service.add_rule("fail", method="POST", path=path, status=status)
    ok, error = await job.run("Submit")
    expected = f"{job.calls[-1]} answered {status}: the session service was told to fail"
    assert (ok, error) == (False, {"message": expected, "class": failure})
    assert len(service.sessions()) == (1 if path.endswith("configure") else 0)


@pytest.mark.parametrize(("status", "failure"), [(500, "HTTPUnavailable"), (403, "ModuleError")])
@pytest.mark.parametrize("trigger", ["Observe", "Cancel"])
async def test_an_unanswered_observe_or_cancel_is_an_error_and_no_verdict(
    service: SessionService, job: Harness, trigger: str, status: int, failure: str
) -> None:
    service.add_rule("fail", status=status)
    ok, error = await job.run(trigger, {"id": "s"})
    assert (ok, error["class"]) == (False, failure)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_lost_answer_is_unavailable(service: SessionService, job: Harness, when: Any) -> None:
    service.add_rule("drop", when, path="/sessions")
    ok, error = await job.run("Submit")
    assert (ok, error["class"]) == (False, "HTTPUnavailable")
    assert error["message"].startswith(f"POST {service.url}/sessions got no answer: ")
    assert len(service.live_sessions()) == (1 if when == "after" else 0)


async def test_a_success_that_is_not_json_is_a_module_error(service: SessionService, job: Harness) -> None:
    service.add_rule("malformed", path="/workspaces")
    expected = f"POST {service.url}/workspaces answered 201 with a body that is not JSON."
    assert await job.run("Submit") == (False, {"message": expected, "class": "ModuleError"})


async def test_a_malformed_answer_to_configure_does_not_undo_the_session(service: SessionService, job: Harness) -> None:
    service.add_rule("malformed", path="/sessions/*/configure")
    ok, result = await job.run("Submit")
    assert (ok, result["session"]["id"]) == (True, service.live_sessions()[0].id)


@pytest.mark.parametrize(
    "body", ["[]", '"text"', "5", "null", "{}", '{"id": true}', '{"id": [5]}', '{"id": ""}', '{"state": "asleep"}']
)
async def test_an_answer_that_makes_no_sense_is_a_module_error_and_no_trap(job: Harness, body: str) -> None:
    job.answer = body
    expected = f"{job.config['api_url']}/workspaces answered without an id."
    assert await job.run("Submit") == (False, {"message": f"POST {expected}", "class": "ModuleError"})
    ok, error = await job.run("Observe", {"id": "s"})
    state = "asleep" if "asleep" in body else ""
    assert (ok, error["class"]) == (False, "ModuleError")
    assert error["message"].endswith(f'/sessions/s answered a session in the unknown state "{state}".')


async def test_a_link_that_is_too_long_for_the_status_is_left_out(job: Harness) -> None:
    job.answer = '{"id": "s", "url": "https://x/' + "a" * 2048 + '"}'
    assert await job.run("Submit") == (True, {"action": "SessionSpawned", "session": {"id": "s"}})
