"""The gate: default deny, errors deny, invalid policies deny, and every decision names what made it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import cedarpy
import pytest

from curation.api.approval import EvaluatedRequest, Scope
from curation.api.names import Trigger
from curation.authz.book import PolicyBook
from curation.authz.decision import CallContext, Decision
from curation.authz.gate import Gate
from curation.authz.grant import Grant

NOW = datetime(2025, 11, 22, 12, 0, tzinfo=UTC)
GET = EvaluatedRequest(
    module="m",
    module_digest="sha256:1",
    trigger=Trigger.SUBMIT,
    method="GET",
    scheme="http",
    host="api.example",
    port=80,
    path="/v1/sessions",
    query="a=b",
)
JOB = CallContext("j", {"team": "red"}, generation=3, attempt=2)
ALL = "permit (principal, action, resource);"


def authorize(*policies: str, request: EvaluatedRequest = GET, context: CallContext = JOB) -> Decision:
    book = PolicyBook()
    for index, text in enumerate(policies):
        assert book.put_policy("ns", f"p{index}", text).valid
    return Gate(book, lambda: NOW).authorize("ns", request, context)


def when(condition: str, effect: str = "permit") -> str:
    return f"{effect} (principal, action, resource) when {{ {condition} }};"


def test_without_a_policy_everything_is_denied() -> None:
    decision = authorize()
    assert not decision.allowed
    assert decision.reason == "no policy permits GET http://api.example:80/v1/sessions?a=b (Submit by module m)"


def test_a_permit_allows_and_is_named_by_its_id() -> None:
    decision = authorize('@id("sessions") ' + ALL)
    assert decision == Decision(
        True,
        "GET http://api.example:80/v1/sessions?a=b (Submit by module m) is permitted by CurationPolicy/ns/p0#sessions",
        ("CurationPolicy/ns/p0#sessions",),
    )


def test_a_forbid_beats_a_permit_and_is_named_by_its_index() -> None:
    decision = authorize(ALL, ALL + when('context.method == "GET"', "forbid"))
    assert not decision.allowed
    assert decision.policies == ("CurationPolicy/ns/p1#1",)
    assert decision.reason.endswith("is forbidden by CurationPolicy/ns/p1#1")


def test_a_forbid_that_errors_denies() -> None:
    text = '@id("broken") ' + when("context.attempt + 9223372036854775807 > 0", "forbid")
    decision = authorize(ALL, text)
    assert not decision.allowed
    assert len(decision.errors) == 1
    assert "CurationPolicy/ns/p1#broken" in decision.errors[0]
    assert "integer overflow" in decision.reason


def test_a_permit_that_errors_denies_beside_one_that_allows() -> None:
    decision = authorize(ALL, when("context.attempt + 9223372036854775807 > 0"))
    assert not decision.allowed
    assert "CurationPolicy/ns/p1#0" in decision.errors[0]


SEEN = {
    "the module is the principal": 'principal == Agent::"m" && principal.namespace == "ns"',
    "its digest": 'principal.digest == "sha256:1"',
    "the host is the resource": 'resource == HttpEndpoint::"api.example" && resource.host == "api.example"',
    "scheme and port": 'resource.scheme == "http" && resource.port == 80',
    "path without query": 'resource.path == "/v1/sessions" && context.path == resource.path',
    "query": 'context.query == "a=b"',
    "url": 'context.url == "http://api.example:80/v1/sessions?a=b"',
    "job": 'context.job == "j" && context.namespace == "ns" && context.module == "m"',
    "method and trigger": 'context.method == "GET" && context.trigger == "Submit"',
    "generation and attempt": "context.generation == 3 && context.attempt == 2",
    "labels": 'context.labels.hasTag("team") && context.labels.getTag("team") == "red"',
    "a label that is not there": '!context.labels.hasTag("stage")',
    "the action": 'action == Action::"http_call"',
}


@pytest.mark.parametrize("condition", SEEN.values(), ids=SEEN.keys())
def test_a_policy_sees_the_evaluated_request(condition: str) -> None:
    assert authorize(when(condition)).allowed
    assert not authorize(when(f"!({condition})")).allowed


def test_a_url_without_query_has_no_question_mark() -> None:
    request = GET.model_copy(update={"query": ""})
    assert authorize(when('context.url == "http://api.example:80/v1/sessions"'), request=request).allowed


def test_an_invalid_text_neither_permits_nor_forbids_nor_replaces_what_is_in_force() -> None:
    book = PolicyBook()
    gate = Gate(book, lambda: NOW)
    book.put_policy("ns", "bad", "permit (principal")
    assert not gate.authorize("ns", GET, JOB).allowed
    book.put_policy("ns", "good", ALL)
    book.put_policy(None, "bad", when("context.nothing", "forbid"))
    assert gate.authorize("ns", GET, JOB).policies == ("CurationPolicy/ns/good#0",)
    assert not book.put_policy("ns", "good", "forbid (").valid
    assert gate.authorize("ns", GET, JOB).allowed


def test_a_denial_for_want_of_a_permit_names_the_policies_that_are_invalid_and_no_more_than_three() -> None:
    book = PolicyBook()
    gate = Gate(book, lambda: NOW)
    book.note_flaw("ns", "typo", "is invalid")
    book.note_flaw(None, "floor", "is invalid")
    book.note_flaw("other", "theirs", "is invalid")
    assert gate.authorize("ns", GET, JOB).reason.endswith(
        "; CurationPolicy/ns/typo is invalid; ClusterCurationPolicy/floor is invalid"
    )
    for number in range(5):
        book.note_flaw("ns", f"a{number}", "is invalid")
    assert gate.authorize("ns", GET, JOB).reason.count("is invalid") == 3
    assert "and so are 4 more" in gate.authorize("ns", GET, JOB).reason
    book.put_policy("ns", "good", ALL)
    assert "invalid" not in gate.authorize("ns", GET, JOB).reason
    book.remove_policy("ns", "typo")
    book.remove_policy("ns", "good")
    assert "typo" not in gate.authorize("ns", GET, JOB).reason


def test_a_cluster_forbid_binds_every_namespace() -> None:
    book = PolicyBook()
    book.put_policy("ns", "good", ALL)
    book.put_policy(None, "floor", '@id("no-get") ' + when('context.method == "GET"', "forbid"))
    assert Gate(book, lambda: NOW).authorize("ns", GET, JOB).policies == ("ClusterCurationPolicy/floor#no-get",)


def test_a_policy_of_one_namespace_is_nothing_to_another() -> None:
    book = PolicyBook()
    book.put_policy("other", "all", ALL)
    assert not Gate(book, lambda: NOW).authorize("ns", GET, JOB).allowed


def test_an_exception_of_the_engine_is_a_deny(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("engine down")

    monkeypatch.setattr(cedarpy, "is_authorized", broken)
    decision = authorize(ALL)
    assert not decision.allowed
    assert decision.errors == ("the policies could not be evaluated: RuntimeError: engine down",)


@pytest.mark.parametrize(
    "context",
    [CallContext("j", generation=1 << 63), CallContext("\ud800"), CallContext("j", {"a": "\udfff"})],
    ids=["a number too large for Cedar", "a job that is no Unicode", "a label that is no Unicode"],
)
def test_a_request_that_cedar_cannot_read_is_a_deny_with_an_error(context: CallContext) -> None:
    decision = authorize(ALL, context=context)
    assert not decision.allowed
    assert decision.errors


def test_a_request_that_does_not_fit_the_schema_is_a_deny_with_an_error() -> None:
    request = GET.model_copy(update={"path": 7})
    decision = authorize(ALL, request=request)
    assert not decision.allowed
    assert "type mismatch" in decision.reason


def test_a_long_url_is_cut_in_the_reason() -> None:
    assert len(authorize(request=GET.model_copy(update={"query": "x" * 8000})).reason) < 400


def test_names_that_are_cedar_stay_names() -> None:
    hostile = 'm"; permit(principal,action,resource); //'
    request = GET.model_copy(update={"module": hostile, "host": 'h" == "h'})
    assert not authorize(when('principal == Agent::"m"'), request=request).allowed
    assert authorize(ALL, request=request).allowed


def test_a_decision_is_valid_until_what_is_in_force_in_its_namespace_changes() -> None:
    book = PolicyBook()
    book.put_policy("ns", "p", ALL)
    gate = Gate(book, lambda: NOW)
    decision = gate.authorize("ns", GET, JOB)
    book.put_policy("other", "p", when("true", "forbid"))
    assert gate.is_still_valid("ns", GET, decision)
    book.put_policy(None, "floor", when("true", "forbid"))
    assert not gate.is_still_valid("ns", GET, decision)


def test_a_decision_is_valid_until_a_grant_expires() -> None:
    now = [NOW]
    book, expires = PolicyBook(), NOW + timedelta(seconds=1)
    book.put_grant(Grant("ns", "a", GET, Scope.HOST, expires))
    gate = Gate(book, lambda: now[0])
    decision = gate.authorize("ns", GET, JOB)
    assert gate.is_still_valid("ns", GET, decision)
    now[0] = expires
    assert not gate.is_still_valid("ns", GET, decision)
    assert not gate.authorize("ns", GET, JOB).allowed


def test_a_denial_is_never_still_valid() -> None:
    book = PolicyBook()
    gate = Gate(book, lambda: NOW)
    assert not gate.is_still_valid("ns", GET, gate.authorize("ns", GET, JOB))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What Cedar was asked, word for word."""
    found: list[object] = []
    ask = cedarpy.is_authorized

    def noted(request: dict[str, Any], *others: Any) -> cedarpy.AuthzResult:
        found.append(request)
        return ask(request, *others)

    monkeypatch.setattr(cedarpy, "is_authorized", noted)
    return found


