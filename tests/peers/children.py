"""Children as the tests of `curation.isolation` start them."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from curation.isolation.blocking import BlockingChannel
from curation.isolation.frames import Frame, Wire


class Mood(StrEnum):
    CALM = "Calm"
    HASTY = "Hasty"


@dataclass(frozen=True, slots=True)
class Place:
    name: str
    depth: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask(Frame):
    NAME: ClassVar[str] = "ask"
    MAX_HEADER: ClassVar[int] = 2000
    MAX_PAYLOAD: ClassVar[int] = 300_000
    MAX_DESCRIPTORS: ClassVar[int] = 2

    number: int
    what: str = "echo"
    seconds: float = 0.0
    sure: bool = True
    mood: Mood = Mood.CALM
    note: str | None = None
    places: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Frame):
    NAME: ClassVar[str] = "answer"
    MAX_PAYLOAD: ClassVar[int] = 300_000

    number: int


TO_CHILD = Wire(Ask)
FROM_CHILD = Wire(Answer)


def served(channel: socket.socket) -> None:
    """Does what it is asked, until nobody asks any more."""
    with_frames = BlockingChannel(channel, outgoing=FROM_CHILD, incoming=TO_CHILD)
    while (ask := with_frames.receive()) is not None:
        assert isinstance(ask, Ask)
        found = WHAT[ask.what](ask, channel)
        if found is not None:
            with_frames.send(Answer(number=ask.number, payload=found))


def _file(ask: Ask, _: socket.socket) -> bytes:
    return b"|".join(os.pread(each, 1000, 0) for each in ask.descriptors)


def _import_error(_: Ask, __: socket.socket) -> bytes:
    sys.stderr.write("x" * 200_000 + " the last words\n")
    sys.stderr.flush()
    return b"said"


def _memory(_: Ask, __: socket.socket) -> bytes:
    return bytes(len(bytearray(1 << 30)))


def _grandchild(_: Ask, channel: socket.socket) -> bytes:
    """A process that holds the channel and stderr open, and outlives this one."""
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], pass_fds=[channel.fileno()])
    return str(started.pid).encode()


def _garbage(_: Ask, channel: socket.socket) -> None:
    channel.sendall(b"\xff" * 64)
    time.sleep(600)


def _sleep(ask: Ask, _: socket.socket) -> None:
    time.sleep(ask.seconds)


def _leave(ask: Ask, channel: socket.socket) -> None:
    """Many answers, and then no process any more."""
    frames = BlockingChannel(channel, outgoing=FROM_CHILD, incoming=TO_CHILD)
    for number in range(ask.number):
        frames.send(Answer(number=number, payload=b"a" * 1000))
    os._exit(9)


def _spin(_: Ask, __: socket.socket) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (1, 30))
    while True:
        pass


WHAT: dict[str, Callable[[Ask, socket.socket], bytes | None]] = {
    "echo": lambda ask, _: ask.payload,
    "file": _file,
    "noise": _import_error,
    "memory": _memory,
    "grandchild": _grandchild,
    "garbage": _garbage,
    "sleep": _sleep,
    "leave": _leave,
    "spin": _spin,
}


def template(channel: socket.socket) -> None:
    """A template of these children."""
    from curation.isolation.template import serve

    serve(channel)
