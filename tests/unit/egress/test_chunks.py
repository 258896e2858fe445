"""The chunk decoder: what it makes of a body is what was sent, however the network cuts it into pieces."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.egress.chunks import ChunkDecoder, NotChunked
from curation.egress.errors import AnswerOverBounds, ResponseTooLarge

LIMIT = 3000
chunks = st.tuples(
    st.binary(min_size=1, max_size=40) | st.sampled_from([b"\r\n", b"0\r\n\r\n", b"5\r\nabcde\r\n", b"x" * 300]),
    st.sampled_from([b"", b";", b";a=b", b" ;x", b"\t", b';q="\xff"']),
    st.sampled_from(["%x", "%X", "%04x", "0%X"]),
    st.integers(1, 30),
)
damage = st.none() | st.tuples(st.integers(0, 400), st.binary(max_size=3))


def outcome(pieces: list[bytes]) -> object:
    """What a decoder makes of these pieces: its body, what follows it, and whether it has ended; or why it gave up."""
    decoder, ended = ChunkDecoder(LIMIT), False
    for index, piece in enumerate(pieces):
        try:
            ended = decoder.feed(piece)
        except (NotChunked, ResponseTooLarge, AnswerOverBounds) as error:
            return type(error)
        if ended:
            return bytes(decoder.body), decoder.rest + b"".join(pieces[index + 1 :]), True
    return bytes(decoder.body), None, ended


@given(parts=st.lists(chunks, max_size=12), cuts=st.lists(st.integers(1, 60), min_size=1, max_size=200), hit=damage)
@settings(max_examples=300, deadline=None)
def test_the_pieces_of_a_stream_change_nothing(
    parts: list[tuple[bytes, bytes, str, int]], cuts: list[int], hit: tuple[int, bytes] | None
) -> None:
    raw = b"".join(
        ((form % len(data)).encode() + more + b"\r\n" + data + b"\r\n") * times for data, more, form, times in parts
    )
    raw += b"0\r\nTrailer: x\r\n\r\nnext"
    if hit is not None:
        at = hit[0] % len(raw)
        raw = raw[:at] + hit[1] + raw[at + len(hit[1]) :]
    pieces: list[bytes] = []
    at = 0
    while at < len(raw):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(raw[at : at + size])
        at += size
    whole = outcome([raw])
    assert outcome(pieces) == whole
    assert outcome([raw[at : at + 1] for at in range(len(raw))]) == whole
    body = b"".join(data * times for data, _, _, times in parts)
    if hit is None:
        assert whole == ((body, b"Trailer: x\r\n\r\nnext", True) if len(body) <= LIMIT else ResponseTooLarge)


@pytest.mark.parametrize("last", [b"1", b"0"])
@pytest.mark.parametrize("step", [1, 100, 100_000])
def test_an_extension_over_the_bound_is_one_in_whatever_pieces_it_comes(last: bytes, step: int) -> None:
    for length, over in ((4000, False), (4200, True), (7000, True)):
        raw = last + b";" + b"x" * length + b"\r\n" + (b"a\r\n0\r\n" if last == b"1" else b"")
        found = outcome([raw[at : at + step] for at in range(0, len(raw), step)])
        assert (found is AnswerOverBounds) == over
