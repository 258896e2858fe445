"""The failure classes (docs/curationjob.md) as one table: how the guest ended, its last call, a denial on the way."""

from typing import Any

import pytest

from curation.api.approval import EvaluatedRequest
from curation.execution.calls import CallResult, DeniedCall
from curation.execution.guest_result import guest_result
from curation.lifecycle.outcome import (
    Cancelled,
    Completed,
    Denied,
    Failed,
    FailureClass,
    Result,
    SessionFailed,
    SessionRef,
    SessionSpawned,
    StillRunning,
    Trigger,
)
from curation.wasm.guest_end import Exceeded, GuestEnd, Returned, StopCause, Stopped, Trapped
from curation.wasm.limits import LimitHit, LimitName, Limits

REQUEST = EvaluatedRequest(
    module="m", module_digest="d", trigger=Trigger.SUBMIT, method="GET", scheme="https", host="h", port=443, path="/"
)
DENIED_CALL = DeniedCall(REQUEST, "no policy permits GET https://h/")
DENIED = CallResult.error("denied", "no policy permits GET https://h/")
RESPONSE = CallResult(None, lambda: "{}", status=200)
UNAVAILABLE = CallResult.error("unavailable", "no answer")
REFUSED = CallResult.error("invalid", "link-local", egress_refused=True)
MALFORMED = CallResult.error("invalid", "malformed")
CALLS = LimitHit(LimitName.HTTP_CALLS, "65", "64")
OVER = CallResult.error("limit", str(CALLS), hit=CALLS)
WALL = LimitHit(LimitName.WALL_SECONDS, "121 s", "120 s")
MEMORY = LimitHit(LimitName.MEMORY, "70Mi", "64Mi")

OK = Returned(True, '{"action": "Completed", "output": {}}')
BAD = Returned(True, '{"action": "Dance"}')
PLAIN = Returned(False, '{"message": "it broke"}')


def error(claimed: str) -> Returned:
    return Returned(False, f'{{"message": "it broke", "class": "{claimed}"}}')


def result_of(end: GuestEnd, last: CallResult | None = None, denied: DeniedCall | None = None) -> Result:
    return guest_result(Trigger.SUBMIT, end, last, denied, Limits())


@pytest.mark.parametrize(
    ("why", "end", "last", "denied"),
    [
        ("its last call was denied", PLAIN, DENIED, DENIED_CALL),
        ("its last call was denied, whatever it claims", error("HTTPUnavailable"), DENIED, DENIED_CALL),
        ("it trapped on the denial", Trapped("unreachable"), DENIED, DENIED_CALL),
        ("it spun after the denial", Exceeded(MEMORY), DENIED, DENIED_CALL),
        ("its result after the denial is none", BAD, DENIED, DENIED_CALL),
        ("it says so, and a call was denied before", error("Denied"), RESPONSE, DENIED_CALL),
    ],
)
def test_a_failed_run_is_denied(why: str, end: GuestEnd, last: CallResult, denied: DeniedCall) -> None:
    assert result_of(end, last, denied) == Denied(REQUEST, "no policy permits GET https://h/"), why


