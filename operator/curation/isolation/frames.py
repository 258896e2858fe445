"""The wire between a process and its children: frames, each a small JSON header and a raw payload.

A frame is a frozen dataclass. Its fields go into the header, documents and bodies into the payload, and descriptors
beside it (SCM_RIGHTS). Each kind has bounds of its own, which both ends check before they make anything of it. Pure:
no socket is touched here, but for the descriptors of a frame that is refused, which are closed.

On the wire: the sizes of header and payload, how many descriptors come with it, the header, the payload.
"""

import json
import os
import struct
import types
import typing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import StrEnum
from math import isfinite
from typing import Any, ClassVar, Final, NamedTuple, NoReturn

_PREFIX: Final = struct.Struct("!IIB")
_BESIDE: Final = ("payload", "descriptors")
_MAX_INT: Final = 1 << 63
_KIND: Final = "frame"
_SIMPLE: Final = (str, int, float, bool)
_HEADER: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


class FrameRefused(Exception):
    """Bytes that are no frame of this wire, or a frame over its bounds. Whoever sent it is not to be heard again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What all frames have. A field may be str, int, float, bool, a StrEnum, a frozen dataclass of these, a tuple of
    one of them, or one of them or None."""

    NAME: ClassVar[str] = ""
    """How the header names the kind."""
    MAX_HEADER: ClassVar[int] = 4096
    """Bytes."""
    MAX_PAYLOAD: ClassVar[int] = 0
    """Bytes."""
    MAX_DESCRIPTORS: ClassVar[int] = 0

    payload: bytes = b""
    descriptors: tuple[int, ...] = ()
    """Of the sender until it is sent, which closes none; of whoever received it after that."""


class Encoded(NamedTuple):
    """A frame as it goes over the wire; the descriptors go with the first byte."""

    head: bytes
    payload: bytes
    descriptors: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.head) + len(self.payload)


_Read = Callable[[Any], Any]


class _Kind(NamedTuple):
    frame: type[Frame]
    names: tuple[str, ...]
    """Of the fields that are in the header."""
    read: dict[str, _Read]
    needed: frozenset[str]


class Wire:
    """The kinds of frames that one direction of a channel carries."""

    def __init__(self, *kinds: type[Frame]) -> None:
        self.kinds = kinds
        self._kinds = {kind.NAME: _kind(kind) for kind in kinds}
        assert len(self._kinds) == len(kinds), "each kind has a name of its own"
        self.max_header = max((kind.MAX_HEADER for kind in kinds), default=0)
        self.max_payload = max((kind.MAX_PAYLOAD for kind in kinds), default=0)
        self.max_descriptors = max((kind.MAX_DESCRIPTORS for kind in kinds), default=0)

    def encode(self, frame: Frame) -> Encoded:
        """Raises FrameRefused for a kind that this wire does not carry, and for a frame over its bounds."""
        kind = self._kinds.get(frame.NAME)
        if kind is None or type(frame) is not kind.frame:
            raise FrameRefused(f"no frame of this wire: {type(frame).__name__}")
        header = {_KIND: frame.NAME, **{name: _plain(getattr(frame, name)) for name in kind.names}}
        try:
            text = _HEADER.encode(header).encode()
        except ValueError as error:
            raise FrameRefused(f"{frame.NAME}: {error}") from error
        _check(type(frame), len(text), len(frame.payload), len(frame.descriptors))
        prefix = _PREFIX.pack(len(text), len(frame.payload), len(frame.descriptors))
        return Encoded(prefix + text, frame.payload, frame.descriptors)

    def decode(self, header: bytes, payload_size: int, descriptors: int) -> Callable[[bytes, tuple[int, ...]], Frame]:
        """What makes a frame of its payload and descriptors. Raises FrameRefused before either is waited for."""
        try:
            read = _READ.decode(header.decode())
        except (ValueError, RecursionError) as error:
            raise FrameRefused(f"a header is not JSON: {error}") from error
        if not isinstance(read, dict) or not isinstance(name := read.pop(_KIND, None), str):
            raise FrameRefused("a header names no kind")
        if (kind := self._kinds.get(name)) is None:
            raise FrameRefused(f"no frame of this wire: {name[:64]!r}")
        _check(kind.frame, len(header), payload_size, descriptors)
        values = _values(read, kind.read, kind.needed, name)
        return lambda payload, received: kind.frame(payload=payload, descriptors=received, **values)


