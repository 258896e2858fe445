"""A grant allows exactly the requests of its scope and nothing else, whatever strings a module puts into them."""

import json
from datetime import UTC, datetime
from itertools import product

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.api.approval import EvaluatedRequest, Scope
from curation.api.cancel import CancelRequest
from curation.api.names import Trigger
from curation.authz.book import PolicyBook
from curation.authz.decision import CallContext
from curation.authz.gate import Gate
from curation.authz.grant import Grant
from curation.authz.grant_text import grant_text
from curation.authz.policy_check import check_policy

NOW = datetime(2025, 11, 22, 12, 0, tzinfo=UTC)
BASE = EvaluatedRequest(
    module="m",
    module_digest="sha256:1",
    trigger=Trigger.SUBMIT,
    method="POST",
    scheme="https",
    host="api.example",
    port=443,
    path="/v1/sessions",
    query="a=b",
)

PIECES = [
    '"',
    "\\",
    "\n",
    "\r",
    "\0",
    "*",
    "\\u{41}",
    "//",
    '"; permit(principal, action, resource); //',
    '" || true || "',
    "}; forbid(principal,action,resource);",
    "?principal",
    '@id("x")',
    "\u202e",
    "é",
    "\u2028",
    "\U0010ffff",
    " ",
    "/v1/../x",
    "%2f",
    "policy0",
    "`policy0`",
    "{{",
    "__cedar",
    "",
]
hostile = st.lists(
    st.sampled_from(PIECES) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=6
).map("".join)
requests = st.builds(
    EvaluatedRequest.model_construct,
    module=hostile,
    module_digest=hostile,
    trigger=st.sampled_from(Trigger),
    method=st.sampled_from(["GET", "POST", "DELETE"]) | hostile,
    scheme=st.sampled_from(["http", "https"]),
    host=hostile,
    port=st.integers(1, 65535),
    path=hostile,
    query=hostile,
)


def covers(grant: Grant, namespace: str, asked: EvaluatedRequest) -> bool:
    """The rule of the design, written down a second time, without Cedar."""
    granted = grant.request
    same = [namespace == grant.namespace]
    same += [getattr(asked, f) == getattr(granted, f) for f in ("module", "module_digest", "scheme", "host", "port")]
    if not all(same):
        return False
    if grant.scope is Scope.HOST or asked.trigger is Trigger.CANCEL:
        return True
    exact = ("trigger", "method", "path") + (("query",) if grant.scope is Scope.REQUEST else ())
    return all(getattr(asked, f) == getattr(granted, f) for f in exact)


def allowed(grant: Grant, namespace: str, request: EvaluatedRequest) -> bool:
    book = PolicyBook()
    book.put_grant(grant)
    decision = Gate(book, lambda: NOW).authorize(namespace, request, CallContext("j", {"a": "b"}, 1, 1))
    assert not decision.errors
    return decision.allowed


@settings(max_examples=150, deadline=None)
@given(
    granted=requests,
    other=requests,
    scope=st.sampled_from(Scope),
    replaced=st.sets(st.sampled_from(sorted(EvaluatedRequest.model_fields))),
    elsewhere=st.booleans(),
)
def test_a_grant_allows_exactly_the_requests_of_its_scope(
    granted: EvaluatedRequest, other: EvaluatedRequest, scope: Scope, replaced: set[str], elsewhere: bool
) -> None:
    grant = Grant("ns", "m-0", granted, scope)
    asked = granted.model_copy(update={name: getattr(other, name) for name in replaced})
    namespace = "other" if elsewhere else "ns"
    assert allowed(grant, "ns", granted)
    assert allowed(grant, namespace, asked) == covers(grant, namespace, asked)


