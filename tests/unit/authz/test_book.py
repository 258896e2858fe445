"""The policy book: revisions, listeners, deletion, expiry, and that nothing is parsed twice without need."""

from datetime import UTC, datetime, timedelta

import cedarpy
import pytest

from curation.api.approval import EvaluatedRequest, Scope
from curation.api.names import Trigger
from curation.authz import book as book_module
from curation.authz import effective as effective_module
from curation.authz.book import PolicyBook
from curation.authz.decision import CallContext
from curation.authz.gate import Gate
from curation.authz.grant import Grant

NOW = datetime(2025, 11, 22, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
ALL = "permit (principal, action, resource);"
UNRELATED = 'permit (principal, action, resource) when { context.trigger == "Observe" };'
GET = EvaluatedRequest(
    module="m",
    module_digest="sha256:1",
    trigger=Trigger.SUBMIT,
    method="GET",
    scheme="http",
    host="api.example",
    port=80,
    path="/v1",
)
CANCEL = GET.model_copy(update={"trigger": Trigger.CANCEL, "method": "POST"})


def allowed(book: PolicyBook, request: EvaluatedRequest = GET, now: datetime = NOW) -> bool:
    return Gate(book, lambda: now).authorize("ns", request, CallContext("j")).allowed


def grant(name: str = "m-0", expires_at: datetime | None = None) -> Grant:
    return Grant("ns", name, GET, Scope.REQUEST, expires_at)


def test_a_policy_is_in_force_from_put_to_remove() -> None:
    book = PolicyBook()
    check = book.put_policy("ns", "p", ALL)
    assert (check.valid, check.count) == (True, 1)
    assert allowed(book)
    book.remove_policy("ns", "p")
    assert not allowed(book)


def test_a_replaced_policy_no_longer_counts() -> None:
    book = PolicyBook()
    book.put_policy("ns", "p", ALL)
    book.put_policy("ns", "p", "forbid (principal, action, resource);")
    assert not allowed(book)


def test_a_text_cannot_reach_into_the_next() -> None:
    book = PolicyBook()
    book.put_policy("ns", "a", ALL + "// a comment without a line feed")
    book.put_policy("ns", "b", "forbid (principal, action, resource);")
    assert not allowed(book)


def test_policies_are_named_right_however_many_there_are() -> None:
    book = PolicyBook()
    for number in range(12):
        book.put_policy(
            "ns", f"p{number:02}", f'@id("same") {ALL} permit (principal, action, resource); @id("x") {ALL}'
        )
    book.put_policy(None, "c", '@id("c") ' + ALL)
    book.put_grant(grant())
    decision = Gate(book, lambda: NOW).authorize("ns", GET, CallContext("j"))
    expected = {f"CurationPolicy/ns/p{n:02}#{name}" for n in range(12) for name in ("same", "1", "x")}
    assert set(decision.policies) == expected | {"ClusterCurationPolicy/c#c", "CurationApproval/ns/m-0"}


def test_an_id_used_twice_in_a_text_gives_way_to_the_index() -> None:
    book = PolicyBook()
    book.put_policy("ns", "p", f'@id("same") {ALL} @id("same") {ALL}')
    decision = Gate(book, lambda: NOW).authorize("ns", GET, CallContext("j"))
    assert decision.policies == ("CurationPolicy/ns/p#0", "CurationPolicy/ns/p#1")


def test_a_policy_being_deleted_counts_for_cancel_only() -> None:
    book = PolicyBook()
    book.put_policy("ns", "p", ALL)
    book.put_policy("ns", "p", ALL, cancel_only=True)
    assert not allowed(book)
    assert allowed(book, CANCEL)


def test_a_forbid_being_deleted_counts_for_cancel_only() -> None:
    book = PolicyBook()
    book.put_policy("ns", "all", ALL)
    book.put_policy("ns", "no", "forbid (principal, action, resource);", cancel_only=True)
    assert allowed(book)
    assert not allowed(book, CANCEL)


def test_of_a_text_with_forbids_only_each_permit_is_left_out_and_each_forbid_keeps_its_name() -> None:
    text = """
        @id("all") permit (principal, action, resource);
        // forbid (principal, action, resource);
        @forbid("not the effect") permit (principal, action, resource);
        @id("no-get") @why("permit") forbid (principal, action, resource)
        when { context.method == "GET" && context.path != "permit;" }; // permit
        forbid (principal, action, resource) when { context.path == "/v2" };
    """
    book = PolicyBook()
    assert book.put_policy("ns", "p", text, forbids_only=True).valid
    assert not allowed(book, CANCEL)
    book.put_policy(None, "others", ALL)
    assert allowed(book, CANCEL)
    assert not allowed(book)
    assert book.effective("ns", Trigger.SUBMIT, NOW).origins == (
        "CurationPolicy/ns/p#no-get",
        "CurationPolicy/ns/p#3",
        "ClusterCurationPolicy/others#0",
    )
    book.put_policy("ns", "p", text)
    assert len(book.effective("ns", Trigger.SUBMIT, NOW).origins) == 5


def test_a_text_of_permits_alone_leaves_nothing_with_forbids_only() -> None:
    book = PolicyBook()
    book.put_policy("ns", "p", ALL, forbids_only=True)
    assert not allowed(book)
    book.put_policy("ns", "q", ALL)
    assert allowed(book)


def test_a_removed_grant_stops_counting_at_once() -> None:
    book = PolicyBook()
    book.put_grant(grant())
    assert allowed(book)
    book.remove_grant("ns", "m-0")
    assert not allowed(book)


def test_a_grant_ends_at_its_expiry_and_others_go_on() -> None:
    book = PolicyBook()
    book.put_grant(grant("m-0", NOW + HOUR))
    book.put_grant(Grant("ns", "m-1", CANCEL, Scope.REQUEST, NOW + 2 * HOUR))
    assert allowed(book, now=NOW + HOUR - timedelta(microseconds=1))
    assert not allowed(book, now=NOW + HOUR)
    assert allowed(book, CANCEL, now=NOW + HOUR)
    assert not allowed(book, CANCEL, now=NOW + 2 * HOUR)
    assert allowed(book), "a clock that was set back finds the grant again"


def test_a_grant_that_cedar_cannot_express_is_refused_and_harms_no_other() -> None:
    book = PolicyBook()
    book.put_policy("ns", "all", ALL)
    with pytest.raises(ValueError):
        book.put_grant(Grant("ns", "bad", GET.model_copy(update={"path": "\ud800"}), Scope.REQUEST))
    assert allowed(book)


def test_the_set_is_parsed_once_per_change_and_once_per_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    book = PolicyBook()
    book.put_policy("ns", "p", ALL)
    book.put_grant(grant("m-0", NOW + HOUR))
    built: list[object] = []
    original = effective_module.build

    def counted(*args: object) -> object:
        built.append(args)
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(book_module, "build", counted)
    for _ in range(5):
        allowed(book)
    assert len(built) == 1
    for _ in range(5):
        allowed(book, now=NOW + HOUR)
    assert len(built) == 2
    book.put_policy("other", "p", ALL)
    book.put_policy("ns", "p", ALL)
    allowed(book, now=NOW + HOUR)
    assert len(built) == 2, "neither another namespace nor an unchanged text is a change"
    book.put_policy(None, "c", ALL)
    allowed(book, now=NOW + HOUR)
    assert len(built) == 3


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "MAX_CACHED", 4)
    book = PolicyBook()
    for number in range(20):
        book.put_policy(f"ns{number}", "p", ALL)
        assert book.effective(f"ns{number}", Trigger.SUBMIT, NOW).policies is not None
    assert len(book._cache) == 4


