"""Frames: what is sent comes out as it was, in pieces of any size, and what does not fit is refused first."""

import json
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.isolation.frames import Decoder, Frame, FrameRefused, Wire
from tests.peers.children import TO_CHILD, Answer, Ask, Mood, Place

TEXT = st.text(max_size=40)
ASKS = st.builds(
    Ask,
    number=st.integers(-(1 << 63), (1 << 63) - 1),
    what=TEXT,
    seconds=st.floats(allow_nan=False, allow_infinity=False),
    sure=st.booleans(),
    mood=st.sampled_from(Mood),
    note=st.none() | TEXT,
    places=st.lists(st.builds(Place, TEXT, st.integers(0, 9)), max_size=3).map(tuple),
    payload=st.binary(max_size=300),
)


def raw(header: object, payload: bytes = b"", descriptors: int = 0) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("!IIB", len(text), len(payload), descriptors) + text + payload


def decoded(data: bytes, wire: Wire = TO_CHILD) -> list[Frame]:
    decoder = Decoder(wire)
    decoder.feed(data)
    return list(decoder.frames())


@given(st.lists(ASKS, max_size=4), st.integers(1, 50))
def test_frames_come_out_as_they_went_in_whatever_the_pieces(asks: list[Ask], piece: int) -> None:
    sent = b"".join(bytes(encoded.head + encoded.payload) for encoded in map(TO_CHILD.encode, asks))
    decoder, found = Decoder(TO_CHILD), list[Frame]()
    for start in range(0, len(sent), piece):
        decoder.feed(sent[start : start + piece])
        found.extend(decoder.frames())
    assert found == asks
    assert not decoder.unfinished


def test_a_field_that_is_left_out_has_its_default() -> None:
    assert decoded(raw({"frame": "ask", "number": 3})) == [Ask(number=3)]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"frame": "ask"}, "missing number"),
        ({"frame": "ask", "number": 1, "more": 2}, "unknown more"),
        ({"frame": "ask", "number": "1"}, "str where int"),
        ({"frame": "ask", "number": True}, "bool where int"),
        ({"frame": "ask", "number": 1.0}, "float where int"),
        ({"frame": "ask", "number": 1 << 63}, "64 bits"),
        ({"frame": "ask", "number": None}, "NoneType where int"),
        ({"frame": "ask", "number": 1, "sure": 1}, "int where bool"),
        ({"frame": "ask", "number": 1, "mood": "Angry"}, "Angry"),
        ({"frame": "ask", "number": 1, "note": ["x"]}, "list where str"),
        ({"frame": "ask", "number": 1, "places": {"a": 1}}, "dict where list"),
        ({"frame": "ask", "number": 1, "places": [{"depth": 1}]}, "missing name"),
        ({"frame": "ask", "number": 1, "payload": "x"}, "unknown payload"),
        ({"frame": "ask", "number": 1, "descriptors": [0]}, "unknown descriptors"),
        ({"frame": "answer", "number": 1}, "no frame of this wire"),
        ({"frame": ["ask"], "number": 1}, "names no kind"),
        ({"number": 1}, "names no kind"),
        (["ask"], "names no kind"),
        (b'{"frame":"ask","number":1,"seconds":NaN}', "no JSON"),
        (b'{"frame":"ask","number":1,"seconds":1e999}', "not finite"),
        (b"[" * 2000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_a_header_that_does_not_fit_its_kind_is_refused(header: object, said: str) -> None:
    with pytest.raises(FrameRefused, match=said):
        decoded(raw(header))


@pytest.mark.parametrize("sizes", [(2001, 0, 0), (10, 300_001, 0), (10, 0, 3), (0xFFFFFFFF, 0, 0), (10, 0xFFFFFFFF, 0)])
def test_a_size_over_its_bound_is_refused_before_anything_of_it_has_come(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(FrameRefused, match="is the most"):
        decoded(struct.pack("!IIB", *sizes))


def test_each_kind_has_a_bound_of_its_own() -> None:
    class Small(Answer):
        NAME = "small"
        MAX_PAYLOAD = 4

    wire = Wire(Ask, Small)
    header = json.dumps({"frame": "small", "number": 1}).encode()
    with pytest.raises(FrameRefused, match="5 bytes of payload, at most 4"):
        decoded(struct.pack("!IIB", len(header), 5, 0) + header, wire)  # before its payload is there
    with pytest.raises(FrameRefused, match="5 bytes of payload, at most 4"):
        wire.encode(Small(number=1, payload=b"12345"))


def test_whoever_sends_is_told_what_does_not_fit() -> None:
    with pytest.raises(FrameRefused, match="bytes of header"):
        TO_CHILD.encode(Ask(number=1, what="x" * 3000))
    with pytest.raises(FrameRefused, match="no frame of this wire: Answer"):
        TO_CHILD.encode(Answer(number=1))


def test_descriptors_that_no_frame_takes_are_closed() -> None:
    reading, writing = os.pipe()
    decoder = Decoder(TO_CHILD)
    decoder.feed(raw({"frame": "nonsense"}, descriptors=1), [writing])
    with pytest.raises(FrameRefused):
        decoder.next()
    assert os.read(reading, 1) == b"", "nobody holds the other end any more"
    os.close(reading)


def test_a_frame_without_its_descriptors_is_refused() -> None:
    with pytest.raises(FrameRefused, match="without the descriptors"):
        decoded(raw({"frame": "ask", "number": 1}, descriptors=1))
