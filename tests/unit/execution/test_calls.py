"""What a call sends, what it answers, and what it is refused for.

| call                                  | code        | leaves |
|---------------------------------------|-------------|--------|
| permitted                             | (response)  | yes    |
| no policy permits it                  | denied      | no     |
| revoked while the connection is made  | denied      | no     |
| expires while the connection is made  | denied      | no     |
| address floor, malformed URL, headers | invalid     | no     |
| malformed document                    | invalid     | no     |
| nothing listens, hangs up             | unavailable | no/yes |
| response too large                    | limit       | yes    |
| too many, too large                   | limit       | no     |
"""

import json
import threading
from datetime import timedelta
from typing import Any

import pytest

from curation.api.approval import Scope
from curation.api.contract import contract_schemas
from curation.authz.grant import Grant
from curation.egress.client import OutboundResponse
from curation.egress.errors import Unavailable
from curation.execution import calls
from curation.execution.guest_calls import LONG_BYTES
from curation.execution.origin_credentials import OriginCredential
from curation.lifecycle.outcome import Calls, Completed, Denied, Failed, FailureClass, Report, Trigger
from curation.wasm.limits import MAX_REQUEST_BYTES, Limits
from tests.guests import hostile
from tests.guests.wat import Script
from tests.unit.egress.raw_server import answering, raw_server
from tests.unit.execution.conftest import NAMESPACE, PERMIT, Rig, ended

DONE = {"action": "Completed", "output": {}}


def post(url: str, **more: Any) -> dict[str, Any]:
    return {"method": "POST", "url": url, "headers": {}, "body": "{}", **more}


def failed(report: Report) -> Failed:
    assert isinstance(report.result, Failed), report.result
    return report.result


async def test_a_permitted_call_reaches_the_peer_as_the_module_wrote_it(rig: Rig) -> None:
    request = post(rig.peer.url("/sessions"), headers={"X-Mine": "yes"}, body='{"a": "ü"}')
    report = await rig.run(Script().call(request).ok(DONE))
    assert report.result == Completed({})
    assert report.calls == Calls(left=1, answered=1, allowed=1)
    seen = rig.peer.seen[0]
    assert (seen.method, seen.path, seen.body, seen.headers["X-Mine"]) == ("POST", "/sessions", '{"a": "ü"}', "yes")