@settings(max_examples=150, deadline=None)
@given(granted=requests, scope=st.sampled_from(Scope), name=hostile, namespace=hostile)
def test_the_text_of_a_grant_is_one_valid_policy_and_the_same_as_its_json(
    granted: EvaluatedRequest, scope: Scope, name: str, namespace: str
) -> None:
    grant = Grant(namespace, name, granted, scope)
    text = grant_text(grant)
    parsed = json.loads(cedarpy.policies_to_json_str(text))
    assert parsed["templates"] == {}
    assert list(parsed["staticPolicies"].values()) == [grant.to_cedar_json()]
    check = check_policy(text)
    assert (check.valid, check.count) == (True, 1), check.message


FIELDS = {
    "module": "other",
    "module_digest": "sha256:2",
    "trigger": Trigger.OBSERVE,
    "method": "GET",
    "scheme": "http",
    "host": "api.example.evil",
    "port": 8443,
    "path": "/v1/sessions/1",
    "query": "a=c",
}
FREE = {Scope.REQUEST: set(), Scope.PATH: {"query"}, Scope.HOST: {"trigger", "method", "path", "query"}}


@pytest.mark.parametrize(("scope", "field"), list(product(Scope, FIELDS)))
def test_another_value_of_a_field_is_granted_only_if_the_scope_leaves_it_free(scope: Scope, field: str) -> None:
    asked = BASE.model_copy(update={field: FIELDS[field]})
    assert allowed(Grant("ns", "m-0", BASE, scope), "ns", asked) == (field in FREE[scope])


@pytest.mark.parametrize("scope", Scope)
def test_what_was_allowed_to_start_can_be_cancelled_at_that_origin_only(scope: Scope) -> None:
    cancel = BASE.model_copy(
        update={"trigger": Trigger.CANCEL, "method": "DELETE", "path": "/v1/sessions/7", "query": ""}
    )
    grant = Grant("ns", "m-0", BASE, scope)
    assert allowed(grant, "ns", cancel)
    for field in ("module", "module_digest", "scheme", "host", "port"):
        assert not allowed(grant, "ns", cancel.model_copy(update={field: FIELDS[field]})), field
    assert not allowed(grant, "other", cancel)


def test_a_forbid_beats_a_grant() -> None:
    book = PolicyBook()
    book.put_grant(Grant("ns", "m-0", BASE, Scope.HOST))
    book.put_policy("ns", "no", '@id("no") forbid (principal, action, resource);')
    decision = Gate(book, lambda: NOW).authorize("ns", BASE, CallContext("j"))
    assert decision.policies == ("CurationPolicy/ns/no#no",)


def test_the_text_is_for_people() -> None:
    text = grant_text(Grant("ns", "m-0", BASE, Scope.REQUEST))
    assert text.startswith(
        '@id("CurationApproval/ns/m-0")\n@under_cancel("every method and path of https://api.example:443'
    )
    assert "\npermit (\n" in text
    assert 'when { (principal.digest) == "sha256:1" }' in text


def cancels(*declared: str) -> tuple[CancelRequest, ...]:
    """Each ``METHOD /path``."""
    return tuple(
        CancelRequest.model_validate(dict(zip(("method", "path"), each.split(), strict=True))) for each in declared
    )


_DECLARED = cancels("POST /sessions/*/cancel", "DELETE /v1/*/runs/*", "POST /stop", "GET /")
_ASKED = [
    ("POST", "/sessions/s-1/cancel", True),
    ("POST", "/sessions/a%2Fb/cancel", True),
    ("DELETE", "/v1/x/runs/r-1", True),
    ("POST", "/stop", True),
    ("GET", "/", True),
    ("DELETE", "/sessions/s-1/cancel", False),
    ("POST", "/sessions/s-1/delete", False),
    ("POST", "/sessions//cancel", False),
    ("POST", "/sessions/a/b/cancel", False),
    ("POST", "/sessions/a/cancel/cancel", False),
    ("POST", "/sessions/cancel", False),
    ("POST", "/v1/sessions/s-1/cancel", False),
    ("POST", "/sessions/s-1/cancel/", False),
    ("DELETE", "/v1/x/runs/", False),
    ("DELETE", "/v1/x/runs", False),
    ("DELETE", "/v1//runs/r-1", False),
    ("DELETE", "/v1/x/runs/r-1/all", False),
    ("DELETE", "/v1/x/y/runs/r-1", False),
    ("POST", "/stop/", False),
    ("POST", "/", False),
    ("GET", "/sessions", False),
]


