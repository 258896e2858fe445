"""A hostile client of an HTTP port, as a process of its own at full speed: `python flood.py KIND HOST PORT [SOURCE]`.

It says a line on stdout once it is under way, and goes on until it is killed.
"""

import contextlib
import itertools
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

MANY: Final = 3000
BUSY: Final = 100
GET: Final = b"GET /metrics HTTP/1.1\r\nHost: a\r\n"


class Target:
    """Where to connect to, and from which address."""

    def __init__(self, host: str, port: int, source: str = "") -> None:
        self.address = (host, port)
        self.source = (source, 0) if source else None

    def connect(self) -> socket.socket:
        """One connection; it may be ended at once."""
        made = socket.create_connection(self.address, timeout=30, source_address=self.source)
        made.setblocking(False)
        return made


def say() -> None:
    """The flood is under way."""
    print("flooding", flush=True)


def send(target: Target, to: dict[int, socket.socket], number: int, data: bytes) -> None:
    """Send what the peer takes; one that has gone is replaced."""
    try:
        to[number].send(data)
    except BlockingIOError:
        pass
    except OSError:
        to[number].close()
        with contextlib.suppress(OSError):
            to[number] = target.connect()


def storm(target: Target) -> None:
    """Connections that are opened and closed."""
    for number in itertools.count():
        with contextlib.suppress(OSError):
            target.connect().close()
        if number == 100:
            say()


def hold(target: Target) -> None:
    """Thousands of connections that say nothing, each opened again when it is ended."""
    drip(target, b"")


def loris(target: Target) -> None:
    """Thousands of requests that come byte by byte."""
    drip(target, b"x")


def drip(target: Target, data: bytes) -> None:
    """Keep many connections, and send this to each in turn."""
    held: dict[int, socket.socket] = {}
    for number in range(MANY):
        held[number] = target.connect()
        with contextlib.suppress(OSError):
            held[number].send(b"GET /metrics HTTP/1.1\r\nX: " if data else b"")
        if number == 300:
            say()
    while True:
        for number in held:
            if data:
                send(target, held, number, data)
            elif ended(held[number]):
                held[number].close()
                with contextlib.suppress(OSError):
                    held[number] = target.connect()


def ended(connection: socket.socket) -> bool:
    """Whether the peer has ended it."""
    try:
        return not connection.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True


def pipeline(target: Target) -> None:
    """Requests without end on each connection, and nothing is read."""
    pour(target, (GET + b"\r\n") * 2000)


def headers(target: Target) -> None:
    """One request with headers without end."""
    pour(target, GET, b"X-Header: " + b"x" * 100 + b"\r\n")


def many_headers(target: Target) -> None:
    """The shortest headers, as many as fit."""
    pour(target, GET, b"a:\r\n" * 20_000)


def body(target: Target) -> None:
    """A request with a body without end."""
    pour(target, b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 65536)


def requests(target: Target) -> None:
    """Whole requests, each on a connection of its own, answered and read."""
    for number in itertools.count():
        with contextlib.suppress(OSError):
            made = target.connect()
            made.settimeout(10)
            made.sendall(GET + b"Accept: application/openmetrics-text; version=1.0.%d\r\n\r\n" % number)
            while made.recv(65536):
                pass
            made.close()
        if number == 20:
            say()


def pour(target: Target, first: bytes, rest: bytes = b"") -> None:
    """Send `first` and then `rest` without end, or `first` again, on many connections."""
    held = {number: target.connect() for number in range(BUSY)}
    for number in held:
        send(target, held, number, first)
    say()
    while True:
        for number in held:
            send(target, held, number, rest or first)


KINDS: Final = {kind.__name__: kind for kind in (storm, hold, loris, pipeline, headers, many_headers, body, requests)}


@contextmanager
def flood(kind: str, host: str, port: int, source: str = "") -> Iterator[None]:
    """The flood is under way when this begins, and has ended when it ends."""
    program = [sys.executable, "-I", __file__, kind, host, str(port), source]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "flooding\n"
            yield
            assert process.poll() is None, "the flood has ended by itself"
        finally:
            process.kill()


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    KINDS[sys.argv[1]](Target(sys.argv[2], int(sys.argv[3]), sys.argv[4]))
