"""A worker or a checker that is killed, or stopped, at one frame: its target's name says at which, and when.

`at("stop", "after", signal.SIGKILL)` is such a target: before it does what the frame says, or after that; or before it
says the frame, when half of it has left, or when all of it has.
"""

import os
import signal
import socket
from collections.abc import Callable
from typing import Any, Final

from curation.checking import checker
from curation.isolation.blocking import BlockingChannel
from curation.isolation.channel import Channel
from curation.isolation.frames import Frame
from curation.workers import worker

MODULE: Final = __name__


def at(program: str, frame: str, when: str, number: signal.Signals, which: int = 1) -> str:
    """The target of a process that gets a signal at the so manieth frame of this name."""
    return f"{MODULE}:{program}/{frame}/{when}/{int(number)}/{which}"


def __getattr__(name: str) -> Callable[[socket.socket], None]:
    if name.count("/") != 4:
        raise AttributeError(name)
    program, frame, when, number, which = name.split("/")
    point = _Point(frame, when, int(number), int(which))

    def main(channel: socket.socket) -> None:
        if program == "worker":
            vars(worker)["Channel"] = _channel(point)
            worker.main(channel)
        else:
            vars(checker)["BlockingChannel"] = _blocking(point)
            checker.main(channel)

    return main


class _Point:
    def __init__(self, frame: str, when: str, number: int, which: int) -> None:
        self._frame, self._when, self._number, self._left = frame, when, number, which

    def counts(self, frame: Frame) -> bool:
        """Whether this is the frame."""
        self._left -= self._frame == frame.NAME
        return self._frame == frame.NAME and self._left == 0

    def reached(self, when: str) -> None:
        if when == self._when:
            os.kill(os.getpid(), self._number)


def _channel(point: _Point) -> type[Channel]:
    class Pointed(Channel):
        def __init__(self, sock: socket.socket, **options: Any) -> None:
            hear = options.pop("on_frame")

            def on_frame(frame: Frame) -> None:
                here = point.counts(frame)
                if here:
                    point.reached("before")
                hear(frame)
                if here:
                    point.reached("after")

            super().__init__(sock, on_frame=on_frame, **options)

        def send(self, frame: Frame, **options: Any) -> None:
            if not point.counts(frame):
                super().send(frame, **options)
                return
            self._flush()
            point.reached("before")
            encoded = self._outgoing.encode(frame)
            whole = encoded.head + encoded.payload
            half = len(whole) // 2
            self._socket.setblocking(True)
            self._socket.sendall(whole[:half])
            point.reached("half")
            self._socket.sendall(whole[half:])
            self._socket.setblocking(False)
            point.reached("after")

        def _flush(self) -> None:
            while self._queue or self._begun:
                self._write()

    return Pointed


def _blocking(point: _Point) -> type[BlockingChannel]:
    class Pointed(BlockingChannel):
        def receive(self) -> Frame | None:
            frame = super().receive()
            if frame is not None and point.counts(frame):
                point.reached("before")
            return frame

        def send(self, frame: Frame) -> None:
            if not point.counts(frame):
                super().send(frame)
                return
            encoded = self._outgoing.encode(frame)
            whole = encoded.head + encoded.payload
            point.reached("before")
            self._socket.sendall(whole[: len(whole) // 2])
            point.reached("half")
            self._socket.sendall(whole[len(whole) // 2 :])
            point.reached("after")

    return Pointed