@pytest.mark.parametrize(
    ("why", "end", "last", "denied", "expected"),
    [
        ("a denial on the way, then another error", PLAIN, RESPONSE, DENIED_CALL, FailureClass.MODULE_ERROR),
        ("it says Denied but nothing was", error("Denied"), RESPONSE, None, FailureClass.MODULE_ERROR),
        ("no class", PLAIN, None, None, FailureClass.MODULE_ERROR),
        ("a class that is none", error("Grumpy"), None, None, FailureClass.MODULE_ERROR),
        ("a class in the wrong case", error("timeout"), None, None, FailureClass.MODULE_ERROR),
        ("an error that is no document", Returned(False, "boom"), None, None, FailureClass.MODULE_ERROR),
        ("a claimed class counts", error("HTTPUnavailable"), RESPONSE, None, FailureClass.HTTP_UNAVAILABLE),
        ("a claimed class counts", error("SessionFailed"), None, None, FailureClass.SESSION_FAILED),
        ("a claimed class wins over the last call", error("ModuleError"), UNAVAILABLE, None, FailureClass.MODULE_ERROR),
        ("its last call had no answer", PLAIN, UNAVAILABLE, None, FailureClass.HTTP_UNAVAILABLE),
        ("its last call was off limits", PLAIN, REFUSED, None, FailureClass.EGRESS_REFUSED),
        ("its last call was malformed", PLAIN, MALFORMED, None, FailureClass.MODULE_ERROR),
        ("its last call hit a limit", PLAIN, OVER, None, FailureClass.LIMIT_EXCEEDED),
        ("its last call hit a limit after a denial", PLAIN, OVER, DENIED_CALL, FailureClass.LIMIT_EXCEEDED),
        ("a trap", Trapped("unreachable", "m!f"), RESPONSE, None, FailureClass.TRAP),
        ("a limit", Exceeded(MEMORY), RESPONSE, None, FailureClass.LIMIT_EXCEEDED),
        ("the wall limit", Exceeded(WALL), UNAVAILABLE, None, FailureClass.TIMEOUT),
        ("a result that is none", BAD, RESPONSE, None, FailureClass.MODULE_ERROR),
        ("killed", Stopped(StopCause.KILLED), RESPONSE, None, FailureClass.TIMEOUT),
    ],
)
def test_a_failed_run_has_its_class(
    why: str, end: GuestEnd, last: CallResult | None, denied: DeniedCall | None, expected: FailureClass
) -> None:
    result = result_of(end, last, denied)
    assert isinstance(result, Failed), why
    assert result.failure_class is expected, why


@pytest.mark.parametrize("last", [None, RESPONSE, DENIED, UNAVAILABLE, REFUSED, OVER])
def test_a_run_that_succeeded_is_never_failed_by_its_calls(last: CallResult | None) -> None:
    assert result_of(OK, last, DENIED_CALL) == Completed({})


def test_the_message_of_a_limit_names_it_and_what_the_module_said() -> None:
    result = result_of(PLAIN, OVER)
    assert isinstance(result, Failed)
    assert "httpCalls was hit: used 65, allowed 64" in result.message
    assert "it broke" in result.message


def test_the_message_of_a_trap_has_its_function() -> None:
    result = result_of(Trapped("unreachable", "main!give_up"))
    assert isinstance(result, Failed)
    assert result.message == "the module trapped: unreachable (in main!give_up)"


def test_words_of_a_module_are_cut_to_a_bound() -> None:
    result = result_of(Returned(False, '{"message": "' + "x" * 30_000 + '"}'))
    assert isinstance(result, Failed)
    assert len(result.message) < 1100


def parsed(trigger: Trigger, document: str) -> Result:
    return guest_result(trigger, Returned(True, document), None, None, Limits())


@pytest.mark.parametrize(
    ("trigger", "document", "expected"),
    [
        (
            Trigger.SUBMIT,
            '{"action": "SessionSpawned", "session": {"id": "s", "url": null}, "more": 1}',
            SessionSpawned(SessionRef("s")),
        ),
        (Trigger.SUBMIT, '{"action": "Completed"}', Completed({})),
        (
            Trigger.SUBMIT,
            '{"action": "Completed", "output": {"a": null, "b": {"c": null, "d": [null, {"e": null}]}}}',
            Completed({"b": {"d": [None, {}]}}),
        ),
        (Trigger.OBSERVE, '{"action": "Running"}', StillRunning(None)),
        (Trigger.OBSERVE, '{"action": "Running", "progress": {"p": 0.5, "q": null}}', StillRunning({"p": 0.5})),
        (Trigger.OBSERVE, '{"action": "Failed", "reason": "broke"}', SessionFailed("broke")),
        (Trigger.CANCEL, '{"action": "Cancelled"}', Cancelled()),
    ],
)
def test_a_result_becomes_what_it_says_without_its_nulls(trigger: Trigger, document: str, expected: Result) -> None:
    assert parsed(trigger, document) == expected


