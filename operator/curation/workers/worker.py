"""The process of one namespace: its gate and its egress client, with a copy of what they need.

Its guests run in the guest host beside it, of which it believes nothing. The two end together.

All it knows can be said again. It asks the fence page in the last line before bytes leave, and says that they leave
before they do.
"""

import asyncio
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Awaitable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import uvloop

from curation import loop_errors
from curation.authz.book import PolicyBook
from curation.authz.gate import Gate
from curation.execution.in_process import InProcessExecutor
from curation.execution.origin_credentials import OriginCredential
from curation.execution.seam import Accepted, Answered, Left, Word
from curation.execution.wire import request_of_wire, word_to_wire
from curation.guests.apart import ApartGuests
from curation.isolation.channel import Channel
from curation.isolation.frames import Frame, FrameRefused
from curation.isolation.hardening import NO_MEMORY_EXIT
from curation.pods.guests import PodGuests
from curation.workers import replica
from curation.workers.frames import (
    FROM_WORKER,
    MAX_POLICIES,
    MAX_URL,
    TO_WORKER,
    Applied,
    ArtifactGone,
    Drain,
    Hello,
    Joined,
    Lose,
    Parted,
    PutArtifact,
    PutCredential,
    RenewTrust,
    Revision,
    Said,
    Settled,
    Start,
    Stop,
)
from curation.workers.handed_over import HandedModules, HandedSupplies
from curation.workers.page import FenceReader
from curation.workers.targets import GUEST_HOST_ENDED_EXIT
from curation.workers.telling import LogFrames, TellingObserver, TimedGate

TAKEN_SECONDS: Final = 30.0
"""How long a request waits for the operator to take in that it leaves; then this process ends."""
THREAD_STACK_BYTES: Final = 1 << 20
"""The system's 8 MiB for each would count as memory that is used."""
MAX_DECISIONS: Final = 1024
"""What the gate has allowed, and is asked again by each observation; up to some 5 KB each."""


def main(channel: socket.socket) -> None:
    """Work until the other end closes."""
    threading.stack_size(THREAD_STACK_BYTES)
    uvloop.run(_serve(channel))


def failed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The loop's exception handler."""
    if isinstance(error := context.get("exception"), MemoryError):
        _out_of_memory(error)
    loop_errors.report(loop, context)


async def _serve(sock: socket.socket) -> None:
    asyncio.get_running_loop().set_exception_handler(failed)
    worker = _Worker(sock)
    error = await worker.ended
    if error is not None:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")


class _Worker:
    def __init__(self, sock: socket.socket) -> None:
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._channel = Channel(
            sock.dup(),
            outgoing=FROM_WORKER,
            incoming=TO_WORKER,
            on_frame=self._hear,
            on_end=self.ended.set_result,
            # Trap: an operator that takes none of so much is gone. What is said of an end must not be lost before that.
            max_queued_bytes=64 << 20,
            max_queued_frames=1 << 16,
        )
        self._cell: _Cell | None = None

    def _hear(self, frame: Frame) -> None:
        if isinstance(frame, Hello):
            if self._cell is not None:
                raise FrameRefused("hello was said before")
            logging.basicConfig(level=frame.log_level, handlers=[LogFrames(self._channel)], force=True)
            self._cell = _Cell(self._channel, frame)
        elif self._cell is None:
            raise FrameRefused("hello is said first")
        else:
            self._cell.hear(frame)


def _out_of_memory(error: MemoryError) -> None:
    """End this process: which of its runs has taken what another one lacks nobody knows, and each is tried again."""
    sys.stderr.write(f"MemoryError: {error}\n")
    sys.stderr.flush()
    os._exit(NO_MEMORY_EXIT)


def _guest_host_lost(error: Exception | None) -> None:
    """End this process: what was under way in the guest host is lost. Which of the two was first the exit code says."""
    ended = error is None
    sys.stderr.write("its guest host has ended\n" if ended else f"{type(error).__name__}: {error}\n")
    sys.stderr.flush()
    # What was said in this turn leaves first.
    asyncio.get_running_loop().call_soon(os._exit, GUEST_HOST_ENDED_EXIT if ended else 1)


