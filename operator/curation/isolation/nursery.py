"""Where an event loop gets its children from: forked from a template where that is safe, else executed one by one."""

import asyncio
import itertools
import logging
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from curation.isolation.channel import QueueFull
from curation.isolation.child import Child
from curation.isolation.frames import Frame
from curation.isolation.hardening import Hardening
from curation.isolation.spawn import ChildEnd, Limit, Process, Start, spawn
from curation.isolation.supervisor import ASK_SECOND_TEMPLATE, ASK_TEMPLATE
from curation.isolation.template import FROM_TEMPLATE, TO_TEMPLATE, Ended, Fork, Forked, Kill, Ready

log = logging.getLogger(__name__)

READY_SECONDS: Final = 180.0
"""For a template to import what its children need, on a machine that has much to do."""
ANSWER_SECONDS: Final = 30.0
"""For a template to fork a child, or to end one: milliseconds, unless it was stopped or hangs. Then it is ended, and a
new one takes its place: else nobody would get a child any more, nor hear of the end of one."""
_CONNECT_SECONDS: Final = 1.0
"""A socket of this machine takes a connection at once, or its other end is not well."""

FORKS: Final = sys.platform == "linux"
"""Elsewhere a fork of a process that has loaded system libraries is not safe, or has no pidfd to be waited for."""


class Nursery:
    """Starts children for one event loop, in a thread that lives as long as they do. Close it after them."""

    def __init__(
        self, template: str, *, forks: bool = FORKS, supervisor: Path | None = None, asks: bytes = ASK_TEMPLATE
    ) -> None:
        """`template` is the target of the template's process, "module:function": it imports, and then serves.

        With `supervisor`, the socket of one, the template and all children are in its container; that it `asks` for.
        """
        self._target = template
        self._asks = asks
        self._beside: Nursery | None = None
        self._forks = forks or supervisor is not None
        self._supervisor = supervisor
        self._template: _Template | None = None
        self._numbers = itertools.count(1)
        self._children: dict[int, _Forked] = {}
        self._closed = False
        self._memory: tuple[int | None] | None = None
        self._on_memory: Callable[[int | None], None] = lambda _: None

    def beside(self, template: str) -> "Nursery":
        """The one of a second template, in the same container: made once, and closed with this one."""
        if self._beside is None:
            self._beside = Nursery(template, forks=self._forks, supervisor=self._supervisor, asks=ASK_SECOND_TEMPLATE)
        return self._beside

    def hear_memory(self, on_memory: Callable[[int | None], None]) -> None:
        """Call this with what each template says of the memory that it and its children may take, the last one too.

        See `template.Ready`.
        """
        self._on_memory = on_memory
        if self._memory is not None:
            on_memory(*self._memory)

    @property
    def forks(self) -> bool:
        """Whether there are templates."""
        return self._forks

    @property
    def apart(self) -> bool:
        """Whether its children are in another container than this process."""
        return self._supervisor is not None

    @property
    def template_pid(self) -> int | None:
        """The process id of the template, if there is one."""
        return self._template.pid if self._template is not None else None

    def warm(self) -> None:
        """Start the template, if none runs, so that the first child need not wait for it. Raises OSError."""
        if self._closed:
            raise OSError("nothing is started any more")
        if self._forks and self._template is None:
            start = spawn if self._supervisor is None else partial(_Elsewhere, self._supervisor, self._asks)
            template = self._template = _Template(self._target, start, self._heard)
            template.ended.add_done_callback(lambda ended: self._lost(template, ended))

    def start(self, target: str, hardening: Hardening) -> Process:
        """Start a child: see `spawn`. Raises OSError if none can be started."""
        self.warm()
        if not self._forks:
            return spawn(target, hardening)
        template = self._template
        assert template is not None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        number = next(self._numbers)
        try:
            fork = Fork(number=number, target=target, hardening=hardening, descriptors=(theirs.fileno(),))
            template.send(fork)
        except QueueFull as error:
            ours.close()
            raise OSError(f"the template of children takes nothing: {error}") from error
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        forked = self._children[number] = _Forked(template, number, ours)
        template.owes(lambda: not forked.pid and forked.end is None, f"to fork {target}")
        return forked

    async def close(self) -> None:
        """End the template, and with it every child that is left; no other is started."""
        self._closed = True
        template, self._template = self._template, None
        if template is not None:
            await template.close()
        if self._beside is not None:
            await self._beside.close()

    def _heard(self, frame: Frame) -> None:
        match frame:
            case Ready(memory=memory):
                self._memory = (memory,)
                self._on_memory(memory)
            case Forked(number=number, pid=pid) if (child := self._children.get(number)) is not None:
                child.pid = pid
            case Ended(number=number) if (child := self._children.pop(number, None)) is not None:
                limit = Limit(frame.limit) if frame.limit is not None else None
                child.end = ChildEnd(frame.pid, frame.exit_code, limit, frame.payload.decode(errors="replace"))

    def _lost(self, template: "_Template", ended: asyncio.Future[ChildEnd]) -> None:
        """Its children are killed with it."""
        if self._template is template:
            self._template = None
            log.warning("the template of children has ended (%s)", ended.result())
        for number, child in list(self._children.items()):
            if child.template is template:
                del self._children[number]
                child.end = ChildEnd(child.pid, -signal.SIGKILL, None, "its template has ended", orphaned=True)


class _Template(Child):
    """The process that children are forked from."""

    def __init__(self, target: str, start: Start, on_frame: Callable[[Frame], None]) -> None:
        """Raises OSError."""
        self._ready_at: float | None = None
        self._then = on_frame
        super().__init__(
            target, Hardening(), to_child=TO_TEMPLATE, from_child=FROM_TEMPLATE, on_frame=self._hear, start=start
        )
        self._loop.call_later(READY_SECONDS, self._late, lambda: self._ready_at is None, "to begin")

    def owes(self, waits: Callable[[], bool], what: str) -> None:
        """It was asked for something; it is ended if that is still waited for when it should have been done."""
        self._loop.call_later(ANSWER_SECONDS, self._owed, waits, what)

    def _hear(self, frame: Frame) -> None:
        if isinstance(frame, Ready):
            self._ready_at = self._loop.time()
        self._then(frame)

    def _owed(self, waits: Callable[[], bool], what: str) -> None:
        if self._ready_at is None or self._loop.time() - self._ready_at < ANSWER_SECONDS:
            if waits():
                self.owes(waits, what)  # it counts from when it could do anything
        else:
            self._late(waits, what)

    def _late(self, waits: Callable[[], bool], what: str) -> None:
        if not self.ended.done() and waits():
            log.warning("the template of children does not answer, and is ended: it was asked %s", what)
            self.kill()


class _Elsewhere:
    """A template in another container: see `spawn.Process`."""

    stderr = None
    pid = 0

    def __init__(self, supervisor: Path, asks: bytes, _target: str, _hardening: Hardening) -> None:
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.channel.settimeout(_CONNECT_SECONDS)
            self.channel.connect(str(supervisor))
            self.channel.sendall(asks)
        except BaseException:
            self.channel.close()
            raise

    def drain(self) -> bool:
        """Its container's log has it."""
        return False

    def kill(self) -> None:
        """It ends with the connection."""
        with suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)

    def reaped(self) -> ChildEnd | None:
        """Its supervisor does that; what can be known here is that the connection has ended."""
        return ChildEnd(0, 0, None, "the connection to its supervisor has ended")


class _Forked:
    """A child that was asked for: see `spawn.Process`."""

    stderr = None

    def __init__(self, template: _Template, number: int, channel: socket.socket) -> None:
        self._number = number
        self._is_killed = False
        self.template = template
        self.channel = channel
        self.pid = 0
        self.end: ChildEnd | None = None

    def drain(self) -> bool:
        """Its template does."""
        return False

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if self.end is None and not self._is_killed:
            with suppress(QueueFull):
                self.template.send(Kill(number=self._number))
                self._is_killed = True
                self.template.owes(lambda: self.end is None, "to end a child")

    def reaped(self) -> ChildEnd | None:
        """How it ended; None while it runs."""
        return self.end