@pytest.mark.parametrize(
    ("trigger", "document", "named"),
    [
        (Trigger.SUBMIT, "nothing", "Invalid JSON"),
        (Trigger.SUBMIT, "{}", "action"),
        (Trigger.SUBMIT, '{"action": "Running"}', "action"),
        (Trigger.OBSERVE, '{"action": "SessionSpawned", "session": {"id": "s"}}', "action"),
        (Trigger.CANCEL, '{"action": "Completed"}', "action"),
        (Trigger.SUBMIT, '{"action": "SessionSpawned"}', "session: Field required"),
        (Trigger.SUBMIT, '{"action": "SessionSpawned", "session": {"id": ""}}', "session.id"),
        (Trigger.SUBMIT, '{"action": "SessionSpawned", "session": {"id": 7}}', "session.id"),
        (Trigger.SUBMIT, '{"action": "SessionSpawned", "session": {"id": "%s"}}' % ("x" * 257), "session.id"),
        (Trigger.SUBMIT, '{"action": "Completed", "output": [1]}', "output"),
        (Trigger.SUBMIT, '{"action": "Completed", "output": {"a": NaN}}', "NaN"),
        (Trigger.SUBMIT, '{"action": "Completed", "output": {"a": [1e999]}}', "infinite"),
        (Trigger.SUBMIT, '{"action": "Completed", "output": {"a": {"b": 9223372036854775808}}}', "64 bits"),
        (Trigger.SUBMIT, '{"action": "Completed", "output": {"a": "\\ud800"}}', "Invalid JSON"),
        (Trigger.SUBMIT, '{"action": "Completed", "output": ' + '{"a":' * 300 + "1" + "}" * 301, "recursion"),
        (Trigger.OBSERVE, '{"action": "Failed"}', "reason: Field required"),
        (Trigger.OBSERVE, '{"action": "Running", "progress": 5}', "progress"),
    ],
)
def test_a_result_of_the_wrong_shape_is_a_module_error_that_names_the_field(
    trigger: Trigger, document: str, named: str
) -> None:
    result: Any = parsed(trigger, document)
    assert isinstance(result, Failed)
    assert result.failure_class is FailureClass.MODULE_ERROR
    assert named in result.message
    assert len(result.message) < 1100


SMALL = Limits(output_size=64)
LONG = "y" * 100


def of_a_small_module(trigger: Trigger, document: str, *, ok: bool = True) -> Result:
    return guest_result(trigger, Returned(ok, document), None, None, SMALL)


def test_a_result_is_measured_in_bytes_of_utf8() -> None:
    document = '{"action": "Completed", "output": {"x": "éééé"}}'
    assert len(document) < len(document.encode())
    for size, expected in ((len(document.encode()), Completed), (len(document), Failed)):
        limits = Limits(output_size=size)
        assert isinstance(guest_result(Trigger.SUBMIT, Returned(True, document), None, None, limits), expected)


@pytest.mark.parametrize(
    ("trigger", "document", "ok"),
    [
        (Trigger.SUBMIT, f'{{"action": "Completed", "output": {{"x": "{LONG}"}}}}', True),
        (Trigger.SUBMIT, f'{{"action": "SessionSpawned", "session": {{"id": "{LONG}"}}}}', True),
        (Trigger.OBSERVE, f'{{"action": "Running", "progress": {{"x": "{LONG}"}}}}', True),
        (Trigger.OBSERVE, f'{{"message": "{LONG}"}}', False),
        (Trigger.CANCEL, f'{{"action": "Cancelled"}}{" " * 100}', True),
    ],
)
def test_a_result_that_is_too_large_fails_its_execution_by_its_size(trigger: Trigger, document: str, ok: bool) -> None:
    result = of_a_small_module(trigger, document, ok=ok)
    assert isinstance(result, Failed)
    assert result.failure_class is FailureClass.LIMIT_EXCEEDED
    assert f"outputSize was hit: used {len(document)} bytes, allowed 64 bytes" in result.message


def test_of_a_session_that_completed_only_an_output_that_is_too_large_is_left_out() -> None:
    document = f'{{"action": "Completed", "output": {{"x": "{LONG}"}}}}'
    assert of_a_small_module(Trigger.OBSERVE, document) == Completed(
        {}, "Its output of 108 bytes is over outputSize 64 bytes and left out."
    )
    spaced = f'{{"action": "Completed", "output": {{"x": "y"}}}}{" " * 100}'
    assert of_a_small_module(Trigger.OBSERVE, spaced) == Completed({"x": "y"})


def test_a_session_that_failed_with_a_long_reason_has_failed() -> None:
    result = of_a_small_module(Trigger.OBSERVE, f'{{"action": "Failed", "reason": "{LONG}"}}')
    assert result == SessionFailed(LONG)
