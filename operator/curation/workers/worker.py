"""The process of one namespace: its gate and its egress client, with a copy of what they need.

Its guests run in the guest host beside it, of which it believes nothing. The two end together.

All it knows can be said again. It asks the fence page in the last line before bytes leave, and says that they leave
before they do.
"""

import asyncio
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import uvloop

from curation.api.approval import EvaluatedRequest
from curation.authz.book import PolicyBook
from curation.authz.decision import CallContext, Decision
from curation.authz.gate import Gate
from curation.execution.in_process import InProcessExecutor
from curation.execution.origin_credentials import OriginCredential
from curation.execution.seam import Accepted, Answered, CallEnd, ExecutionRequest, Left, Unsupplied, Word
from curation.execution.wire import request_of_wire, word_to_wire
from curation.guests.apart import ApartGuests
from curation.isolation.channel import Channel
from curation.isolation.frames import Frame, FrameRefused
from curation.isolation.hardening import NO_MEMORY_EXIT
from curation.lifecycle.outcome import Report
from curation.pods.guests import PodGuests
from curation.wasm.artifacts import Artifact
from curation.wasm.store import LoadedModule
from curation.workers import replica
from curation.workers.frames import (
    FROM_WORKER,
    MAX_LOG_BYTES,
    TO_WORKER,
    Applied,
    ArtifactGone,
    Called,
    Drain,
    Hello,
    Joined,
    Logged,
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
from curation.workers.page import FenceReader
from curation.workers.targets import GUEST_HOST_ENDED_EXIT

TAKEN_SECONDS: Final = 30.0
"""How long a request waits for the operator to take in that it leaves; then this process ends."""
MAX_LOG_LINES: Final = 256
"""Lines of log in a second; what is over is counted."""
THREAD_STACK_BYTES: Final = 1 << 20
"""The system's 8 MiB for each would count as memory that is used."""
MAX_DECISIONS: Final = 1024
"""What the gate has allowed, and is asked again by each observation; up to some 5 KB each."""
_MAX_URL: Final = 2048
_MAX_POLICIES: Final = 16
_ELSEWHERE: Final = Path()
"""Where artifacts are: the guest host opens them."""


def main(channel: socket.socket) -> None:
    """Work until the other end closes."""
    threading.stack_size(THREAD_STACK_BYTES)
    uvloop.run(_serve(channel))


async def _serve(sock: socket.socket) -> None:
    def failed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(error := context.get("exception"), MemoryError):
            _out_of_memory(error)
        loop.default_exception_handler(context)

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
            logging.basicConfig(level=frame.log_level, handlers=[_LogFrames(self._channel)], force=True)
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
        self._artifacts = _Artifacts(self._guests)
        self._gate = _TimedGate(Gate(self._book, self._now, keeps=MAX_DECISIONS))
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
            _Supplies(self._credentials),
            guests=self._guests,
            guests_of=lambda request: self._pods.get(request.execution),
            max_concurrent=hello.max_concurrent,
            observer=_Observer(channel, self._gate),
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
            word = replace(word, url=word.url[:_MAX_URL], policies=word.policies[:_MAX_POLICIES])
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


class _Artifacts:
    """See `execution.seam.Modules`: what the operator has handed over, and the guest host has."""

    def __init__(self, guests: ApartGuests) -> None:
        self._guests = guests
        self._loaded: dict[str, LoadedModule] = {}
        self._descriptors: dict[str, int] = {}
        """For pods, to which the bytes are sent."""

    def put(self, frame: PutArtifact) -> None:
        (descriptor,) = frame.descriptors
        self.remove(frame.digest)
        self._descriptors[frame.digest] = descriptor
        self._guests.put(frame.digest, descriptor)
        artifact = Artifact(_ELSEWHERE, frame.size_bytes, frame.start_bytes)
        self._loaded[frame.digest] = LoadedModule(frame.digest, artifact)

    def remove(self, digest: str) -> None:
        if self._loaded.pop(digest, None) is not None:
            self._guests.drop(digest)
            os.close(self._descriptors.pop(digest))

    def opened(self, digest: str) -> int:
        """A descriptor of it, which is the caller's. Raises Unsupplied and OSError."""
        if digest not in self._descriptors:
            raise Unsupplied("The compiled module was not handed over.")
        return os.dup(self._descriptors[digest])

    def has(self, digest: str) -> bool:
        return digest in self._loaded

    async def load(self, digest: str, _fetch: Callable[[], Awaitable[bytes]], _namespace: str) -> LoadedModule:
        if digest not in self._loaded:
            raise Unsupplied("The compiled module was not handed over.")
        return self._loaded[digest]

    def forget(self, _digest: str) -> None:
        pass  # what cannot be opened now cannot be opened the next time


class _Supplies:
    """See `execution.seam.Supplies`: what the operator has handed over."""

    def __init__(self, credentials: dict[str, list[OriginCredential]]) -> None:
        self._credentials = credentials

    async def wasm(self, request: ExecutionRequest) -> bytes:
        raise Unsupplied("The compiled module was not handed over.")

    async def credentials(self, request: ExecutionRequest) -> tuple[OriginCredential, ...]:
        return tuple(self._credentials.get(request.execution, ()))


class _TimedGate:
    """The gate, and how long each of its decisions took."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.seconds: list[float] = []

    def authorize(self, namespace: str, request: EvaluatedRequest, context: CallContext) -> Decision:
        started = time.perf_counter()
        decision = self._gate.authorize(namespace, request, context)
        self.seconds.append(time.perf_counter() - started)
        return decision

    def is_still_valid(self, namespace: str, request: EvaluatedRequest, decision: Decision) -> bool:
        return self._gate.is_still_valid(namespace, request, decision)


class _Observer:
    """See `execution.seam.ExecutionObserver`: it tells the operator."""

    def __init__(self, channel: Channel, gate: _TimedGate) -> None:
        self._channel = channel
        self._gate = gate

    def on_start(self, request: ExecutionRequest) -> None:
        pass  # the operator has started it

    def on_call(self, request: ExecutionRequest, call: CallEnd) -> None:
        decided, self._gate.seconds = tuple(self._gate.seconds), []
        self._channel.send(
            Called(
                execution=request.execution,
                decision=call.decision,
                code=call.code,
                seconds=call.seconds,
                decided=decided[:64],
                number=call.number,
                method=call.method,
                url=call.url[:_MAX_URL],
                policies=call.policies[:_MAX_POLICIES],
            ),
            soon=True,
        )

    def on_end(self, request: ExecutionRequest, report: Report, seconds: float) -> None:
        pass  # the operator hears of it


class _LogFrames(logging.Handler):
    """Hands this process's log to the operator, so many lines a second."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._second, self._lines, self._dropped = 0, 0, 0

    def emit(self, record: logging.LogRecord) -> None:
        """See logging. From any thread."""
        try:
            fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
            text = self.format(record)[: MAX_LOG_BYTES // 4]
            payload = json.dumps({"message": text, "fields": fields}, default=str).encode()
            if len(payload) > MAX_LOG_BYTES:
                payload = json.dumps({"message": text[:1024], "fields": {}}).encode()
            frame = Logged(level=record.levelno, logger=record.name, payload=payload)
            self._loop.call_soon_threadsafe(self._send, frame)
        except Exception:
            self.handleError(record)

    def _send(self, frame: Logged) -> None:
        now = int(time.monotonic())
        if now != self._second:
            if self._dropped:
                text = f"{self._dropped} lines of the log were left out"
                payload = json.dumps({"message": text, "fields": {}}).encode()
                self._channel.send(replace(frame, level=logging.WARNING, payload=payload))
            self._second, self._lines, self._dropped = now, 0, 0
        self._lines += 1
        if self._lines > MAX_LOG_LINES:
            self._dropped += 1
        else:
            self._channel.send(frame)


_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
