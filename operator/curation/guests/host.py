"""The guest host: the process in which the guests of one worker run. It has its channel to that worker, and no more.

Who breaks out of a guest is here, and finds the modules and the contexts of this namespace's runs. So nothing else is
ever here: no credential, no policy, no network, no file. It ends with its channel.
"""

import os
import queue
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from curation.guests.confinement import confine
from curation.guests.frames import (
    FROM_GUEST_HOST,
    MAX_TEXT,
    TO_GUEST_HOST,
    Answer,
    Call,
    Ended,
    How,
    ModuleGone,
    PutModule,
    Ready,
    Run,
    Stop,
    ended,
)
from curation.guests.priority import give_way
from curation.guests.run import GuestThread
from curation.guests.seam import GuestRun, Refusal, Unopened
from curation.isolation.blocking import BlockingChannel
from curation.isolation.hardening import NO_MEMORY_EXIT
from curation.isolation.sealing import in_memory
from curation.wasm.guest_end import StopCause
from curation.wasm.host_functions import GuestStopped
from curation.wasm.seats import Seats
from curation.wasm.watchdog import Watchdog

MOST_GUESTS: Final = 4096
"""At a time; its worker starts fewer."""
THREAD_STACK_BYTES: Final = 1 << 20
"""A guest may take half of it (see `wasm.engine`). The system's 8 MiB for each would count as memory that is used."""


def main(channel: socket.socket) -> None:
    """Run guests until the other end closes."""
    threading.stack_size(THREAD_STACK_BYTES)
    _GuestHost(channel, reopens=not confine()).serve()
    os._exit(0)  # guests may still be under way: nobody waits for them


def _out_of_memory(error: MemoryError) -> NoReturn:
    """End this process: which of its guests has taken what another one lacks nobody knows, and each is tried again."""
    sys.stderr.write(f"MemoryError: {error}\n")
    sys.stderr.flush()
    os._exit(NO_MEMORY_EXIT)


@dataclass(frozen=True, slots=True)
class _Module:
    digest: str
    path: Path
    descriptor: int


class _GuestHost:
    def __init__(self, sock: socket.socket, *, reopens: bool) -> None:
        """`reopens`: whether this process may open files."""
        self._reopens = reopens
        self._channel = BlockingChannel(sock, outgoing=FROM_GUEST_HOST, incoming=TO_GUEST_HOST)
        self._modules: dict[str, _Module] = {}
        self._going: dict[int, _Going] = {}
        self.seats = Seats()
        self.watchdog = Watchdog()
        self._pool = ThreadPoolExecutor(MOST_GUESTS, "wasm-guest", give_way)
        self._files = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"

    def serve(self) -> None:
        """Do what the worker says, until it has closed."""
        self._channel.send(Ready())
        while (frame := self._channel.receive()) is not None:
            match frame:
                case PutModule(digest=digest):
                    self._remove(digest)
                    self._put(digest, *frame.descriptors)
                case ModuleGone(digest=digest):
                    self._remove(digest)
                    self.seats.drop(digest)
                case Run():
                    self._start(frame)
                # Trap: a run may end in this very moment.
                case Answer(run=run) if (going := self._going.get(run)) is not None:
                    going.answers.put((frame.ok, frame.payload.decode()))
                case Stop(run=run) if (going := self._going.get(run)) is not None:
                    going.stop(frame)

    def send(self, frame: Call | Ended) -> None:
        """Say it. A worker that has closed is gone, and this process ends with it."""
        try:
            self._channel.send(frame)
        except OSError:
            os._exit(0)

    def ended(self, going: "_Going", frame: Ended) -> None:
        """A guest has ended."""
        if self._going.pop(going.number, None) is not None:
            self.send(frame)

    def _put(self, digest: str, descriptor: int) -> None:
        if not self._reopens:
            descriptor = _reopenable(descriptor)
        self._modules[digest] = _Module(digest, Path(f"{self._files}/{descriptor}"), descriptor)

    def _remove(self, digest: str) -> None:
        # Trap: a run that opens it in this moment has its own mapping, or finds it gone and is tried again.
        if (module := self._modules.pop(digest, None)) is not None:
            os.close(module.descriptor)

    def _start(self, frame: Run) -> None:
        module = self._modules.get(frame.digest)
        if module is None:
            self.send(Ended(run=frame.run, how=How.UNOPENED, text="The compiled module was not handed over."))
            return
        run = GuestRun(module, frame.payload.decode(), frame.limits)
        going = self._going[frame.run] = _Going(self, frame.run, run)
        try:
            self._pool.submit(going.go)
        except RuntimeError as error:  # no thread; trap: what was submitted runs nevertheless when one is free
            going.thread.abort()
            self.ended(going, Ended(run=frame.run, how=How.FAILED, text=str(error)[:MAX_TEXT]))


def _reopenable(descriptor: int) -> int:
    """Of a file the same in memory, which alone may be opened here, once more for each engine."""
    if os.readlink(f"/proc/self/fd/{descriptor}").startswith("/memfd:"):  # noqa: PTH115 - a name and no path
        return descriptor
    try:
        return in_memory("module", descriptor)
    finally:
        os.close(descriptor)


class _Going:
    """A run that is under way: see `run.Caller`."""

    def __init__(self, host: _GuestHost, number: int, run: GuestRun) -> None:
        self._host = host
        self.number = number
        self.answers: queue.SimpleQueue[tuple[bool, str] | None] = queue.SimpleQueue()
        """None: there will be none."""
        self.thread = GuestThread(run, self, host.seats, host.watchdog, _out_of_memory)

    def go(self) -> None:
        """In the guest's thread."""
        try:
            self._host.ended(self, self._end())
        except MemoryError as error:
            _out_of_memory(error)

    def stop(self, frame: Stop) -> None:
        """See `seam.Running`."""
        if frame.abort:
            self.thread.abort()
            self.answers.put(None)
        else:
            self.thread.stop(frame.payload.decode())

    def call(self, number: int, request: bytes, seconds: float) -> tuple[bool, str] | None:
        """See `run.Caller`."""
        self._host.send(Call(run=self.number, number=number, payload=request))
        try:
            answer = self.answers.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None
        if answer is None:
            raise GuestStopped(StopCause.CLOSED)
        return answer

    def refused(self, request: str, refusal: Refusal) -> None:
        """See `run.Caller`: it is said with the end of the run."""

    def _end(self) -> Ended:
        try:
            return ended(self.number, self.thread.run())
        except Unopened as error:
            return Ended(run=self.number, how=How.UNOPENED, text=str(error)[:MAX_TEXT])
        except MemoryError:
            raise
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
            return Ended(run=self.number, how=How.FAILED, text=f"{type(error).__name__}: {error}"[:MAX_TEXT])