def test_revisions_rise_for_those_concerned_only() -> None:
    book = PolicyBook()
    seen = [book.revision("ns"), book.revision("other")]
    book.put_policy("ns", "p", ALL)
    assert book.revision("ns") > seen[0]
    assert book.revision("other") == seen[1]
    before = book.revision("ns"), book.revision("other")
    book.put_policy(None, "c", ALL)
    assert book.revision("ns") > before[0]
    assert book.revision("other") > before[1]
    before = book.revision("ns"), book.revision("other")
    book.put_policy("ns", "p", ALL)
    book.remove_policy("ns", "nothing")
    book.remove_grant("ns", "nothing")
    assert (book.revision("ns"), book.revision("other")) == before
    book.remove_policy("ns", "p")
    assert book.revision("ns") > before[0]


def test_listeners_are_notified_of_each_change() -> None:
    book = PolicyBook()
    notified: list[str | None] = []
    book.subscribe(notified.append)
    book.put_policy("ns", "p", ALL)
    book.put_policy("ns", "p", ALL)
    book.put_policy(None, "c", ALL)
    book.put_grant(grant())
    book.remove_grant("ns", "m-0")
    book.remove_policy("ns", "p")
    assert notified == ["ns", None, "ns", "ns", "ns"]


def test_a_listener_may_ask_the_book() -> None:
    book = PolicyBook()
    answers: list[bool] = []
    book.subscribe(lambda _: answers.append(allowed(book)))
    book.put_policy("ns", "p", ALL)
    book.remove_policy("ns", "p")
    assert answers == [True, False]


def test_cedar_numbers_policies_in_the_order_of_the_text() -> None:
    """What naming relies on; a new cedarpy that breaks it must not pass unseen."""
    parsed = cedarpy.PolicySet.from_str("".join(f'@id("{n}") {ALL}' for n in range(30)))
    request = {"principal": 'A::"a"', "action": 'Action::"b"', "resource": 'C::"c"', "context": {}}
    annotations = cedarpy.is_authorized(request, parsed, []).diagnostics.id_annotations_by_reason
    assert annotations == {f"policy{n}": str(n) for n in range(30)}


def test_a_namespace_whose_last_policy_and_grant_are_gone_is_not_kept() -> None:
    book = PolicyBook()
    book.put_policy(None, "c", UNRELATED)
    cluster = book.revision("ns")
    for number in range(50):
        book.put_policy(f"ns-{number}", "p", ALL)
        book.put_grant(Grant(f"ns-{number}", "g", GET, Scope.REQUEST, None))
        book.note_flaw(f"ns-{number}", "p", "is invalid")
        book.remove_policy(f"ns-{number}", "p")
        book.remove_grant(f"ns-{number}", "g")
    assert set(book._scopes) == {None}
    assert book.revision("ns-0") > cluster
    cluster = book.revision("ns-0")
    book.remove_policy(None, "c")
    assert book.revision("ns-0") > cluster, "what was built with it must not be taken for what is in force now"


def test_a_policy_that_is_put_and_removed_between_two_requests_leaves_what_was_in_force() -> None:
    book = PolicyBook()
    book.put_policy(None, "c", UNRELATED)
    assert not allowed(book)
    book.put_policy("ns", "p", ALL)
    assert allowed(book)
    book.remove_policy("ns", "p")
    assert not allowed(book)
    book.put_policy("ns", "p", ALL)
    book.remove_policy("ns", "p")
    assert not allowed(book)
    book.put_policy("ns", "p", ALL)
    assert allowed(book)
