"""Starts a child: executed, with nothing of this process but one end of a channel and a pipe for its stderr.

A fork would show this process's environment in /proc for as long as it lives, whatever it clears, and its memory to
whoever gets into it. So a child is executed: Python's isolated mode, no environment, stdin from nowhere.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from curation.isolation.hardening import NO_MEMORY_EXIT, Hardening

STDERR_KEPT: Final = 4096
"""Bytes of what a child wrote last to stderr."""
_NO_MEMORY: Final = (b"memory allocation of", b"MemoryError", b"Cannot allocate memory")
"""What Rust, Python and the C library print when there is none left."""
_START: Final = "import sys; sys.path[:] = sys.argv[2:]; from curation.isolation.entry import enter; enter(sys.argv[1])"
# The interpreter itself may need it to start.
_NEEDED: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class Limit(StrEnum):
    """Which limit has ended a child."""

    MEMORY = "memory"
    PROCESSOR_TIME = "processor time"
    FILE_SIZE = "file size"


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """How a child ended."""

    pid: int
    exit_code: int
    """Negative: the signal that ended it."""
    limit: Limit | None
    stderr: str
    """The end of what it wrote there, on one line."""
    orphaned: bool = False
    """It was ended because what it was forked from has, for which it need not be the reason."""

    def __str__(self) -> str:
        how = f"exit code {self.exit_code}" if self.exit_code >= 0 else f"signal {-self.exit_code}"
        over = f", out of {self.limit}" if self.limit else ""
        return f"{how}{over}{': ' if self.stderr else ''}{self.stderr}"


class Process(Protocol):
    """A child that was started, as `child.Child` deals with it."""

    channel: socket.socket
    """This process's end: for a `Channel`, which then owns it."""

    @property
    def pid(self) -> int:
        """Its process id; 0 until that is known."""
        ...

    @property
    def stderr(self) -> int | None:
        """To be drained whenever it can be read; None if somebody else does."""
        ...

    def drain(self) -> bool:
        """Read what it has written to stderr. False once there can be no more."""
        ...

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        ...

    def reaped(self) -> ChildEnd | None:
        """How it ended; None while it runs."""
        ...


Start = Callable[[str, Hardening], Process]
"""Starts a child: see `spawn`, and `nursery.Nursery.start`."""


class Spawned:
    """A child that was executed. Not for two threads at once; whoever has it drains its stderr, and reaps it."""

    def __init__(self, process: "subprocess.Popen[bytes]", channel: socket.socket) -> None:
        assert process.stderr is not None
        self._process = process
        self.channel = channel
        """This process's end: for a `Channel`, which then owns it."""
        self.stderr = process.stderr.fileno()
        """Not blocking; to be drained whenever it can be read, since a child waits while it is full."""
        os.set_blocking(self.stderr, False)
        self._said = b""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def drain(self) -> bool:
        """Read what it has written to stderr, and keep the end of it. False once there can be no more."""
        assert self._process.stderr is not None
        if self._process.stderr.closed:
            return False
        try:
            read = os.read(self.stderr, 65_536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._said = (self._said + read)[-STDERR_KEPT:]
        return bool(read)

    def kill(self) -> None:
        """End it at once, if it has not ended, and what it has started."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.kill()

    def reaped(self) -> ChildEnd | None:
        """How it ended; None while it runs. Then its pid is free, and its stderr is closed."""
        if self._process.returncode is None and not self._has_ended():
            return None
        self.kill()  # whatever it has started is left
        return self._ended(self._process.wait())

    def _has_ended(self) -> bool:
        """Without reaping it: so its pid, which is its group's too, is nobody else's yet."""
        if not hasattr(os, "waitid"):
            return self._process.poll() is not None
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def _ended(self, exit_code: int) -> ChildEnd:
        assert self._process.stderr is not None
        for _ in range(64):  # another process may have inherited the pipe, and go on writing
            before = self._said
            if not self.drain() or self._said == before:
                break
        self._process.stderr.close()
        return ChildEnd(self.pid, exit_code, limit_of(exit_code, self._said), one_line(self._said))


def spawn(target: str, hardening: Hardening, *, channel_buffer: int | None = None) -> Spawned:
    """Start a child that hardens itself, then calls `target`, "module:function", with its end of the channel.

    The thread that calls this must live as long as the child. Raises OSError if no process can be started.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if channel_buffer is not None:
            for each in (ours, theirs):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, channel_buffer)
        process = execute(target, hardening, theirs, stderr=subprocess.PIPE)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Spawned(process, ours)


def execute(
    target: str, hardening: Hardening, channel: socket.socket, *, stderr: int | None = None
) -> "subprocess.Popen[bytes]":
    """Start a child with this end of a channel. Raises OSError if no process can be started."""
    told = {"target": target, "channel": channel.fileno(), "parent": os.getpid(), "hardening": asdict(hardening)}
    return subprocess.Popen(
        isolated_command(_START, json.dumps(told)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        pass_fds=[channel.fileno()],
        cwd="/",
        env=empty_environment(),
        start_new_session=True,  # the terminal's Ctrl-C is for the parent
    )


def isolated_command(code: str, *arguments: str) -> list[str]:
    """Python code, to be executed with nothing of this process but where its modules are; those arguments come last.

    -I and -S leave PYTHONPATH and .pth files out, which may be why something is importable here.
    """
    path = [str(Path(entry).absolute()) for entry in sys.path]
    return [sys.executable, "-I", "-S", "-B", "-c", code, *arguments, *path]


def empty_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Nothing but what the interpreter may need to start. A thread's arena would take 64 MiB of the address space."""
    kept = {name: os.environ[name] for name in _NEEDED if name in os.environ}
    return {**kept, "MALLOC_ARENA_MAX": "1", **(more or {})}


def limit_of(exit_code: int, said: bytes) -> Limit | None:
    """Which limit ended a process, by its exit code and the end of its stderr."""
    if exit_code == NO_MEMORY_EXIT or any(text in said for text in _NO_MEMORY):
        return Limit.MEMORY
    return {-signal.SIGXCPU: Limit.PROCESSOR_TIME, -signal.SIGXFSZ: Limit.FILE_SIZE}.get(exit_code)


def one_line(said: bytes) -> str:
    """Text of a process that is not trusted, fit to be printed."""
    text = " ".join(said.decode(errors="replace").split())
    return "".join(char for char in text if char.isprintable())