class Decoder:
    """Makes frames of the bytes and descriptors that come in, piece by piece. Holds at most one unfinished frame."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._buffer = bytearray()
        self._descriptors: deque[int] = deque()
        self._sizes: tuple[int, int, int] | None = None
        self._make: Callable[[bytes, tuple[int, ...]], Frame] | None = None

    def feed(self, data: bytes, descriptors: Iterable[int] = ()) -> None:
        """Take what was received. The descriptors are this decoder's until a frame has them."""
        self._buffer += data
        self._descriptors.extend(descriptors)

    def frames(self) -> Iterator[Frame]:
        """Every frame that is complete. Raises FrameRefused, after which nothing more comes."""
        while (frame := self.next()) is not None:
            yield frame

    def next(self) -> Frame | None:
        """The next frame, if it is complete. Raises FrameRefused."""
        try:
            return self._next()
        except FrameRefused:
            self.close()
            raise

    def close(self) -> None:
        """Forget what is not finished, and close the descriptors that no frame has."""
        self._buffer.clear()
        self._sizes = self._make = None
        while self._descriptors:
            with suppress(OSError):
                os.close(self._descriptors.popleft())

    @property
    def unfinished(self) -> bool:
        """Whether a part of a frame is there: if nothing more comes, it was cut off."""
        return bool(self._buffer) or self._sizes is not None or bool(self._descriptors)

    def _next(self) -> Frame | None:
        buffer = self._buffer
        if self._sizes is None:
            if len(buffer) < _PREFIX.size:
                if len(self._descriptors) > self._wire.max_descriptors:
                    raise FrameRefused("descriptors that no frame announces")
                return None
            sizes = _PREFIX.unpack_from(buffer)
            wire = self._wire
            for size, most in zip(sizes, (wire.max_header, wire.max_payload, wire.max_descriptors), strict=True):
                if size > most:
                    raise FrameRefused(f"a frame announces {size} where {most} is the most")
            self._sizes = sizes
            del buffer[: _PREFIX.size]
        header_size, payload_size, count = self._sizes
        if self._make is None:
            if len(buffer) < header_size:
                return None
            self._make = self._wire.decode(bytes(buffer[:header_size]), payload_size, count)
            del buffer[:header_size]
        if len(buffer) < payload_size:
            return None
        if len(self._descriptors) < count:
            raise FrameRefused("a frame came without the descriptors that it announces")
        payload = bytes(memoryview(buffer)[:payload_size])
        del buffer[:payload_size]
        received = tuple(self._descriptors.popleft() for _ in range(count))
        make, self._sizes, self._make = self._make, None, None
        return make(payload, received)


def _check(kind: type[Frame], header: int, payload: int, descriptors: int) -> None:
    for what, size, most in (
        ("bytes of header", header, kind.MAX_HEADER),
        ("bytes of payload", payload, kind.MAX_PAYLOAD),
        ("descriptors", descriptors, kind.MAX_DESCRIPTORS),
    ):
        if size > most:
            raise FrameRefused(f"{kind.NAME}: {size} {what}, at most {most}")


def _own(kind: type[Any]) -> list[Any]:
    return [field for field in fields(kind) if field.name not in _BESIDE]


def _plain(value: Any) -> Any:
    if type(value) in _SIMPLE:
        return value
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _kind(kind: type[Frame]) -> _Kind:
    assert kind.NAME, f"{kind.__name__} has a NAME"
    read, needed = _readers(kind)
    return _Kind(kind, tuple(field.name for field in _own(kind)), read, needed)


def _readers(kind: type[Any]) -> tuple[dict[str, _Read], frozenset[str]]:
    hints = typing.get_type_hints(kind)
    own = _own(kind)
    needed = frozenset(f.name for f in own if f.default is MISSING and f.default_factory is MISSING)
    return {field.name: _reader(hints[field.name]) for field in own}, needed


def _reader(hint: Any) -> _Read:
    """What reads a value of this type, or raises TypeError or ValueError."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (each for each in arguments if each is not types.NoneType)
        some = _reader(inner)
        return lambda value: None if value is None else some(value)
    if origin is tuple:
        assert arguments[1:] == (...,), f"{hint} has any number of one type"
        item = _reader(arguments[0])
        return lambda value: tuple(item(each) for each in _expected(value, list))
    if is_dataclass(hint):
        assert isinstance(hint, type)
        read, needed = _readers(hint)
        return lambda value: hint(**_values(_expected(value, dict), read, needed, hint.__name__))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return lambda value: hint(_expected(value, str))
    match hint:
        case builtin if builtin in (str, bool):
            return lambda value: _expected(value, builtin)
        case builtin if builtin is int:
            return _integer
        case builtin if builtin is float:
            return _number
    raise AssertionError(f"no frame may have a field of type {hint}")


def _values(read: dict[str, Any], readers: dict[str, _Read], needed: frozenset[str], name: str) -> dict[str, Any]:
    if (unknown := read.keys() - readers.keys()) or (missing := needed - read.keys()):
        word, names = ("unknown", unknown) if unknown else ("missing", missing)
        raise FrameRefused(f"{name}: {word} {', '.join(sorted(names))[:200]}")
    values = {}
    for key, value in read.items():
        try:
            values[key] = readers[key](value)
        except (TypeError, ValueError) as error:
            raise FrameRefused(f"{name}.{key}: {str(error)[:200]}") from error
    return values


def _expected(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} where {kind.__name__} is expected")
    return value


def _integer(value: Any) -> int:
    if not -_MAX_INT <= _expected(value, int) < _MAX_INT:
        raise ValueError("an integer of more than 64 bits")
    return int(value)


def _number(value: Any) -> float:
    number = float(_integer(value)) if type(value) is int else float(_expected(value, float))
    if not isfinite(number):
        raise ValueError("a number that is not finite")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


# Made once: each of them is made anew by `json.loads` with an argument of its own.
_READ: Final = json.JSONDecoder(parse_constant=_no_constant)
