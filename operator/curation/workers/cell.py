"""One worker as the operator has it: what it was told, what it executes, and how it ends."""

import asyncio
import fcntl
import json
import logging
import os
import re
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, cast, get_args

from curation.api.contract import CallErrorCode
from curation.authz.register import PolicyRegister
from curation.egress.reach import Reach
from curation.execution.origin_credentials import OriginCredential
from curation.execution.seam import Answered, CallEnd, Left, Word
from curation.execution.wire import request_to_wire, word_of_wire
from curation.guests.targets import GUEST_HOST
from curation.isolation.channel import QueueFull
from curation.isolation.child import END_SECONDS, Child
from curation.isolation.companion import Companion
from curation.isolation.frames import Frame, FrameRefused
from curation.isolation.hardening import Hardening
from curation.isolation.nursery import Nursery
from curation.isolation.sealing import in_memory, seal
from curation.isolation.spawn import ChildEnd
from curation.wasm.store import LoadedModule
from curation.workers.execution import Execution
from curation.workers.frames import (
    FROM_WORKER,
    TO_WORKER,
    Applied,
    ArtifactGone,
    Called,
    CredentialPlace,
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
from curation.workers.page import FencePage
from curation.workers.replica import Replica
from curation.workers.targets import GUEST_HOST_ENDED_EXIT, WORKER

log = logging.getLogger(__name__)

STALLED_SECONDS: Final = 5.0
"""A worker that takes nothing for so long, while something waits for it, is killed."""
SILENT_SECONDS: Final = 60.0
"""One that does not answer for so long is, too: it is stopped, or computes for ever on its event loop."""
START_SECONDS: Final = 180.0
"""For a new one to answer for the first time: its template may be still to come, on a machine that has much to do."""
MAX_LOG_LINES: Final = 300
"""Of one worker in a second."""
ASK_SECONDS: Final = 5.0
MAX_ARTIFACTS: Final = 32
"""Compiled modules that one worker has at a time."""
GUEST_HOST_FILES: Final = 1024
"""Descriptors that a guest host may have: one for each module that it runs and each seat, and a few."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What all workers of a process have in common."""

    reach: Reach = field(default_factory=Reach)
    authorities: Callable[[], bytes | None] = lambda: None
    """What the bundle of authorities holds now: files that cannot be used any more change nothing."""
    max_concurrent: int = 256
    hardening: Hardening = field(default_factory=lambda: Hardening(nice=5))


class Cell:
    """The worker of one namespace and its guest host, which live and end together. Made with a running loop.

    It ends once, which `on_end` is told: with the end of the guest host if that was first, as `ended_first` says.
    """

    def __init__(
        self,
        namespace: str,
        book: PolicyRegister,
        nursery: Nursery,
        guests: Nursery,
        settings: Settings,
        *,
        on_call: Callable[[Execution, CallEnd, tuple[float, ...]], None],
        on_end: Callable[["Cell", ChildEnd], None],
    ) -> None:
        """Starts both, the guest host in `guests`. Raises OSError."""
        self.namespace = namespace
        self._book = book
        self._settings = settings
        self._on_call = on_call
        self._page = FencePage()
        self.executions: dict[str, Execution] = {}
        """Those that it was told of, until they are settled."""
        self._artifacts: dict[str, None] = {}
        """Digests that it has; those that are used last come last."""
        self._replica = Replica(book, namespace)
        self._loop = asyncio.get_running_loop()
        self.idle_since: float | None = self._loop.time()
        self._killed = False
        self.parted = asyncio.Event()
        """It was told to drain, and no pod is joined with it any more."""
        self._second = self._lines = 0
        self._asked_at = self._loop.time()
        self._heard_at: float | None = None
        self.ended_first = "worker"
        self._ending: asyncio.Task[object] | None = None
        self._guest_host: Companion | None = None
        try:
            limited = replace(settings.hardening, open_files=GUEST_HOST_FILES)
            self._guest_host = Companion(GUEST_HOST, limited, start=guests.start)
            self._child = Child(
                WORKER,
                settings.hardening,
                to_child=TO_WORKER,
                from_child=FROM_WORKER,
                on_frame=self._hear,
                start=nursery.start,
            )
        except BaseException:
            self._page.close()
            if self._guest_host is not None:
                self._guest_host.channel.close()
                self._ending = self._loop.create_task(self._guest_host.ended(0))
            raise
        self._child.ended.add_done_callback(lambda ended: self._ended(on_end, ended.result()))
        self._send(
            Hello(
                namespace=namespace,
                reach=settings.reach,
                max_concurrent=settings.max_concurrent,
                log_level=logging.getLogger("curation").getEffectiveLevel(),
                descriptors=(self._page.descriptor, self._guest_host.channel.fileno()),
                payload=settings.authorities() or b"",
            )
        )
        self._guest_host.channel.close()
        self.sync()

    @property
    def pid(self) -> int:
        """The process id of its worker; 0 until that is known."""
        return self._child.pid

    @property
    def guest_host_pid(self) -> int:
        """That of its guest host."""
        return self._guest_host.pid if self._guest_host is not None else 0

    @property
    def gone(self) -> bool:
        """Whether it has ended."""
        return self._child.ended.done()

    @property
    def fault(self) -> Exception | None:
        """What it said that it must not."""
        return self._child.fault

    def set_clock(self, offset: float) -> None:
        """See `FencePage.set_clock`."""
        if not self.gone:
            self._page.set_clock(offset)

    def sync(self) -> None:
        """Say what is in force now. Nothing that was judged by less leaves from this call on."""
        if self.gone:
            return
        self._page.want(self._book.revision(self.namespace))
        for frame in self._replica.news():
            self._send(frame)

    def start(
        self, execution: Execution, module: LoadedModule, file: int | None, credentials: tuple[OriginCredential, ...]
    ) -> None:
        """Execute it. `file` is its artifact's descriptor, which stays the caller's; None if it has the artifact."""
        self.sync()
        request = execution.request
        self.executions[request.execution] = execution
        self.idle_since = None
        execution.slot = self._page.take()
        if execution.dead:
            self._page.kill(execution.slot)
        self._hand_over(module, file)
        for each in credentials:
            place = CredentialPlace(each.scheme, each.host, each.port, each.header)
            self._send(PutCredential(execution=request.execution, place=place, payload=each.value.encode()))
        self._send(Start(slot=execution.slot, payload=request_to_wire(request)), soon=True)

    def has(self, digest: str) -> bool:
        """Whether it has this artifact."""
        return digest in self._artifacts

    def stop(self, execution: Execution, why: str) -> None:
        """Nothing of it leaves from this call on."""
        if not self.gone:
            if execution.slot is not None:
                self._page.kill(execution.slot)
            self._send(Stop(execution=execution.id, why=why[:2048]))

    def join(self, execution: Execution, sock: socket.socket) -> bool:
        """Its pod is at the other end of this socket, of which the caller closes its own copy. Whether it is told."""
        if self.gone:
            return False
        self._send(Joined(execution=execution.id, descriptors=(sock.fileno(),)))
        return True

    def lose(self, execution: Execution, cause: str, *, over_limit: bool) -> None:
        """Its pod is gone: it ends with what is known of it."""
        self._send(Lose(execution=execution.id, cause=cause[:2048], over_limit=over_limit))

    def settled(self, execution: Execution) -> None:
        """Forget it."""
        if self.executions.pop(execution.id, None) is None or self.gone:
            return
        if execution.slot is not None:
            self._page.give(execution.slot)
        self._send(Settled(execution=execution.id), soon=True)
        if not self.executions:
            self.idle_since = self._loop.time()

    def drain(self, grace: float) -> None:
        """See `seam.Executor.drain`."""
        self._send(Drain(grace=grace))

    def renew_trust(self) -> None:
        """The files of authorities have changed."""
        self._send(RenewTrust(payload=self._settings.authorities() or b""))

    def look(self) -> None:
        """To be called every second: kill a worker that takes nothing, or that has stopped."""
        now = self._loop.time()
        if self.gone:
            return
        if self._heard_at is None:
            if now - self._asked_at > START_SECONDS:
                self.kill(f"it has not begun to work within {START_SECONDS:.0f} s")
        elif (stalled := self._child.stalled_seconds()) > STALLED_SECONDS:
            self.kill(f"it takes nothing for {stalled:.0f} s")
        elif self._heard_at >= self._asked_at:
            if now - self._asked_at > ASK_SECONDS:
                self._asked_at = now
                self._send(Revision(number=self._replica.revision), replaces=True)
        elif now - self._asked_at > SILENT_SECONDS:
            self.kill(f"it has not answered for {SILENT_SECONDS:.0f} s")

    def kill(self, why: str) -> None:
        """End it at once."""
        if not self.gone and not self._killed:
            self._killed = True
            log.warning("the worker of namespace %s is ended: %s", self.namespace, why)
            self._child.kill()

    async def close(self) -> None:
        """End it, and wait for that; what it was told last is not said any more."""
        await self._child.close()
        if self._ending is not None:
            await asyncio.shield(self._ending)

    def _hand_over(self, module: LoadedModule, file: int | None) -> None:
        digest = module.digest
        if digest in self._artifacts:
            del self._artifacts[digest]
        else:
            assert file is not None, "the caller has asked"
            used = {each.request.module.digest for each in self.executions.values()}
            # Trap: a slice to a negative place is no empty one.
            too_many = max(0, len(self._artifacts) + 1 - MAX_ARTIFACTS)
            for old in [each for each in self._artifacts if each not in used][:too_many]:
                del self._artifacts[old]
                self._send(ArtifactGone(digest=old))
            self._send(
                PutArtifact(
                    digest=digest,
                    size_bytes=module.artifact.size_bytes,
                    start_bytes=module.artifact.start_bytes,
                    descriptors=(file,),
                )
            )
        self._artifacts[digest] = None

    def _send(self, frame: Frame, *, replaces: bool = False, soon: bool = False) -> None:
        try:
            self._child.send(frame, replaces=frame.NAME if replaces else None, soon=soon)
        except (QueueFull, FrameRefused) as error:
            self.kill(f"it cannot be told something: {error}")

    def _hear(self, frame: Frame) -> None:
        self._heard_at = self._loop.time()
        match frame:
            case Applied():
                pass
            case Said(execution=id):
                execution = self.executions.get(id)
                if execution is not None:  # else it is settled, and the worker has not heard of that
                    word: Word = word_of_wire(frame.payload)
                    if isinstance(word, Left | Answered):
                        self._check(execution, word.number)
                    execution.hear(word, self._heard_at)
            case Called():
                execution = self.executions.get(frame.execution)
                if execution is not None:
                    if frame.decision not in ("allowed", "denied", "none"):
                        raise FrameRefused("a decision that there is not")
                    if frame.code not in _CODES and _STATUS.fullmatch(frame.code) is None:
                        raise FrameRefused("a code that there is not")  # each would be a series of a metric
                    execution.ended_call(frame.number)
                    decision = cast(Literal["allowed", "denied", "none"], frame.decision)
                    call = CallEnd(
                        frame.number, decision, frame.code, frame.seconds, frame.method, frame.url, frame.policies
                    )
                    self._on_call(execution, call, frame.decided)
            case Parted():
                self.parted.set()
            case Logged():
                self._log(frame)

    @staticmethod
    def _check(execution: Execution, number: int) -> None:
        """Trap: what is noted of each call has no other bound, if whoever has got into the worker says the numbers."""
        if number > execution.request.module.limits.http_calls:
            raise FrameRefused("a call over the limit of its module")

    def _log(self, frame: Logged) -> None:
        """A line of its log. Trap: it may be said by whoever has got into the worker, so it is bounded here too."""
        now = int(self._loop.time())
        if now != self._second:
            self._second, self._lines = now, 0
        self._lines += 1
        if self._lines > MAX_LOG_LINES:
            return
        read = json.loads(frame.payload)
        fields = {str(name): value for name, value in dict(read["fields"]).items() if name not in _TAKEN}
        fields["namespace"] = self.namespace
        known = frame.logger in logging.root.manager.loggerDict  # else each name would be kept for ever
        level = min(max(frame.level, logging.DEBUG), logging.CRITICAL)
        logging.getLogger(frame.logger if known else __name__).log(level, "%s", str(read["message"]), extra=fields)

    def _ended(self, on_end: Callable[["Cell", ChildEnd], None], end: ChildEnd) -> None:
        self._page.close()
        self.parted.set()
        self._ending = self._loop.create_task(self._both_ended(on_end, end), name=f"end of {self.namespace}")

    async def _both_ended(self, on_end: Callable[["Cell", ChildEnd], None], end: ChildEnd) -> None:
        assert self._guest_host is not None
        if end.exit_code == GUEST_HOST_ENDED_EXIT:
            self.ended_first = "guest host"
            on_end(self, await self._guest_host.ended(END_SECONDS))
        else:
            on_end(self, end)
            await self._guest_host.ended(0)


_CODES: Final = frozenset(get_args(CallErrorCode)) | {"timeout"}
_STATUS: Final = re.compile("[0-9]{3}")
_TAKEN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def readable(path: Path) -> int:
    """A descriptor of a file that a worker in another container, of another user, can read and not change.

    Trap: a copy in memory would count as this process's, for each namespace, until the kernel ended it for that.
    Raises OSError.
    """
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def sealed(path: Path) -> int:
    """A descriptor of a copy of a file, which a worker of the same user cannot change. Blocking. Raises OSError."""
    if sys.platform != "linux":
        return os.open(path, os.O_RDONLY)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        descriptor = in_memory("artifact", file.fileno())
        try:
            if os.fstat(descriptor).st_size != size:
                raise OSError(f"{path} has become shorter")
            seal(descriptor, fcntl.F_SEAL_WRITE)
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor
