"""The system's look-ups of names, each in a thread of its own and bounded in number: a slow name costs only its asker.

A name with a dot is looked up as it is, never with a search domain behind it: the policy decided about that name,
and the owner of a namespace that is named like a domain could else answer for every host of that domain.

Called by the resolver. getaddrinfo can neither be interrupted nor given a time, so that a look-up outlives the request
that it was begun for, for as long as the system's resolver tries (tens of seconds). In a pool that all share, a few
names of one namespace would stop everybody's. Daemon threads, so that nothing waits for them: no stop, no exit.
"""

import asyncio
import re
import socket
import threading
from collections import Counter
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

MAX_LOOKUPS: Final = 256
"""Look-ups under way in the process."""
MAX_LOOKUPS_OF_ONE: Final = 32
"""Look-ups under way that were begun for one namespace."""

BEGUN_FOR: Final[ContextVar[str]] = ContextVar("BEGUN_FOR", default="")
"""The namespace whose request it is. aiohttp looks up in a task of its own, which copies the context."""

# Those of aiohttp's ThreadedResolver: only families that the host has, and answers that are addresses.
_ASKED: Final = socket.AI_ADDRCONFIG & getattr(socket, "AI_MASK", -1)
_ANSWERED: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
_NUMERIC: Final = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


HOSTS: Final = Path("/etc/hosts")
_NUMBER: Final = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?$")
"""A last label that makes a host an IPv4 address, in any spelling."""


class TooManyLookups(OSError):
    """A look-up that was not begun. `namespace` is the one that is at its bound; None: the process is at its own."""

    def __init__(self, number: int, namespace: str | None) -> None:
        whose = "names" if namespace is None else "of the namespace's names"
        super().__init__(f"too many {whose} are slow to resolve ({number} look-ups are under way); try again later")
        self.namespace = namespace


class LookupCount:
    """How many look-ups are under way, in all and for each namespace. For any thread."""

    def __init__(self, most: int = MAX_LOOKUPS, most_of_one: int = MAX_LOOKUPS_OF_ONE) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._lock = threading.Lock()
        self._under_way: Counter[str] = Counter()

    def begin(self, namespace: str) -> None:
        """Counts one more. Raises `TooManyLookups` over a bound."""
        with self._lock:
            if self._under_way[namespace] >= self._most_of_one:
                raise TooManyLookups(self._most_of_one, namespace)
            if self._under_way.total() >= self._most:
                raise TooManyLookups(self._most, None)
            self._under_way[namespace] += 1

    def end(self, namespace: str) -> None:
        """Counts one less."""
        with self._lock:
            self._under_way[namespace] -= 1
            self._under_way += Counter()  # leaves out those that are at zero


IN_THIS_PROCESS: Final = LookupCount()


class SystemResolver(AbstractResolver):
    """Asks the system as aiohttp's ThreadedResolver does, but for the threads. For any event loop."""

    def __init__(self, count: LookupCount = IN_THIS_PROCESS) -> None:
        self._count = count

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises `TooManyLookups` at once, and OSError if the name has no address."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[ResolveResult]] = loop.create_future()
        namespace = BEGUN_FOR.get()

        def settle(found: list[ResolveResult] | Exception) -> None:
            if answer.done():
                return  # cancelled: the client is closed
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        def look_up() -> None:
            found: list[ResolveResult] | Exception
            try:
                found = _addresses(host, port, family)
            except Exception as error:
                found = error
            self._count.end(namespace)
            with suppress(RuntimeError):  # the loop is closed: nobody asks any more
                loop.call_soon_threadsafe(settle, found)

        self._count.begin(namespace)
        try:
            threading.Thread(target=look_up, name=f"look-up {host}", daemon=True).start()
        except RuntimeError as error:
            self._count.end(namespace)
            raise OSError(f"no thread to look it up: {error}") from error
        return await answer

    async def close(self) -> None:
        """Look-ups under way end by themselves."""


def _names(host: str) -> list[str]:
    """What the system is asked for: the name as it is.

    Trap: the dot at the end, which keeps search domains away, keeps the C library from finding the name in its file of
    hosts as well (a pod's hostAliases are there).
    """
    if "." not in host or ":" in host or _NUMBER.search(host):
        return [host]  # without a dot a name is the host's or the pod's own matter; an address needs no look-up
    try:
        lines = HOSTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    entries = (line.partition("#")[0].lower().split() for line in lines)
    return [entry[0] for entry in entries if host in entry[1:]] or [f"{host}."]


def _addresses(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    """What the system says of a name; addresses of one family, or of both. Raises OSError."""
    found: list[ResolveResult] = []
    answers = []
    problem: OSError | None = None
    for name in _names(host):
        try:
            answers += socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, family=family, flags=_ASKED)
        except OSError as error:  # one line of the file of hosts may be of the other family
            problem = error
    if not answers and problem is not None:
        raise problem
    for found_family, _, protocol, _, address in answers:
        if found_family == socket.AF_INET6:
            if len(address) < 3:
                continue  # a Python without IPv6
            if address[3]:
                # A link-local address says nothing without its zone, which only its text can hold.
                shown, service = socket.getnameinfo(address, _NUMERIC)
                address = (shown, int(service))
        found.append(
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=found_family,
                proto=protocol,
                flags=_ANSWERED,
            )
        )
    return found
