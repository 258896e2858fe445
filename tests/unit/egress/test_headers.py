"""Headers: what is dropped, what is refused, what a module sees of an answer."""

import pytest

from curation.api.contract import MAX_REQUEST_HEADERS
from curation.egress.errors import EgressRefused
from curation.egress.headers import MAX_HEADERS, module_headers, response_headers, wire_headers

REFUSED = {
    "another host": ({"Host": "evil.example"}, "'Host' is set by the operator"),
    "transfer encoding": ({"Transfer-Encoding": "chunked"}, "'Transfer-Encoding' is set by the operator"),
    "an upgrade": ({"Upgrade": "websocket"}, "'Upgrade' is set by the operator"),
    "a trailer": ({"Trailer": "X"}, "'Trailer' is set by the operator"),
    "an expectation": ({"Expect": "100-continue"}, "'Expect' is set by the operator"),
    "a run id": ({"Curation-Run-Id": "x"}, "says who is calling"),
    "a run id in other case": ({"cURATION-rUN-iD": "x"}, "says who is calling"),
    "a run id with underscores": ({"Curation_Run_Id": "x"}, "says who is calling"),
    "forwarded for, with underscores": ({"X_Forwarded_For": "127.0.0.1"}, "says who is calling"),
    "another method, with underscores": ({"X_HTTP_Method_Override": "DELETE"}, "would change the method"),
    "another method, with dots": ({"X.HTTP.Method.Override": "DELETE"}, "would change the method"),
    "transfer encoding with an underscore": ({"Transfer_Encoding": "chunked"}, "is set by the operator"),
    "forwarded": ({"Forwarded": "for=1"}, "says who is calling"),
    "forwarded for": ({"X-Forwarded-For": "127.0.0.1"}, "says who is calling"),
    "via": ({"Via": "1.1 x"}, "says who is calling"),
    "a real address": ({"X-Real-IP": "127.0.0.1"}, "says who is calling"),
    "another path": ({"X-Original-URL": "/admin"}, "says who is calling"),
    "proxy credentials": ({"Proxy-Authorization": "Basic x"}, "says who is calling"),
    "another method": ({"X-HTTP-Method-Override": "DELETE"}, "would change the method"),
    **{
        f"{name} of an identity": ({name: "admin"}, "says who is calling")
        for name in (
            *(
                "X-Remote-User",
                "X_Remote_User",
                "x-remote-group",
                "X-Remote-Extra-Scopes",
                "Remote-User",
                "REMOTE_USER",
            ),
            *("Remote-Groups", "X-Authenticated-User", "X_Authenticated_Userid", "X-WebAuth-User", "X-WEBAUTH-ROLE"),
            *("Impersonate-User", "impersonate_group", "Impersonate-Extra-x", "Impersonate-Uid", "X-Host", "X_Host"),
            *("X-Auth-Request-Email", "X-Goog-Authenticated-User-Email", "X-Amzn-Oidc-Identity", "X-SSL-Client-Cert"),
            *("X.Remote.User", "Remote~User", "X-Forwarded.For", "Impersonate.User", "Curation.Run.Id", "X+Host"),
            *("X-MS-CLIENT-PRINCIPAL-NAME", "Cf-Access-Jwt-Assertion", "X-Forwarded", "X-Client-Cert", "Client-Cert"),
        )
    },
    "CR LF in a value": ({"X": "a\r\nHost: b"}, "control or non-ASCII"),
    "LF in a value": ({"X": "a\nb"}, "control or non-ASCII"),
    "LF at the end of a value": ({"X": "a\n"}, "control or non-ASCII"),
    "NUL in a value": ({"X": "a\0"}, "control or non-ASCII"),
    "letters beyond ASCII": ({"X": "ü"}, "control or non-ASCII"),
    "a surrogate": ({"X": "\ud800"}, "control or non-ASCII"),
    "CR LF in a name": ({"X\r\nY": "a"}, "name 'X\\r\\nY' is not valid"),
    "LF at the end of a name": ({"X\n": "a"}, "is not valid"),
    "a blank before the colon": ({"Transfer-Encoding ": "chunked"}, "is not valid"),
    "a colon in a name": ({"X:Y": "a"}, "is not valid"),
    "no name": ({"": "a"}, "is not valid"),
    "a name twice": ({"X-A": "1", "x-a": "2"}, "given twice"),
    "a name twice to a WSGI server": ({"X-A": "1", "X_A": "2"}, "given twice"),
    "too many": ({f"X-{n}": "a" for n in range(MAX_REQUEST_HEADERS + 1)}, "65 headers, 64 are allowed"),
    "a giant value": ({"X": "a" * 8191}, "8190 are allowed"),
    "giant together": ({f"X-{n}": "a" * 8000 for n in range(5)}, "32768 are allowed"),
    "a giant name": ({"X" * 257: "a"}, "is not valid"),
}


@pytest.mark.parametrize(("headers", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_module_may_not_set_it(headers: dict[str, str], message: str) -> None:
    with pytest.raises(EgressRefused) as refused:
        module_headers(headers)
    assert message in str(refused.value)


def test_what_the_host_sets_by_itself_is_dropped() -> None:
    given = {"Connection": "keep-alive, X-Secret", "content-length": "999", "Accept-Encoding": "gzip", "TE": "trailers"}
    assert module_headers({**given, "Keep-Alive": "timeout=5", "X-Secret": "s"}) == {"X-Secret": "s"}


def test_ordinary_headers_pass_as_they_are() -> None:
    headers = {"Content-Type": "application/json", "Authorization": "Bearer x", "Idempotency-Key": "k", "X-Empty": ""}
    headers |= {"X-Auth-Token": "t", "CF-Access-Client-Id": "i", "X-Auth-Key": "k", "X-Api-Key": "a"}
    assert module_headers({**headers, "X-Blank": " a b\t"}) == {**headers, "X-Blank": "a b"}


def test_the_hosts_own_headers_may_say_who_is_calling_but_not_frame() -> None:
    assert wire_headers({"Curation-Run-Id": "u.g1.a1"}) == {"Curation-Run-Id": "u.g1.a1"}
    for name in ("Host", "Content-Length", "Transfer-Encoding", "Connection"):
        with pytest.raises(EgressRefused):
            wire_headers({name: "1"})


def test_the_hosts_own_headers_are_bounded_too() -> None:
    wire_headers({f"X-{n}": "a" for n in range(MAX_HEADERS)})
    with pytest.raises(EgressRefused, match=f"{MAX_HEADERS} are allowed"):
        wire_headers({f"X-{n}": "a" for n in range(MAX_HEADERS + 1)})


def test_an_answers_headers_are_lower_case_joined_and_without_cookies() -> None:
    raw = [(b"X-A", b"1"), (b"Set-Cookie", b"s=1"), (b"x-a", b"2"), (b"Connection", b"close"), (b"ETag", b"\xff")]
    assert response_headers(raw) == {"x-a": "1, 2", "etag": "\ufffd"}
