"""A child that ends TLS on sockets which its parent has bound: what the two say of it, and what the child does.

`kept_server` is the parent's side. The frames are the bases of what a wire carries, which has bounds of its own.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from curation.isolation.certificates import show
from curation.isolation.frames import Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve(Frame):
    """Accept connections on these sockets, which listen already, once there is a certificate."""

    NAME = "serve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate(Frame):
    """From now on show this certificate, the payload: PEM, its key and the certificate with its chain."""

    NAME = "certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown(Frame):
    """A certificate was taken, or cannot be used, and why."""

    NAME = "shown"
    problem: str = ""


class Accepting:
    """The sockets of a child. Until there is a certificate, connections wait to be accepted."""

    def __init__(
        self,
        tls: ssl.SSLContext,
        accept: Callable[[socket.socket], Coroutine[Any, Any, None]],
        say: Callable[[Shown], object],
    ) -> None:
        """`accept` accepts connections on one of them, without end."""
        self._tls = tls
        self._accept = accept
        self._say = say
        self._sockets: list[socket.socket] = []
        self._certified = False
        self._tasks: list[asyncio.Task[None]] = []

    def told(self, frame: Serve | Certificate) -> None:
        """What the parent says of it."""
        if isinstance(frame, Serve):
            self._sockets = [socket.socket(fileno=each) for each in frame.descriptors]
            for each in self._sockets:
                each.setblocking(False)
        else:
            problem = show(self._tls, frame.payload)
            self._certified = self._certified or not problem
            self._say(Shown(problem=problem))
        if self._certified and not self._tasks:
            self._tasks = [asyncio.create_task(self._accept(each)) for each in self._sockets]

    def end(self) -> None:
        """Accept no more."""
        for task in self._tasks:
            task.cancel()