class _Cell:
    """What one worker has and does."""

    def __init__(self, channel: Channel, hello: Hello) -> None:
        self._channel = channel
        self._namespace = hello.namespace
        self._page = FenceReader(hello.descriptors[0])
        self._book = PolicyBook()
        self._egress = hello.reach.client(hello.payload or None, trusts_at_once=False)
        self._guests = ApartGuests(socket.socket(fileno=hello.descriptors[1]), _guest_host_lost)
        self._artifacts = HandedModules(self._guests)
        self._gate = TimedGate(Gate(self._book, self._now, keeps=MAX_DECISIONS))
        self._credentials: dict[str, list[OriginCredential]] = {}
        self._slots: dict[str, int] = {}
        self._pods: dict[str, PodGuests] = {}
        """By execution, of those whose guest is in a pod."""
        self.applied = -1
        self._newer = asyncio.Event()
        self._executor = InProcessExecutor(
            self._artifacts,
            self._gate,
            self._egress,
            HandedSupplies(self._credentials),
            guests=self._guests,
            guests_of=lambda request: self._pods.get(request.execution),
            max_concurrent=hello.max_concurrent,
            observer=TellingObserver(channel, self._gate),
            fence_of=lambda request: _Fence(self, self._slots[request.execution]),
            on_no_memory=_out_of_memory,
        )
        self._background = set[asyncio.Task[None]]()

    def hear(self, frame: Frame) -> None:
        match frame:
            case Revision(number=number):
                self.applied = number
                self._newer.set()
                self._newer = asyncio.Event()
                self._channel.send(Applied(number=number), replaces=Applied.NAME)
            case PutArtifact():
                self._artifacts.put(frame)
            case ArtifactGone(digest=digest):
                self._artifacts.remove(digest)
            case PutCredential(execution=execution, place=place):
                value = OriginCredential(place.scheme, place.host, place.port, place.header, frame.payload.decode())
                self._credentials.setdefault(execution, []).append(value)
            case Start(slot=slot):
                request = request_of_wire(frame.payload)
                self._slots[request.execution] = slot
                if request.in_pod:
                    limits, resumed = request.module.limits, request.resumed
                    pod = PodGuests(limits, resumed=resumed, artifact=self._artifacts.opened)
                    self._pods[request.execution] = pod
                self._executor.start(request, self._say)
            case Stop(execution=execution, why=why):
                self._executor.stop(execution, why)
            case Joined(execution=execution):
                self._join(execution, socket.socket(fileno=frame.descriptors[0]))
            case Lose(execution=execution) if (lost := self._pods.get(execution)) is not None:
                lost.lose(frame.cause, over_limit=frame.over_limit)
            case Settled(execution=execution):
                self._executor.settled(execution)
                if (ended := self._pods.pop(execution, None)) is not None:
                    ended.acknowledge()
                self._credentials.pop(execution, None)
                self._slots.pop(execution, None)
            case Drain(grace=grace):
                self._do(self._part())
                self._do(self._executor.drain(grace))
            case RenewTrust():
                # At once: an execution that is started after this trusts what is said in it.
                self._egress.trust.replace(frame.payload or None)
            case _:
                replica.apply(self._book, self._namespace, frame)

    def _join(self, execution: str, sock: socket.socket) -> None:
        if (pod := self._pods.get(execution)) is not None:
            pod.join(sock)
        else:
            sock.close()

    async def _part(self) -> None:
        """Part from all pods: they go on, and come to whoever leads next."""
        await asyncio.gather(*(pod.left() for pod in self._pods.values()))
        self._channel.send(Parted())

    @property
    def wanted(self) -> int:
        """See `FencePage.want`."""
        return self._page.wanted

    def alive(self, slot: int) -> bool:
        """See `FencePage.kill`."""
        return self._page.alive(slot)

    async def caught_up(self) -> None:
        """Wait until what is wanted was applied."""
        while self.applied < self.wanted:
            await self._newer.wait()

    def _say(self, execution: str, word: Word) -> None:
        if isinstance(word, Accepted):
            return  # the operator has said so
        if isinstance(word, Left):
            word = replace(word, url=word.url[:MAX_URL], policies=word.policies[:MAX_POLICIES])
        said = Said(execution=execution, payload=word_to_wire(word))
        if isinstance(word, Left):
            self._channel.send_whole(said, seconds=TAKEN_SECONDS)
        else:
            # An answer is told with what follows at once; if this process dies before, it counts as not seen.
            self._channel.send(said, soon=isinstance(word, Answered))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(time.monotonic() + self._page.clock_offset, UTC)

    def _do(self, what: Awaitable[None]) -> None:
        async def doing() -> None:
            await what

        task = asyncio.create_task(doing())
        self._background.add(task)
        task.add_done_callback(self._background.discard)


class _Fence:
    """See `execution.seam.Fence`."""

    def __init__(self, cell: _Cell, slot: int) -> None:
        self._cell = cell
        self._slot = slot

    @property
    def alive(self) -> bool:
        return self._cell.alive(self._slot)

    @property
    def behind(self) -> bool:
        return self._cell.applied < self._cell.wanted

    async def caught_up(self) -> None:
        await self._cell.caught_up()