def test_what_was_allowed_is_not_asked_again_while_the_same_set_is_in_force(asked: list[object]) -> None:
    book = PolicyBook()
    book.put_policy("ns", "p", ALL)
    gate = Gate(book, lambda: NOW, keeps=8)
    first = gate.authorize("ns", GET, JOB)
    book.put_policy("other", "p", when("true", "forbid"))
    assert gate.authorize("ns", GET, JOB) is first
    assert len(asked) == 1
    book.put_policy("ns", "q", when("true", "forbid"))
    assert not gate.authorize("ns", GET, JOB).allowed
    book.remove_policy("ns", "q")
    again = gate.authorize("ns", GET, JOB)
    assert again.allowed
    assert again.by is not first.by, "of another set"
    assert len(asked) == 3


def test_what_a_grant_has_allowed_ends_with_it_though_it_was_allowed_before() -> None:
    now = [NOW]
    book, expires = PolicyBook(), NOW + timedelta(seconds=1)
    book.put_grant(Grant("ns", "a", GET, Scope.HOST, expires))
    gate = Gate(book, lambda: now[0], keeps=8)
    assert gate.authorize("ns", GET, JOB).allowed
    assert gate.authorize("ns", GET, JOB).allowed
    now[0] = expires
    assert not gate.authorize("ns", GET, JOB).allowed


