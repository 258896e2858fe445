"""A template: a child that has imported what its own children need, and forks them, each in milliseconds.

A fork shows its parent's environment and memory, so the parent is this process, which was executed with neither: see
`spawn`. It has one thread, since a fork copies no other. Its children are ended with it. Linux only; where there is no
template, each child is executed.
"""

import gc
import os
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from curation.isolation.blocking import close_all, received
from curation.isolation.cgroup import memory_limit
from curation.isolation.frames import Decoder, Frame, FrameRefused, Wire
from curation.isolation.hardening import NO_MEMORY_EXIT, Hardening, harden
from curation.isolation.spawn import STDERR_KEPT, limit_of, one_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork(Frame):
    """Make a child; the descriptor is its channel."""

    NAME = "fork"
    MAX_DESCRIPTORS = 1
    number: int
    target: str
    hardening: Hardening


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill(Frame):
    """End a child at once."""

    NAME = "kill"
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready(Frame):
    """The first frame: it can fork now."""

    NAME = "ready"
    memory: int | None
    """Bytes that the template and its children may take, by the cgroup that they are in; None: it has no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forked(Frame):
    """It was made."""

    NAME = "forked"
    number: int
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Frame):
    """It has ended, or was never made (then its pid is 0). The payload is the end of what it wrote to stderr."""

    NAME = "ended"
    MAX_PAYLOAD = STDERR_KEPT * 4
    number: int
    pid: int
    exit_code: int
    limit: str | None


TO_TEMPLATE: Final = Wire(Fork, Kill)
FROM_TEMPLATE: Final = Wire(Ready, Forked, Ended)


def serve(channel: socket.socket) -> None:
    """Fork children until the other end closes; then all of them are ended."""
    assert threading.active_count() == 1, "a fork copies one thread"
    # What was imported is shared by all children, as long as nobody's collector writes to it.
    gc.collect()
    gc.freeze()
    _Template(channel).serve()


class _Child:
    def __init__(self, number: int, pid: int, ended: int, stderr: int) -> None:
        self.number = number
        self.pid = pid
        self.ended = ended
        """Its pidfd."""
        self.stderr = stderr
        self.said = b""

    def drain(self) -> bool:
        """Whether there may be more."""
        try:
            read = os.read(self.stderr, 65_536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.said = (self.said + read)[-STDERR_KEPT:]
        return bool(read)


class _Template:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._decoder = Decoder(TO_TEMPLATE)
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)
        self._children: dict[int, _Child] = {}
        self._by_descriptor: dict[int, _Child] = {}

    def serve(self) -> None:
        self._send(Ready(memory=memory_limit()))
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == self._channel.fileno():
                    if not self._hear():
                        return  # the children are killed with this process
                elif (child := self._by_descriptor.get(descriptor)) is not None:
                    self._look(child, descriptor)

    def _hear(self) -> bool:
        data, descriptors = received(self._channel, TO_TEMPLATE)
        if not data:
            return False
        self._decoder.feed(data, descriptors)
        for frame in self._decoder.frames():
            match frame:
                case Fork():
                    self._fork(frame)
                case Kill(number=number) if (child := self._children.get(number)) is not None:
                    _kill(child.pid)
        return True

    def _fork(self, frame: Fork) -> None:
        (theirs,) = frame.descriptors
        read, write = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            close_all((theirs, read, write))
            self._send(Ended(number=frame.number, pid=0, exit_code=0, limit=None, payload=str(error).encode()))
            return
        if pid == 0:
            _begin(frame, parent, theirs, write)
        close_all((theirs, write))
        os.set_blocking(read, False)
        child = _Child(frame.number, pid, os.pidfd_open(pid), read)
        self._children[frame.number] = child
        for descriptor in (child.ended, child.stderr):
            self._by_descriptor[descriptor] = child
            self._poll.register(descriptor, select.POLLIN)
        self._send(Forked(number=frame.number, pid=pid))

    def _look(self, child: _Child, descriptor: int) -> None:
        if descriptor == child.stderr:
            if not child.drain():
                self._forget(descriptor)
            return
        # Whatever it has started is its group's, and is left; its pid is nobody else's until it is reaped.
        _kill(child.pid)
        status = os.waitpid(child.pid, 0)[1]
        while child.stderr in self._by_descriptor and (before := child.said) is not None:
            if not child.drain() or child.said == before:
                break
        for each in (child.ended, child.stderr):
            self._forget(each)
            close_all((each,))
        del self._children[child.number]
        exit_code = os.waitstatus_to_exitcode(status)
        limit = limit_of(exit_code, child.said)
        said = one_line(child.said).encode()
        self._send(Ended(number=child.number, pid=child.pid, exit_code=exit_code, limit=limit, payload=said))

    def _forget(self, descriptor: int) -> None:
        if self._by_descriptor.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def _send(self, frame: Frame) -> None:
        encoded = FROM_TEMPLATE.encode(frame)
        self._channel.sendall(encoded.head + encoded.payload)


def _begin(frame: Fork, parent: int, channel: int, stderr: int) -> None:
    """In the child: never returns."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        os.setsid()
        os.dup2(stderr, 2)
        harden(frame.hardening, parent=parent, keep=[channel])
        module, _, function = frame.target.partition(":")
        with socket.socket(fileno=channel) as own:
            getattr(import_module(module), function)(own)
        code = 0
    except MemoryError:
        code = NO_MEMORY_EXIT
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    except FrameRefused as error:
        sys.stderr.write(f"{error}\n")
    except BaseException:
        with suppress(BaseException):
            import traceback

            traceback.print_exc()
    finally:
        with suppress(BaseException):
            sys.stderr.flush()
        os._exit(code)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