@pytest.mark.parametrize(("method", "path", "covered"), _ASKED)
@pytest.mark.parametrize("scope", [Scope.REQUEST, Scope.PATH])
def test_under_cancel_a_grant_covers_exactly_what_the_module_declares(
    scope: Scope, method: str, path: str, covered: bool
) -> None:
    asked = BASE.model_copy(update={"trigger": Trigger.CANCEL, "method": method, "path": path, "query": "why=x"})
    assert allowed(Grant("ns", "m-0", BASE, scope, None, _DECLARED), "ns", asked) == covered
    assert allowed(Grant("ns", "m-0", BASE, scope, None, None), "ns", asked), "it declares nothing: all"
    assert not allowed(Grant("ns", "m-0", BASE, scope, None, ()), "ns", asked), "it declares that it makes none"
    assert allowed(Grant("ns", "m-0", BASE, Scope.HOST, None, ()), "ns", asked), "the whole host, whatever is declared"
    other = asked.model_copy(update={"host": "other.example"})
    assert not allowed(Grant("ns", "m-0", BASE, scope, None, _DECLARED), "ns", other)


@pytest.mark.parametrize("trigger", [Trigger.SUBMIT, Trigger.OBSERVE])
def test_what_is_declared_for_cancel_is_allowed_under_cancel_alone(trigger: Trigger) -> None:
    asked = BASE.model_copy(update={"trigger": trigger, "method": "POST", "path": "/stop"})
    assert not allowed(Grant("ns", "m-0", BASE, Scope.REQUEST, None, _DECLARED), "ns", asked)


_SEGMENTS = st.lists(st.sampled_from(["*", "a", "b", "cancel"]), min_size=1, max_size=5)


@settings(max_examples=200, deadline=None)
@given(pattern=_SEGMENTS, path=st.lists(st.sampled_from(["a", "b", "cancel", "", "x-1"]), min_size=1, max_size=6))
def test_a_star_matches_one_segment_that_is_not_empty(pattern: list[str], path: list[str]) -> None:
    declared = cancels("POST /" + "/".join(pattern))
    same = len(pattern) == len(path) and all(
        mine == theirs or (mine == "*" and theirs != "") for mine, theirs in zip(pattern, path, strict=True)
    )
    asked = BASE.model_copy(update={"trigger": Trigger.CANCEL, "path": "/" + "/".join(path)})
    assert allowed(Grant("ns", "m-0", BASE, Scope.REQUEST, None, declared), "ns", asked) == same


@pytest.mark.parametrize(
    ("declared", "scope", "words"),
    [
        (None, Scope.REQUEST, "every method and path of https://api.example:443, since the module declares no Cancel"),
        ((), Scope.REQUEST, "nothing more: the module declares that it makes no Cancel requests"),
        (_DECLARED[:1], Scope.PATH, "POST /sessions/*/cancel of https://api.example:443, with any query"),
        (_DECLARED[:1], Scope.HOST, "every method and path of https://api.example:443"),
    ],
)
def test_what_a_grant_covers_under_cancel_is_said_in_words(
    declared: tuple[CancelRequest, ...] | None, scope: Scope, words: str
) -> None:
    grant = Grant("ns", "m-0", BASE, scope, None, declared)
    assert grant.under_cancel.startswith(words)
    assert f'@under_cancel("{grant.under_cancel}")' in grant_text(grant)


def test_the_longest_declaration_fits_into_the_status() -> None:
    longest = cancels(*(f"OPTIONS {'/*' * 8}/{number:0>239}" for number in range(16)))
    path, query = "/" + "p" * 8191, "q" * 8192
    grant = Grant(
        "n" * 63, "m" * 73, BASE.model_copy(update={"path": path, "query": query}), Scope.REQUEST, NOW, longest
    )
    assert len(grant_text(grant)) <= 65536
