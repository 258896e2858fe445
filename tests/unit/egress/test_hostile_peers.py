"""Answers without end, from another process at full speed: each ends at a bound that is named, and holds up nobody.

What is measured is the processor time of the event loop's own thread, as a ratio to a plain answer's: a machine that is
busy with other things changes neither.
"""

import asyncio
import math
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from curation.egress.client import EgressClient, OutboundRequest, OutboundResponse
from curation.egress.errors import AnswerOverBounds, EgressError, ResponseTooLarge
from curation.egress.floor import AddressFloor
from curation.egress.response import MAX_ANSWER_HEADERS, MAX_HEAD, MAX_INFORMATIONAL
from curation.egress.url import parse_url
from tests.harness.certificates import self_signed

GENEROUS = 60
LIMIT = 1 << 20


def start(*arguments: str) -> Iterator[int]:
    command = [sys.executable, "-m", "tests.peers.hostile", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture(scope="module")
def peer() -> Iterator[int]:
    """The port of a hostile server."""
    yield from start()


@pytest.fixture(scope="module")
def tls_peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of one that speaks TLS, and its certificate."""
    certificate, _ = self_signed(tmp_path_factory.mktemp("tls"), "localhost")
    for port in start(str(certificate), str(certificate.with_suffix(".key"))):
        yield port, certificate


async def ask(client: EgressClient, port: int, path: str, host: str = "127.0.0.1") -> OutboundResponse:
    # A namespace of its own, so that no request meets the end of another's connection.
    scheme = "http" if host == "127.0.0.1" else "https"
    request = OutboundRequest("GET", parse_url(f"{scheme}://{host}:{port}{path}"), namespace=path)
    return await client.send(request, timeout=GENEROUS, max_response_bytes=LIMIT)


async def longest_turn(client: EgressClient, port: int, path: str) -> float:
    """The longest processor time of the thread in which nobody else had a turn, for one exchange."""
    turns = [time.thread_time()]
    task = asyncio.create_task(ask(client, port, path))
    while not task.done():
        await asyncio.sleep(0)
        turns.append(time.thread_time())
    assert isinstance(task.exception(), EgressError)
    return max(later - earlier for earlier, later in pairwise(turns))


async def used(client: EgressClient, port: int, path: str) -> float:
    """Processor time of the thread for one exchange, with nothing else going on."""
    before = time.thread_time()
    try:
        await ask(client, port, path)
    except AnswerOverBounds:
        pass
    return time.thread_time() - before


async def least(client: EgressClient, port: int, path: str, plain: str, most: float) -> tuple[float, float]:
    """The least that each of two exchanges took, in turns: until they are at `most`, or for long."""
    one = other = math.inf
    for number in range(60):
        one = min(one, await used(client, port, path))
        other = min(other, await used(client, port, plain))
        if number >= 4 and one <= most * other:
            break
    return one, other


HEAD = "the head of its answer is over 64 KiB in all"
HEADERS = "its answer has over 512 headers in all"
FRAMING = "the framing of the answer's chunks"
WITHOUT_END = {
    "/informational": "it gave over 8 informational",
    "/status-line": HEAD,
    "/header-line": HEAD,
    "/blanks": HEAD,
    "/folded": HEADERS,
    "/headers": HEADERS,
    "/chunk-line": "extension of over 4096 bytes",
    "/chunk-lines": FRAMING,
    "/chunks/1/10000000": FRAMING,
    "/chunks/1,2/10000000": FRAMING,
    "/chunks/1,2,3,1,5/10000000": FRAMING,
    "/trailers": HEADERS,
    "/gzip-members": "over 1024 members",
}
TOO_LARGE = ["/body", "/chunks/8000/10000000", "/gzip-bomb", "/deflate-bomb", "/brotli-bomb"]


@pytest.mark.parametrize(("path", "message"), WITHOUT_END.items(), ids=WITHOUT_END.keys())
async def test_an_answer_without_end_ends_at_a_bound_that_is_named(
    client: EgressClient, peer: int, path: str, message: str
) -> None:
    with pytest.raises(AnswerOverBounds, match=f"http://127.0.0.1:{peer}: .*{message}"):
        await ask(client, peer, path)


@pytest.mark.parametrize("path", TOO_LARGE)
async def test_a_body_without_end_or_a_bomb_ends_at_the_size_of_a_response(
    client: EgressClient, peer: int, path: str
) -> None:
    with pytest.raises(ResponseTooLarge) as raised:
        await ask(client, peer, path)
    assert LIMIT < raised.value.used < 2 * LIMIT


@pytest.mark.parametrize("path", [*WITHOUT_END, *TOO_LARGE])
async def test_no_answer_holds_up_the_loop_for_much_longer_than_a_whole_plain_one_takes(
    client: EgressClient, peer: int, path: str
) -> None:
    await ask(client, peer, "/body/1")
    turn = min([await longest_turn(client, peer, path) for _ in range(3)])
    assert turn <= 5 * min([await used(client, peer, f"/body/{LIMIT}") for _ in range(15)])


@pytest.mark.parametrize("size", [1_000, 6_000, 13_000, 100_000, LIMIT])
async def test_a_body_in_chunks_of_one_byte_costs_no_more_than_twice_a_plain_one(
    client: EgressClient, peer: int, size: int
) -> None:
    await ask(client, peer, "/body/1")
    chunked, plain = await least(client, peer, f"/chunks/1/{size}", f"/body/{size}", 2)
    assert chunked <= 2 * plain


@pytest.mark.parametrize("sizes", ["1", "1,2", "5", "23,20,25,29", "100,200", "8000"])
async def test_a_body_in_chunks_of_any_size_arrives_whole(client: EgressClient, peer: int, sizes: str) -> None:
    total = 6_000 if sizes in ("1", "1,2", "5") else LIMIT
    assert (await ask(client, peer, f"/chunks/{sizes}/{total}")).body == b"a" * total


async def test_as_many_informational_answers_as_allowed_pass(client: EgressClient, peer: int) -> None:
    assert (await ask(client, peer, f"/informational/{MAX_INFORMATIONAL}")).body == b"ok"
    with pytest.raises(AnswerOverBounds):
        await ask(client, peer, f"/informational/{MAX_INFORMATIONAL + 1}")


@pytest.mark.parametrize(
    ("size", "number"),
    [(MAX_HEAD, 3), (MAX_HEAD, 5), (MAX_HEAD, MAX_ANSWER_HEADERS), (20_000, MAX_ANSWER_HEADERS), (20_000, 129)],
)
async def test_a_head_of_exactly_the_bounds_passes(client: EgressClient, peer: int, size: int, number: int) -> None:
    answer = await ask(client, peer, f"/head/{size}/{number}")
    assert answer.body == b"ok"
    assert answer.headers["x"].count(",") == number - 3


@pytest.mark.parametrize(("size", "number"), [(MAX_HEAD + 1, 5), (20_000, MAX_ANSWER_HEADERS + 1)])
async def test_a_head_over_a_bound_by_one_does_not(client: EgressClient, peer: int, size: int, number: int) -> None:
    with pytest.raises(AnswerOverBounds):
        await ask(client, peer, f"/head/{size}/{number}")


@pytest.fixture
async def tls_client(floor: AddressFloor, tls_peer: tuple[int, Path]) -> AsyncIterator[EgressClient]:
    client = EgressClient(floor, ca_bundle=tls_peer[1])
    yield client
    await client.close()


@pytest.mark.parametrize("path", ["/informational", "/headers", "/chunks/1/10000000", "/records/1/10000000"])
async def test_the_bounds_hold_under_tls_and_for_tls_itself(
    tls_client: EgressClient, tls_peer: tuple[int, Path], path: str
) -> None:
    with pytest.raises(AnswerOverBounds):
        await ask(tls_client, tls_peer[0], path, "localhost")


@pytest.mark.parametrize("path", [f"/body/{LIMIT}", "/records/100/100000", "/records/1/5000"])
async def test_an_ordinary_answer_under_tls_arrives_whole(
    tls_client: EgressClient, tls_peer: tuple[int, Path], path: str
) -> None:
    answer = await ask(tls_client, tls_peer[0], path, "localhost")
    assert answer.body == b"a" * int(path.rpartition("/")[2])
