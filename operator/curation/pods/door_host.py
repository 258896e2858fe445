"""The operator's side of the door: it keeps its process running, has those judged who knock, and joins them.

The two ends of what is joined leave this process at once: no byte of a pod is ever read here.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Final

from curation.isolation.channel import QueueFull
from curation.isolation.child import Child
from curation.isolation.frames import Frame, FrameRefused
from curation.isolation.hardening import Hardening
from curation.isolation.kept_server import KeptServer, ServerKind
from curation.isolation.nursery import Nursery
from curation.isolation.tls_server import Shown
from curation.pods.frames import (
    FROM_DOOR,
    MAX_WHY,
    TO_DOOR,
    Admit,
    Certificate,
    Knocked,
    KnockerGone,
    Refuse,
    Serve,
)
from curation.pods.seam import Admitted, Doorkeeper, Knock, Turned
from curation.pods.targets import DOOR

log = logging.getLogger(__name__)

MEMORY_BYTES: Final = 1 << 30
"""Of the door's process: up to a quarter of a MiB for each connection, and what its template has."""
OPEN_FILES: Final = 4096
"""Two for each pod that was let in."""
JUDGED_AT_ONCE: Final = 16
"""Each asks the API server."""
WAITING: Final = 512
"""To be judged; one more is refused."""
_DOOR: Final = ServerKind(
    name="the door of guest pods",
    target=DOOR,
    hardening=Hardening(data_bytes=MEMORY_BYTES, nice=5, open_files=OPEN_FILES),
    to_child=TO_DOOR,
    from_child=FROM_DOOR,
    serve=Serve,
    certificate=Certificate,
)


class Door:
    """For the event loop of the process, in the thread that lives as long as the door. Close it."""

    def __init__(
        self,
        nursery: Nursery,
        sockets: Sequence[socket.socket],
        doorkeeper: Doorkeeper,
        certificate: Callable[[], tuple[bytes, bytes]],
        join: Callable[[str, socket.socket], bool],
    ) -> None:
        """Owns the listening sockets; connections wait until there is a certificate.

        `certificate` gives it and its key, PEM; empty while there is none. `join` hands a pod's connection, of which
        the caller closes this copy, to the worker of its execution; False while none awaits it.
        """
        self._server = KeptServer(_DOOR, self._told, self._has_ended, start=nursery.start)
        self._server.sockets = sockets
        self._doorkeeper = doorkeeper
        self._certificate = certificate
        self._join = join
        self._judging: set[asyncio.Task[None]] = set()
        self._waiting: set[int] = set()
        """The connections that wait for an answer."""
        self._judged: set[tuple[str, bytes]] = set()
        """Executions that are being judged, with the token: a stranger's keeps nobody else from being judged."""
        self._at_once = asyncio.Semaphore(JUDGED_AT_ONCE)

    @property
    def pid(self) -> int:
        """The process id of the door; 0 until that is known."""
        return self._server.child.pid if self._server.child is not None else 0

    @property
    def serving(self) -> bool:
        """Whether its process shows a certificate."""
        return self._server.serving

    def start(self) -> None:
        """Start the door's process, and keep one running."""
        self.renew()
        self._server.start()

    def renew(self) -> None:
        """There is another certificate."""
        certificate, key = self._certificate()
        self._server.show(key + b"\n" + certificate if certificate and key else b"")

    async def close(self) -> None:
        """End the door, and whatever is judged."""
        for task in self._judging:
            task.cancel()
        await asyncio.gather(*self._judging, return_exceptions=True)
        await self._server.close()

    def _has_ended(self) -> None:
        self._waiting.clear()

    def _told(self, frame: Frame) -> None:
        match frame:
            case Shown(problem=problem):
                if problem:
                    log.error("the door's certificate cannot be used, going on with the one before: %s", problem)
                else:
                    log.info("the door of guest pods serves")
            case Knocked():
                self._knocked(frame)
            case KnockerGone(connection=number):
                # Trap: what is judged is judged to its end: a write may be under way.
                self._waiting.discard(number)

    def _knocked(self, frame: Knocked) -> None:
        child, number, judged = self._server.child, frame.connection, (frame.execution, frame.payload)
        if child is None:
            return
        if len(self._judged) >= WAITING:
            _refuse(child, number, Turned("too many knock just now", final=False))
        elif judged in self._judged:
            _refuse(child, number, Turned("it is being judged already", final=False))
        else:
            self._judged.add(judged)
            task = asyncio.create_task(self._judge(child, frame), name="judge a knock")
            self._waiting.add(number)
            self._judging.add(task)
            task.add_done_callback(self._judging.discard)
            task.add_done_callback(lambda _: self._judged.discard(judged))

    async def _judge(self, child: Child, frame: Knocked) -> None:
        number = frame.connection
        async with self._at_once:
            judged = await self._judgement(frame)
        # Without a stay from here on: who was let in may be another's a moment later.
        if number not in self._waiting or child is not self._server.child:
            return  # whoever has knocked is gone
        self._waiting.discard(number)
        if isinstance(judged, Admitted):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            with ours, theirs:
                if self._join(frame.execution, theirs):
                    log.info("pod %s is let in", judged.pod, extra={"execution": frame.execution})
                    _say(child, Admit(connection=number, descriptors=(ours.fileno(),)))
                    return
            judged = Turned("its worker does not await it yet", final=False)
        _refuse(child, number, judged)

    async def _judgement(self, frame: Knocked) -> Admitted | Turned:
        try:
            knock = Knock(frame.execution, frame.payload.decode("ascii"))
        except UnicodeDecodeError:
            return Turned("what it shows is no token", final=True)
        try:
            return await self._doorkeeper.judge(knock)
        except Exception:
            log.exception("a knock could not be judged")
            return Turned("the operator failed to judge it", final=False)


def _refuse(child: Child, number: int, turned: Turned) -> None:
    _say(child, Refuse(connection=number, why=turned.why[:MAX_WHY], final=turned.final))


def _say(child: Child, frame: Frame) -> None:
    try:
        child.send(frame)
    except (QueueFull, FrameRefused) as error:
        log.error("the door takes no answer, and is ended: %s", error)
        child.kill()
