"""Answers as servers send them: compressed though nobody asked, with byte order marks, in any charset, framed as ever.

| what                 | matrix                                                                               |
|----------------------|--------------------------------------------------------------------------------------|
| content coding       | gzip, x-gzip, deflate with and without its frame, br, two at once; unknown; damaged  |
| its size             | as sent and as meant, of exactly `responseSize` and one byte over it                 |
| text                 | byte order mark before JSON and text; latin-1, UTF-16, Shift_JIS, unknown, none       |
| end of the body      | a length, chunks, the end of the connection; HTTP/1.0 and HTTP/1.1                   |
| transfer coding      | chunked, identity, gzip under chunks or alone, unknown, chunked twice                |
"""

import codecs
import gzip
import json
import zlib
from collections.abc import Callable

import brotli
import pytest

from curation.egress.client import EgressClient, OutboundRequest, OutboundResponse
from curation.egress.content import body_text
from curation.egress.errors import ResponseTooLarge, Unavailable
from curation.egress.url import parse_url
from tests.unit.egress.raw_server import RawServer, answering, raw_server

BODY = json.dumps({"rows": list(range(200)), "text": "grün"}).encode()


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZip": gzip.compress,
    "deflate": zlib.compress,
    " deflate ": raw_deflate,
    "br": brotli.compress,
    "identity": bytes,
    "gzip, br": lambda body: brotli.compress(gzip.compress(body)),
    "identity, gzip": gzip.compress,
}


async def fetch(client: EgressClient, server: RawServer, limit: int = 100_000) -> OutboundResponse:
    request = OutboundRequest("GET", parse_url(f"http://127.0.0.1:{server.port}/"))
    return await client.send(request, timeout=30, max_response_bytes=limit)


async def answer(client: EgressClient, raw: bytes, limit: int = 100_000) -> OutboundResponse:
    async with raw_server(answering(raw, close=True)) as server:
        return await fetch(client, server, limit)