async def test_what_the_module_gets_is_made_outside_of_the_event_loop(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a body that is as long as it may be that takes a second."""
    made = calls._document
    threads: list[threading.Thread] = []

    def make(*arguments: Any) -> str:
        threads.append(threading.current_thread())
        return made(*arguments)

    monkeypatch.setattr(calls, "_document", make)
    long = rig.peer.url(f"/large?size={LONG_BYTES + 1}")
    report = await rig.run(Script().call(post(long)).ok(DONE))
    assert report.result == Completed({})
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


async def test_the_module_gets_status_headers_and_body(rig: Rig) -> None:
    script = Script().call({"method": "get", "url": rig.peer.url("/binary")}).log_answer().ok(DONE)
    report = await rig.run(script)
    answer = json.loads(report.log.removeprefix("info: "))
    assert answer["status"] == 200
    assert answer["headers"]["x-one"] == "1"
    assert answer["body"] == "\ufffd\ufffd!"
    assert rig.peer.seen[0].method == "GET"
    assert rig.notes.calls == [("allowed", "200")]


@pytest.mark.parametrize(("path", "code"), [("http://10.0.0.1/", "invalid"), ("http://[::1/", "invalid")])
async def test_the_module_gets_an_error_with_its_code(rig: Rig, path: str, code: str) -> None:
    report = await rig.run(Script().call(post(path)).log_answer().ok(DONE))
    answer = json.loads(report.log.removeprefix("info: "))
    assert answer["code"] == code
    assert answer["message"]


async def test_a_run_that_tolerates_an_error_succeeds(rig: Rig) -> None:
    rig.book.remove_policy(NAMESPACE, "p")
    report = await rig.run(Script().call(post(rig.peer.url("/"))).log_answer().ok(DONE))
    assert '"code":"denied"' in report.log
    assert report.result == Completed({})
    assert report.calls.last_denied is not None


async def test_a_redirect_is_an_answer_and_is_not_followed(rig: Rig) -> None:
    await rig.run(Script().call(post(rig.peer.url("/redirect"))).ok(DONE))
    assert [seen.path for seen in rig.peer.seen] == ["/redirect"]
    assert rig.notes.calls == [("allowed", "302")]


@pytest.mark.parametrize("trigger", list(Trigger))
async def test_every_request_carries_the_annotations_of_its_run(rig: Rig, trigger: Trigger) -> None:
    forged = {"curation-run-id": "forged", "Curation-Attempt": "99", "CURATION-Anything": "x"}
    execution = rig.start(Script().call(post(rig.peer.url("/"), headers=forged)).ok(DONE), trigger)
    await ended(execution)
    run = execution.request.run
    headers = rig.peer.seen[0].headers
    assert {name: value for name, value in headers.items() if name.lower().startswith("curation-")} == {
        "Curation-Run-Id": run.id,
        "Curation-Generation": "3",
        "Curation-Attempt": str(run.attempt),
        "Curation-Trigger": trigger.value,
    }


async def test_submit_requests_get_an_idempotency_key_of_run_and_call_number(rig: Rig) -> None:
    execution = rig.start(Script().call(post(rig.peer.url("/")), times=3).ok(DONE))
    await ended(execution)
    run = execution.request.run.id
    assert [seen.headers["Idempotency-Key"] for seen in rig.peer.seen] == [f"{run}/1", f"{run}/2", f"{run}/3"]


@pytest.mark.parametrize("name", ["idempotency-key", "Idempotency_Key"])
async def test_a_key_of_the_modules_own_stays_on_submit_behind_the_runs_id(rig: Rig, name: str) -> None:
    execution = rig.start(Script().call(post(rig.peer.url("/"), headers={name: "mine"})).ok(DONE))
    await ended(execution)
    run = execution.request.run.id
    assert rig.peer.seen[0].headers.getall("Idempotency-Key") == [f"{run}/mine"]  # type: ignore[attr-defined]
    assert "Idempotency_Key" not in rig.peer.seen[0].headers


@pytest.mark.parametrize("trigger", [Trigger.OBSERVE, Trigger.CANCEL])
async def test_observe_and_cancel_requests_carry_no_idempotency_key(rig: Rig, trigger: Trigger) -> None:
    await rig.run(Script().call(post(rig.peer.url("/"), headers={"idempotency-key": "mine"})).ok(DONE), trigger)
    assert "Idempotency-Key" not in rig.peer.seen[0].headers


async def test_credentials_go_to_exactly_their_origin_and_win_over_the_modules_header(rig: Rig) -> None:
    token = OriginCredential("http", "127.0.0.1", rig.peer.port, "Authorization", "Bearer secret")
    forged = {"authorization": "Bearer forged"}
    script = (
        Script()
        .call(post(rig.peer.url("/yes"), headers=forged))
        .call(post(rig.peer.url("/no", host="other.test")))
        .ok(DONE)
    )
    report = await rig.run(script, credentials=(token,))
    assert report.calls.answered == 2
    assert [seen.headers.get("Authorization") for seen in rig.peer.seen] == ["Bearer secret", None]
    assert "secret" not in repr(token)


async def test_an_answer_that_repeats_a_credential_does_not_reveal_it_to_the_module(rig: Rig) -> None:
    token = OriginCredential("http", "127.0.0.1", rig.peer.port, "Authorization", "Bearer tell-nobody-of-this")
    report = await rig.run(Script().call(post(rig.peer.url("/echo"))).log_answer().ok(DONE), credentials=(token,))
    assert rig.peer.seen[0].headers["Authorization"] == "Bearer tell-nobody-of-this"
    answer = json.loads(report.log.removeprefix("info: "))
    assert json.loads(answer["body"]) == {"you": "[credential]"}
    assert answer["headers"]["x-you-sent"] == "[credential]"


TOKEN = "Tell-Nobody-Of-This"
REPEATING = {
    "in a broken value": b"HTTP/1.1 200 OK\r\nX: Bearer Tell-Nobody-Of-This\x01\r\nContent-Length: 0\r\n\r\n",
    "in a giant value": b"HTTP/1.1 200 OK\r\nX: Tell-Nobody-Of-This %s\r\n\r\n" % (b"a" * 9000),
    "as its first line": b"Bearer Tell-Nobody-Of-This\r\n\r\n",
    "as a line without colon": b"HTTP/1.1 200 OK\r\nBearer Tell-Nobody-Of-This\r\nContent-Length: 0\r\n\r\n",
    "as a length": b"HTTP/1.1 200 OK\r\nContent-Length: Tell-Nobody-Of-This\r\n\r\n",
    "as a chunk's length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nTell-Nobody-Of-This\r\n",
    "as a header's name": b"HTTP/1.1 200 OK\r\nTell-Nobody-Of-This: 1\r\nContent-Length: 2\r\n\r\nok",
    "within a header's name": b"HTTP/1.1 200 OK\r\nX-Tell-Nobody-Of-This-Y: 1\r\nContent-Length: 2\r\n\r\nok",
}


@pytest.mark.parametrize("answer", REPEATING.values(), ids=REPEATING.keys())
async def test_an_answer_that_repeats_a_credential_where_none_belongs_does_not_reveal_it_either(
    rig: Rig, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw_server(answering(answer, close=True)) as server:
        token = OriginCredential("http", "127.0.0.1", server.port, "Authorization", f"Bearer {TOKEN}")
        script = Script().call(post(f"http://127.0.0.1:{server.port}/")).log_answer().answer()
        report = await rig.run(script, credentials=(token,))
        assert f"Authorization: Bearer {TOKEN}".encode() in server.received[0]
    assert report.log, "the module got no answer"
    assert TOKEN.lower() not in f"{report.log} {report.result} {caplog.text}".lower()


async def test_a_failed_call_says_why_without_the_credential(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def quoting(*_: object, **__: object) -> OutboundResponse:
        raise Unavailable(f"http://127.0.0.1:1: it said Bearer {TOKEN}")

    monkeypatch.setattr(rig.client, "send", quoting)
    token = OriginCredential("http", "127.0.0.1", 1, "Authorization", f"Bearer {TOKEN}")
    report = await rig.run(Script().call(post("http://127.0.0.1:1/")).log_answer().answer(), credentials=(token,))
    assert "http://127.0.0.1:1: it said [credential]" in report.log
    assert TOKEN not in str(report.result)


async def test_a_header_that_a_wsgi_server_takes_for_the_credential_does_not_go_out_beside_it(rig: Rig) -> None:
    token = OriginCredential("http", "127.0.0.1", rig.peer.port, "X-Api-Key", "the-real-one")
    await rig.run(
        Script().call(post(rig.peer.url("/"), headers={"X_Api_Key": "forged"})).ok(DONE), credentials=(token,)
    )
    sent = {name: value for name, value in rig.peer.seen[0].headers.items() if "api" in name.lower()}
    assert sent == {"X-Api-Key": "the-real-one"}


PUBLISHED = contract_schemas()["HttpCallRequest"]["properties"]["headers"]["maxProperties"]


async def test_as_many_headers_as_the_contract_allows_go_out_beside_the_hosts_own(rig: Rig) -> None:
    headers = {f"X-Mine-{n}": "a" for n in range(PUBLISHED)}
    tokens = tuple(OriginCredential("http", "127.0.0.1", rig.peer.port, f"X-Theirs-{n}", "b") for n in range(16))
    report = await rig.run(Script().call(post(rig.peer.url("/"), headers=headers)).ok(DONE), credentials=tokens)
    assert report.calls.answered == 1
    sent = rig.peer.seen[0].headers
    assert sum(name.startswith("X-Mine-") for name in sent) == PUBLISHED
    assert sum(name.startswith("X-Theirs-") for name in sent) == 16
    assert sent["Curation-Run-Id"]


async def test_one_header_more_than_the_contract_allows_is_invalid_and_the_number_is_named(rig: Rig) -> None:
    headers = {f"X-{n}": "a" for n in range(PUBLISHED + 1)}
    report = await rig.run(Script().call(post(rig.peer.url("/"), headers=headers)).log_answer().answer())
    assert json.loads(report.log.removeprefix("info: "))["code"] == "invalid"
    assert f"at most {PUBLISHED}" in failed(report).message
    assert not rig.peer.seen


async def test_a_call_that_no_policy_permits_is_denied_and_never_leaves(rig: Rig) -> None:
    rig.book.remove_policy(NAMESPACE, "p")
    execution = rig.start(Script().call(post(rig.peer.url("/a/../b?c=d"))).answer())
    report = await ended(execution)
    assert isinstance(report.result, Denied)
    request = report.result.request
    assert (request.module, request.module_digest) == ("build-session", execution.request.module.digest)
    assert (request.trigger, request.method, request.scheme) == (Trigger.SUBMIT, "POST", "http")
    assert (request.host, request.port, request.path, request.query) == ("127.0.0.1", rig.peer.port, "/b", "c=d")
    assert "no policy permits POST" in report.result.message
    assert report.calls == Calls(left=0, answered=0, allowed=0, last_denied=request)
    assert rig.peer.seen == []
    assert rig.notes.calls == [("denied", "denied")]


async def test_a_run_whose_last_call_is_on_the_wire_at_the_wall_limit_is_not_denied_for_an_earlier_one(
    rig: Rig,
) -> None:
    rig.permit('permit (principal, action, resource) when { context.path != "/telemetry" };')
    script = Script().call(post(rig.peer.url("/telemetry"))).call(post(rig.peer.url("/hold"))).ok(DONE)
    report = await rig.run(script, limits=Limits(wall_seconds=1))
    assert failed(report).failure_class is FailureClass.TIMEOUT
    assert report.calls.left == 1
    assert report.calls.last_denied is not None


async def test_a_denial_for_want_of_a_permit_names_a_policy_that_is_invalid(rig: Rig) -> None:
    rig.book.remove_policy(NAMESPACE, "p")
    rig.book.note_flaw(NAMESPACE, "broken", "is invalid")
    report = await rig.run(Script().call(post(rig.peer.url("/"))).answer())
    assert isinstance(report.result, Denied)
    assert report.result.message.endswith(f"; CurationPolicy/{NAMESPACE}/broken is invalid")


async def test_a_permission_revoked_while_the_connection_is_made_counts(rig: Rig) -> None:
    execution = rig.start(Script().call(post(rig.peer.url("/", host="slow.test"))).answer())
    await rig.names.asked.wait()
    rig.book.remove_policy(NAMESPACE, "p")
    rig.names.go_on.set()
    report = await ended(execution)
    assert isinstance(report.result, Denied)
    assert (report.calls.left, report.calls.allowed) == (0, 1)
    assert rig.peer.seen == []


async def test_a_grant_that_expires_while_the_connection_is_made_counts(rig: Rig) -> None:
    rig.book.remove_policy(NAMESPACE, "p")
    asked = await rig.run(Script().call(post(rig.peer.url("/", host="slow.test"))).answer())
    assert isinstance(asked.result, Denied)
    rig.book.put_grant(Grant(NAMESPACE, "a", asked.result.request, Scope.HOST, rig.now() + timedelta(hours=1)))
    execution = rig.start(Script().call(post(rig.peer.url("/", host="slow.test"))).answer())
    await rig.names.asked.wait()
    rig.later = timedelta(hours=1)
    rig.names.go_on.set()
    report = await ended(execution)
    assert isinstance(report.result, Denied)
    assert (report.calls.left, report.calls.allowed) == (0, 1)
    assert rig.peer.seen == []


async def test_policies_see_the_run_and_the_labels(rig: Rig) -> None:
    rig.permit('permit (principal, action, resource) when { context.labels.hasTag("team") && context.attempt == 1 };')
    script = Script().call(post(rig.peer.url("/"))).answer()
    first, second = await rig.run(script), await rig.run(script)
    assert first.calls.left == 1
    assert isinstance(second.result, Denied)


@pytest.mark.parametrize(
    "request_document",
    [
        post("http://169.254.169.254/latest/meta-data"),
        post("http://10.0.0.1/"),
        post("ftp://127.0.0.1/"),
        post("http://user:secret@127.0.0.1/"),
        post("/relative"),
        post("http://127.0.0.1/", headers={"Host": "other"}),
        post("http://127.0.0.1/", headers={"X-Forwarded-For": "1.2.3.4"}),
        post("http://127.0.0.1/", headers={"X": "a\r\nY: b"}),
        post("http://127.0.0.1/", method="TRACE"),
    ],
)
async def test_what_no_policy_can_allow_is_invalid_and_fails_the_run_as_egress_refused(
    rig: Rig, request_document: dict[str, Any]
) -> None:
    report = await rig.run(Script().call(request_document).answer())
    assert failed(report).failure_class is FailureClass.EGRESS_REFUSED
    assert report.calls.left == 0
    assert report.calls.last_denied is None


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ("no JSON", "the document"),
        ("[]", "the document"),
        ({"url": "http://127.0.0.1/"}, "method"),
        ({"method": "GET", "url": "http://127.0.0.1/", "timeout": 5}, "timeout"),
        ({"method": "GET", "url": "http://127.0.0.1/", "headers": {"a": 1}}, "headers.a"),
        ({"method": "GET /x", "url": "http://127.0.0.1/"}, "method"),
    ],
)
async def test_a_malformed_document_is_invalid_and_the_field_is_named(rig: Rig, document: Any, field: str) -> None:
    report = await rig.run(Script().call(document).answer())
    assert failed(report).failure_class is FailureClass.MODULE_ERROR
    assert f"malformed: {field}:" in failed(report).message


async def test_a_peer_that_does_not_listen_is_unavailable_and_nothing_has_left(rig: Rig, unused_tcp_port: int) -> None:
    report = await rig.run(Script().call(post(f"http://127.0.0.1:{unused_tcp_port}/")).answer())
    assert failed(report).failure_class is FailureClass.HTTP_UNAVAILABLE
    assert report.calls == Calls(left=0, answered=0, allowed=1)


async def test_a_peer_that_hangs_up_leaves_a_request_without_an_answer(rig: Rig) -> None:
    report = await rig.run(Script().call(post(rig.peer.url("/hang-up"))).answer())
    assert failed(report).failure_class is FailureClass.HTTP_UNAVAILABLE
    assert report.calls == Calls(left=1, answered=0, allowed=1)
    assert rig.peer.count("/hang-up") == 1


async def test_a_response_that_is_too_large_hits_its_limit(rig: Rig) -> None:
    script = Script().call(post(rig.peer.url("/large?size=5000"))).answer()
    report = await rig.run(script, limits=Limits(response_size=4096))
    assert failed(report).failure_class is FailureClass.LIMIT_EXCEEDED
    assert "responseSize" in failed(report).message
    assert "5000 bytes" in failed(report).message
    assert "4Ki" in failed(report).message
    assert report.calls == Calls(left=1, answered=1, allowed=1)


async def test_calls_beyond_the_limit_never_leave_and_name_it(rig: Rig) -> None:
    script = Script().call(post(rig.peer.url("/")), times=3).answer()
    report = await rig.run(script, limits=Limits(http_calls=2))
    assert failed(report).failure_class is FailureClass.LIMIT_EXCEEDED
    assert "httpCalls was hit: used 3, allowed 2" in failed(report).message
    assert rig.peer.count("/") == 2


async def test_a_guest_that_ignores_errors_and_calls_ten_thousand_times_gets_no_further(rig: Rig) -> None:
    script = Script().call(post(rig.peer.url("/")), times=10_000).answer()
    report = await rig.run(script, limits=Limits(http_calls=5, cpu_seconds=60))
    assert "used 10000, allowed 5" in failed(report).message
    assert report.calls == Calls(left=5, answered=5, allowed=5)
    assert rig.peer.count("/") == 5


async def test_a_giant_request_is_refused_by_its_size(rig: Rig) -> None:
    size = MAX_REQUEST_BYTES + 1
    report = await rig.run(hostile.requests_giant(size))
    assert failed(report).failure_class is FailureClass.LIMIT_EXCEEDED
    assert f"used {size} bytes, allowed 1Mi" in failed(report).message


async def test_a_request_just_within_its_bound_is_sent_whole(rig: Rig) -> None:
    body = "\\" * (MAX_REQUEST_BYTES // 2 - 200)  # two bytes each in the document
    report = await rig.run(Script().call(json.dumps(post(rig.peer.url("/"), body=body))).ok(DONE))
    assert report.result == Completed({})
    assert rig.peer.seen[0].body == body


async def test_the_gate_is_asked_in_the_jobs_namespace_only(rig: Rig) -> None:
    rig.book.remove_policy(NAMESPACE, "p")
    rig.book.put_policy("another", "p", PERMIT)
    report = await rig.run(Script().call(post(rig.peer.url("/"))).answer())
    assert isinstance(report.result, Denied)
