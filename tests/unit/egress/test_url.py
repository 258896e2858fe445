# ruff: noqa: RUF001 - look-alike characters are what is tested
"""URLs: every spelling of a place has one form, and what two parsers could read differently is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.api.approval import EvaluatedRequest
from curation.api.names import Trigger
from curation.authz.decision import request_url
from curation.egress.errors import EgressRefused
from curation.egress.url import CanonicalURL, canonical_method, parse_url

CANONICAL = {
    "plain": ("http://api.example/v1", "http://api.example:80/v1"),
    "https": ("https://api.example/v1", "https://api.example:443/v1"),
    "no path": ("http://api.example", "http://api.example:80/"),
    "no path but a query": ("http://api.example?a=b", "http://api.example:80/?a=b"),
    "an explicit default port": ("https://api.example:443/", "https://api.example:443/"),
    "a port with zeros": ("http://api.example:0080/", "http://api.example:80/"),
    "an empty port": ("http://api.example:/", "http://api.example:80/"),
    "another port": ("http://api.example:8080/", "http://api.example:8080/"),
    "upper case": ("HTTP://API.Example/V1", "http://api.example:80/V1"),
    "trailing dot": ("http://api.example./", "http://api.example:80/"),
    "trailing ideographic dot": ("http://api.example。/", "http://api.example:80/"),
    "IDNA": ("http://bücher.example/", "http://xn--bcher-kva.example:80/"),
    "IDNA upper case": ("http://BÜCHER.example/", "http://xn--bcher-kva.example:80/"),
    "IDNA as A-label": ("http://XN--BCHER-KVA.example/", "http://xn--bcher-kva.example:80/"),
    "IDNA sharp s is not ss": ("http://faß.example/", "http://xn--fa-hia.example:80/"),
    "full-width letters": ("http://ａｐｉ.example/", "http://api.example:80/"),
    "hyphens in places 3 and 4": ("http://r3---sn.example/", "http://r3---sn.example:80/"),
    "one label": ("http://sessions/", "http://sessions:80/"),
    "IPv4": ("http://127.0.0.1/", "http://127.0.0.1:80/"),
    "IPv4 trailing dot": ("http://127.0.0.1./", "http://127.0.0.1:80/"),
    "IPv4 short": ("http://127.1/", "http://127.0.0.1:80/"),
    "IPv4 of three parts": ("http://127.0.1/", "http://127.0.0.1:80/"),
    "IPv4 decimal": ("http://2130706433/", "http://127.0.0.1:80/"),
    "IPv4 octal": ("http://0177.0.0.01/", "http://127.0.0.1:80/"),
    "IPv4 octal in one": ("http://017700000001/", "http://127.0.0.1:80/"),
    "IPv4 hexadecimal": ("http://0x7f.1/", "http://127.0.0.1:80/"),
    "IPv4 hexadecimal in one": ("http://0X7F000001/", "http://127.0.0.1:80/"),
    "IPv4 empty hexadecimal": ("http://0x/", "http://0.0.0.0:80/"),
    "IPv4 in circled digits": ("http://①②⑦.0.0.1/", "http://127.0.0.1:80/"),
    "IPv4 in full-width digits": ("http://１２７．０．０．１/", "http://127.0.0.1:80/"),
    "metadata in decimal": ("http://2852039166/", "http://169.254.169.254:80/"),
    "a host that only starts with a number": ("http://127.0.0.1.example/", "http://127.0.0.1.example:80/"),
    "an address in the path": ("https://evil.example/@127.0.0.1/x", "https://evil.example:443/@127.0.0.1/x"),
    "a URL in the query": ("http://a.example/?u=http://b@c/", "http://a.example:80/?u=http://b@c/"),
    "dot segments": ("http://a.example/v1/./x/../y", "http://a.example:80/v1/y"),
    "dot segments at the end": ("http://a.example/v1/x/..", "http://a.example:80/v1/"),
    "a dot at the end": ("http://a.example/v1/.", "http://a.example:80/v1/"),
    "more dot segments than segments": ("http://a.example/../../v1", "http://a.example:80/v1"),
    "only dot segments": ("http://a.example/..", "http://a.example:80/"),
    "encoded dot segments": ("http://a.example/v1/%2e%2E/admin", "http://a.example:80/admin"),
    "half-encoded dot segments": ("http://a.example/v1/.%2e/admin", "http://a.example:80/admin"),
    "empty segments stay": ("http://a.example//v1//x", "http://a.example:80//v1//x"),
    "encoded letters": ("http://a.example/%61%2D%7e", "http://a.example:80/a-~"),
    "escapes in lower case": ("http://a.example/%c3%bc%2f", "http://a.example:80/%C3%BC%2F"),
    "an encoded slash is no slash": ("http://a.example/group%2Fproject", "http://a.example:80/group%2Fproject"),
    "letters beyond ASCII": ("http://a.example/ü?q=ü", "http://a.example:80/%C3%BC?q=%C3%BC"),
    "characters that must be encoded": ('http://a.example/<">^`{|}', "http://a.example:80/%3C%22%3E%5E%60%7B%7C%7D"),
    "brackets in a query": ("http://a.example/?a[]=1", "http://a.example:80/?a%5B%5D=1"),
    "an empty query": ("http://a.example/x?", "http://a.example:80/x"),
    "a question mark in the query": ("http://a.example/x?a?b", "http://a.example:80/x?a?b"),
    "reserved characters keep their form": (
        "http://a.example/a;b=c,d?x=%26&y=+",
        "http://a.example:80/a;b=c,d?x=%26&y=+",
    ),
    "an encoded colon and at": ("http://a.example/x%3adelete%40", "http://a.example:80/x:delete@"),
    "encoded path parameters": ("http://a.example/x%3bv%3d1%2b", "http://a.example:80/x%3Bv%3D1%2B"),
    "an encoded slash in a query": ("http://a.example/?u=%2fx%3f%3d%26", "http://a.example:80/?u=/x?%3D%26"),
    "an encoded line feed in a query": ("http://a.example/?q=%0a", "http://a.example:80/?q=%0A"),
    "a percent sign encoded": ("http://a.example/100%25", "http://a.example:80/100%25"),
    "dots in a query": ("http://a.example/?f=../x", "http://a.example:80/?f=../x"),
}

REFUSED = {
    "nothing": ("", "is no absolute URL"),
    "a path": ("/v1", "is no absolute URL"),
    "no scheme": ("api.example/v1", "is no absolute URL"),
    "a relative scheme": ("//api.example/v1", "is no absolute URL"),
    "one slash": ("http:/evil", "is no absolute URL"),
    "no slash": ("http:evil.example", "is no absolute URL"),
    "another scheme": ("file:///etc/passwd", "use http or https"),
    "a websocket": ("ws://a.example/", "use http or https"),
    "userinfo": ("http://a@b/", "user name or password"),
    "userinfo with password": ("http://a:b@c.example/", "user name or password"),
    "userinfo that looks like a host": ("http://api.example:80@evil.example/", "user name or password"),
    "empty userinfo": ("http://@evil.example/", "user name or password"),
    "a fragment": ("http://a.example/#x", "fragment"),
    "a fragment before userinfo": ("http://127.0.0.1#@evil", "fragment"),
    "an empty fragment": ("http://a.example/#", "fragment"),
    "a backslash": ("http:/\\evil", "backslash"),
    "a backslash in the host": ("http://a.example\\@evil.example/", "backslash"),
    "a backslash in the path": ("http://a.example/..\\admin", "backslash"),
    "CR LF": ("http://a.example/ HTTP/1.1\r\nHost: b", "the URL contains"),
    "a tab": ("http://a.exa\tmple/", "'\\t'"),
    "a blank": (" http://a.example/", "the URL contains ' '"),
    "a blank in the path": ("http://a.example/a b", "percent-encode"),
    "NUL": ("http://a.example/\0", "'\\x00'"),
    "a no-break space": ("http://a.example/\u00a0", "'\\xa0'"),
    "a zero-width space": ("http://a\u200b.example/", "'\\u200b'"),
    "a bidirectional mark": ("http://a.example/\u202e", "'\\u202e'"),
    "a line separator": ("http://a.example/\u2028", "'\\u2028'"),
    "a lone surrogate": ("http://a.example/\ud800", "'\\ud800'"),
    "no host": ("http:///x", "no host"),
    "no host but a port": ("http://:80/", "no host"),
    "only a dot": ("http://./", "no DNS name"),
    "two dots": ("http://a..example/", "no DNS name"),
    "two trailing dots": ("http://a.example../", "no DNS name"),
    "a leading hyphen": ("http://-a.example/", "no DNS name"),
    "an underscore": ("http://a_b.example/", "international name"),
    "a host with an escape": ("http://%31%32%37.0.0.1/", "percent-encoding in a host"),
    "an encoded at": ("http://a%40b.example/", "percent-encoding in a host"),
    "a label that is too long": (f"http://{'a' * 64}.example/", "no DNS name"),
    "a name that is too long": (f"http://{'a.' * 130}example/", "at most 253"),
    "a giant host": (f"http://{'a' * 5000}/", "at most 253"),
    "bad punycode": ("http://xn--a.example/", "international name"),
    "IPv6": ("http://[::1]/", "IPv6 literals"),
    "IPv4-mapped IPv6": ("http://[::ffff:169.254.169.254]/", "IPv6 literals"),
    "IPv6 with a port": ("http://[::1]:80/", "IPv6 literals"),
    "IPv6 with a zone": ("http://[fe80::1%25eth0]/", "IPv6 literals"),
    "IPv6 without brackets": ("http://::1/", "IPv6 literals"),
    "IPv4 of five parts": ("http://1.2.3.4.5/", "no IPv4 address"),
    "IPv4 over 255": ("http://256.0.0.1/", "no IPv4 address"),
    "IPv4 over 32 bits": ("http://4294967296/", "no IPv4 address"),
    "IPv4 bad octal": ("http://127.0.0.08/", "no IPv4 address"),
    "a name that ends in a number": ("http://example.1/", "no IPv4 address"),
    "port 0": ("http://a.example:0/", "from 1 to 65535"),
    "port 65536": ("http://a.example:65536/", "from 1 to 65535"),
    "port 99999": ("http://a.example:99999/", "from 1 to 65535"),
    "a port in words": ("http://a.example:http/", "from 1 to 65535"),
    "a port with a sign": ("http://a.example:+80/", "from 1 to 65535"),
    "a port in other digits": ("http://a.example:８０/", "from 1 to 65535"),
    "two ports": ("http://a.example:80:80/", "IPv6 literals"),
    "a lone percent": ("http://a.example/100%", "starts no escape"),
    "a bad escape": ("http://a.example/%zz", "starts no escape"),
    "a bad escape in the query": ("http://a.example/?%u0041", "starts no escape"),
    "dot segments behind an encoded slash": ("http://a.example/v1/..%2fadmin", "hidden dot segment"),
    "dot segments behind an encoded backslash": ("http://a.example/v1/..%5cadmin", "hidden dot segment"),
    "dot segments encoded twice": ("http://a.example/v1/%252e%252e/admin", "hidden dot segment"),
    "dot segments and slash encoded twice": ("http://a.example/v1%252f..%252fadmin", "hidden dot segment"),
    "dot segments encoded three times": ("http://a.example/v1/%25252e%25252e/admin", "hidden dot segment"),
    "dot segments encoded often": ("http://a.example/v1/%2525252525252e", "encoded more than"),
    "dot segments with a parameter": ("http://a.example/v1/..;/admin", "hidden dot segment"),
    "dot segments with an encoded parameter": ("http://a.example/v1/..%3bx/admin", "hidden dot segment"),
    "an encoded NUL in the path": ("http://a.example/a%00.png", "control character"),
    "an encoded line feed in the path": ("http://a.example/a%0d%0ab", "control character"),
    "a giant path": ("http://a.example/" + "a" * 8192, "8192 are allowed"),
    "a path that grows too long": ("http://a.example/" + "ü" * 2000, "8192 are allowed"),
    "a giant query": ("http://a.example/?" + "a" * 8193, "8192 are allowed"),
    "a giant URL": ("http://a.example/" + "a" * 99999, "16384 are allowed"),
}


@pytest.mark.parametrize(("text", "canonical"), CANONICAL.values(), ids=CANONICAL.keys())
def test_a_url_has_one_form(text: str, canonical: str) -> None:
    parsed = parse_url(text)
    assert parsed.url == str(parsed) == canonical
    assert parse_url(parsed.url) == parsed


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_url_that_could_be_read_two_ways_is_refused(text: str, message: str) -> None:
    with pytest.raises(EgressRefused) as refused:
        parse_url(text)
    assert message in str(refused.value)
    assert len(str(refused.value)) < 400


def test_the_parts_of_a_url() -> None:
    parsed = parse_url("HTTPS://Api.Example./v1/x?a=b")
    assert parsed == CanonicalURL("https", "api.example", 443, "/v1/x", "a=b")
    assert (parsed.origin, parsed.target) == ("https://api.example:443", "/v1/x?a=b")


@pytest.mark.parametrize("text", ["http://a.example", "https://a.example:8443/x?y=z", "http://a.example/?q"])
def test_the_policy_sees_the_url_that_is_sent(text: str) -> None:
    url = parse_url(text)
    request = EvaluatedRequest(
        module="m",
        module_digest="d",
        trigger=Trigger.SUBMIT,
        method="GET",
        scheme=url.scheme,
        host=url.host,
        port=url.port,
        path=url.path,
        query=url.query,
    )
    assert request_url(request) == url.url


PIECES = ["http://", "HTTPS://", "a.example", "/", "..", "%2e", "%2f", "%25", "?", ":", "80", "@", "#", "\\", "0x7f"]
PIECES += ["1", ".", ";", "ü", "①", "xn--", "[", "]", "%", " ", "\r\n", "。", "\u00ad"]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join), st.booleans())
def test_any_text_is_refused_or_brought_to_a_form_that_stays(text: str, prefixed: bool) -> None:
    try:
        parsed = parse_url(f"http://a.example/{text}" if prefixed else text)
    except EgressRefused:
        return
    assert parse_url(parsed.url) == parsed
    assert parsed.url.isascii()
    assert not set(parsed.url) & set(' \r\n\t\\#"<>')
    assert "@" not in parsed.host
    assert not {".", ".."} & set(parsed.path.split("/"))


def test_methods_are_upper_case_and_of_a_list() -> None:
    assert canonical_method("post") == "POST"


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "", "GET ", "GET\r\nX: y", "ＧＥＴ", "PROPFIND", "poſt"])
def test_other_methods_are_refused(method: str) -> None:
    with pytest.raises(EgressRefused, match="is not allowed; use one of DELETE, GET"):
        canonical_method(method)