def whole(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize(("coding", "pack"), CODINGS.items(), ids=CODINGS.keys())
async def test_a_content_coding_that_nobody_asked_for_is_undone(
    client: EgressClient, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    got = await answer(client, whole(pack(BODY), f"Content-Encoding:{coding}", "Content-Type: application/json"))
    assert got.body == BODY
    assert got.headers["content-type"] == "application/json"
    assert got.headers.get("content-length") in (None, str(len(BODY)))


@pytest.mark.parametrize(("coding", "pack"), CODINGS.items(), ids=CODINGS.keys())
async def test_a_coded_body_of_exactly_the_bound_passes_and_one_byte_more_does_not(
    client: EgressClient, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    raw = whole(pack(bytes(5000)), f"Content-Encoding:{coding}")
    assert len((await answer(client, raw, limit=5000)).body) == 5000
    with pytest.raises(ResponseTooLarge) as large:
        await answer(client, raw, limit=4999)
    assert (large.value.used, large.value.allowed) == (5000, 4999)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate, brotli.compress])
async def test_a_coded_body_that_is_cut_short_is_unavailable(
    client: EgressClient, pack: Callable[[bytes], bytes]
) -> None:
    coding = {gzip.compress: "gzip", brotli.compress: "br"}.get(pack, "deflate")
    with pytest.raises(Unavailable, match=f"content coding {coding} is damaged or cut short"):
        await answer(client, whole(pack(BODY)[:-5], f"Content-Encoding: {coding}"))


@pytest.mark.parametrize("coding", ["zstd", "gzip, zstd", "compress"])
async def test_a_body_of_an_unknown_coding_passes_as_it_is_and_says_so(client: EgressClient, coding: str) -> None:
    got = await answer(client, whole(b"packed", f"Content-Encoding: {coding}"))
    assert (got.body, got.headers["content-encoding"], got.headers["content-length"]) == (b"packed", coding, "6")


async def test_a_part_of_a_coded_body_and_an_empty_one_pass_as_they_are(client: EgressClient) -> None:
    part = whole(gzip.compress(BODY)[5:50], "Content-Encoding: gzip", status="206 Partial Content")
    assert (await answer(client, part)).body == gzip.compress(BODY)[5:50]
    assert (await answer(client, whole(b"", "Content-Encoding: gzip"))).body == b""


TEXTS = {
    "JSON behind a mark": (codecs.BOM_UTF8 + b'{"a": 1}', "application/json", '{"a": 1}'),
    "JSON in UTF-16 behind a mark": (codecs.BOM_UTF16_LE + '{"ü": 1}'.encode("utf-16-le"), "text/json", '{"ü": 1}'),
    "a vendor's JSON behind a mark": (codecs.BOM_UTF8 + b"{}", "application/vnd.x+json; v=1", "{}"),
    "text behind a mark": (codecs.BOM_UTF8 + "grün".encode(), "text/plain", "grün"),
    "a mark wins over the charset": (codecs.BOM_UTF8 + "grün".encode(), "text/plain; charset=latin-1", "grün"),
    "a mark in big-endian UTF-16": (codecs.BOM_UTF16_BE + "grün".encode("utf-16-be"), "text/plain", "grün"),
    "a mark without a content type": (codecs.BOM_UTF8 + b"{}", "", "{}"),
    "only the first mark": (codecs.BOM_UTF8 * 2, "text/plain", "\ufeff"),
    "latin-1": ("grün".encode("latin-1"), "text/plain; charset=ISO-8859-1", "grün"),
    "latin-1 by another name, quoted": ("grün".encode("latin-1"), 'text/plain;Charset="latin1"', "grün"),
    "JSON in latin-1": ('{"a": "ü"}'.encode("latin-1"), "application/json; charset=latin-1", '{"a": "ü"}'),
    "windows-1252": ("„grün“ €".encode("cp1252"), "text/html; v=1; charset=windows-1252", "„grün“ €"),
    "UTF-16 with its mark": ("grün".encode("utf-16"), "text/plain; charset=utf-16", "grün"),
    "UTF-16 without a mark": ("grün".encode("utf-16-be"), "text/plain; charset=UTF-16BE", "grün"),
    "Shift_JIS": ("日本".encode("shift_jis"), "text/plain; charset=Shift_JIS", "日本"),
    "an unknown charset": ("grün".encode(), "text/plain; charset=klingon", "grün"),
    "a codec of Python's that is no charset": (b"68656c6c6f", "text/plain; charset=hex", "68656c6c6f"),
    "one that takes long": ("grün".encode(), "text/plain; charset=punycode", "grün"),
    "no charset": ("grün".encode(), "text/plain", "grün"),
    "an empty charset": ("grün".encode(), "text/plain; charset=", "grün"),
    "what is no UTF-8": (b"gr\xfcn", "text/plain", "gr\ufffdn"),
    "bytes that look like a mark in no text": (b"\xff\xfea", "application/octet-stream", "\ufffd\ufffda"),
    "nothing": (b"", "application/json", ""),
}


@pytest.mark.parametrize(("body", "content_type", "text"), TEXTS.values(), ids=TEXTS.keys())
def test_text_is_what_its_mark_or_its_charset_says(body: bytes, content_type: str, text: str) -> None:
    assert body_text(body, content_type) == text


UNTIL_THE_END = {
    "HTTP/1.1": b"HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n",
    "HTTP/1.0 that would go on": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n",
    "identity": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
}


@pytest.mark.parametrize("head", UNTIL_THE_END.values(), ids=UNTIL_THE_END.keys())
@pytest.mark.parametrize("body", [b"", b"ok", BODY * 20])
async def test_a_body_without_a_length_goes_to_the_end_of_the_connection(
    client: EgressClient, head: bytes, body: bytes
) -> None:
    async with raw_server(answering(head + body, close=True)) as server:
        assert [(await fetch(client, server)).body for _ in range(2)] == [body] * 2
        assert server.connections == 2


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_an_answer_of_either_version_with_a_length_ends_there(client: EgressClient, version: str) -> None:
    async with raw_server(answering(f"HTTP/{version} 200 OK\r\nContent-Length: 2\r\n\r\nok".encode())) as server:
        assert (await fetch(client, server)).body == b"ok"


TRANSFER = {
    "chunked": ("chunked", chunked(BODY)),
    "in other case": ("Chunked", chunked(BODY)),
    "folded": ("\r\n chunked", chunked(BODY)),
    "identity before it": ("identity, chunked", chunked(BODY)),
    "gzip under chunks": ("gzip, chunked", chunked(gzip.compress(BODY))),
    "deflate under chunks": ("deflate ,chunked", chunked(zlib.compress(BODY))),
    "in two headers": ("gzip\r\nTransfer-Encoding: chunked", chunked(gzip.compress(BODY))),
    "gzip to the end of the connection": ("gzip", gzip.compress(BODY)),
}


@pytest.mark.parametrize(("coding", "body"), TRANSFER.values(), ids=TRANSFER.keys())
async def test_a_transfer_coding_is_undone(client: EgressClient, coding: str, body: bytes) -> None:
    got = await answer(client, f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n".encode() + body)
    assert (got.body, got.headers) == (BODY, {})


async def test_a_transfer_coding_and_a_content_coding_are_both_undone_within_the_bound(client: EgressClient) -> None:
    body = chunked(zlib.compress(gzip.compress(bytes(5000))))
    raw = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: deflate, chunked\r\n\r\n" + body
    assert (await answer(client, raw, limit=5000)).body == bytes(5000)
    with pytest.raises(ResponseTooLarge):
        await answer(client, raw, limit=4999)


async def test_identity_leaves_the_length_as_it_is(client: EgressClient) -> None:
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok"
    async with raw_server(answering(raw)) as server:
        assert [(await fetch(client, server)).body for _ in range(2)] == [b"ok"] * 2
        assert server.connections == 2, "what others may read otherwise is not followed by another request"


@pytest.mark.parametrize(
    ("coding", "words"),
    [
        ("zstd, chunked", "a transfer coding that nobody asked for"),
        ("compress", "a transfer coding that nobody asked for"),
        ("chunked, chunked", "not valid HTTP"),
        ("chunked, gzip", "not valid HTTP"),
    ],
)
async def test_another_transfer_coding_is_refused_in_words_that_are_true(
    client: EgressClient, coding: str, words: str
) -> None:
    raw = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n".encode() + chunked(b"ok")
    with pytest.raises(Unavailable, match=words):
        await answer(client, raw)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_an_answer_that_has_no_body_needs_no_end(client: EgressClient, status: str) -> None:
    raw = f"HTTP/1.1 {status}\r\nTransfer-Encoding: gzip, chunked\r\nContent-Encoding: gzip\r\n\r\n".encode()
    async with raw_server(answering(raw)) as server:
        assert (await fetch(client, server)).body == b""