OTHERWISE = {
    **{
        name: (GET.model_copy(update={name: other}), JOB)
        for name, other in {
            "module": "n",
            "module_digest": "sha256:2",
            "trigger": Trigger.OBSERVE,
            "method": "HEAD",
            "scheme": "https",
            "host": "b.example",
            "port": 81,
            "path": "/v2",
            "query": "",
        }.items()
    },
    "job": (GET, replace(JOB, job="k")),
    "labels": (GET, replace(JOB, labels={"team": "blue"})),
    "a further label": (GET, replace(JOB, labels={"team": "red", "more": ""})),
    "generation": (GET, replace(JOB, generation=4)),
    "attempt": (GET, replace(JOB, attempt=3)),
}


@pytest.mark.parametrize("what", OTHERWISE)
def test_a_question_that_differs_in_anything_is_asked(what: str, asked: list[object]) -> None:
    book = PolicyBook()
    for namespace in ("ns", "other"):
        book.put_policy(namespace, "p", ALL)
    gate = Gate(book, lambda: NOW, keeps=8)
    gate.authorize("ns", GET, JOB)
    gate.authorize("other", GET, JOB)
    request, context = OTHERWISE[what]
    assert gate.authorize("ns", request, context).allowed
    assert len(asked) == 3


def test_denials_and_long_requests_are_asked_about_each_time_and_the_newest_are_kept(asked: list[object]) -> None:
    book = PolicyBook()
    book.put_policy("ns", "p", when('context.path != "/no"'))
    gate = Gate(book, lambda: NOW, keeps=2)
    for request in (GET.model_copy(update={"path": "/no"}), GET.model_copy(update={"query": "x" * 4000})):
        asked.clear()
        for _ in range(2):
            gate.authorize("ns", request, JOB)
        assert len(asked) == 2
    asked.clear()
    for path in ("/1", "/2", "/3", "/3", "/2", "/1"):
        assert gate.authorize("ns", GET.model_copy(update={"path": path}), JOB).allowed
    assert len(asked) == 4
