"""The parent's side of a child that ends TLS: its process is kept running, and told what to show. See `tls_server`."""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from curation.isolation.channel import QueueFull
from curation.isolation.child import Child
from curation.isolation.frames import Frame, FrameRefused, Wire
from curation.isolation.hardening import Hardening
from curation.isolation.spawn import Start, spawn
from curation.isolation.tls_server import Certificate, Serve, Shown

log = logging.getLogger(__name__)

RESTART_SECONDS: Final = (0.1, 1.0, 5.0, 15.0)
STEADY_SECONDS: Final = 60.0
"""A child that has lived for so long is started again at once when it ends."""


@dataclass(frozen=True, slots=True)
class ServerKind:
    """Which server it is."""

    name: str
    """For the log, such as "the webhook's listener"."""
    target: str
    hardening: Hardening
    to_child: Wire
    from_child: Wire
    serve: type[Serve]
    certificate: type[Certificate]


class KeptServer:
    """For one event loop, in the thread that lives as long as the child. Close it."""

    def __init__(
        self,
        kind: ServerKind,
        on_frame: Callable[[Frame], None],
        on_end: Callable[[], None] = lambda: None,
        *,
        start: Start = spawn,
    ) -> None:
        """`on_end` is called when a child has ended, or could not be started."""
        self._kind = kind
        self._on_frame = on_frame
        self._on_end = on_end
        self._start = start
        self._pem = b""
        self._running: asyncio.Task[None] | None = None
        self.sockets: Sequence[socket.socket] = ()
        """That listen. They are this object's."""
        self.child: Child | None = None
        """The one that runs."""
        self.serving = False
        """Whether that shows a certificate."""

    def start(self) -> None:
        """Start the child, and keep one running."""
        self._running = asyncio.create_task(self._run(), name=self._kind.name)

    def show(self, pem: bytes) -> None:
        """Show this certificate from now on: PEM, with its key; empty: there is none."""
        self._pem = pem
        if self.child is None or not pem:
            return
        try:
            self.child.send(self._kind.certificate(payload=pem), replaces=self._kind.certificate.NAME)
        except (QueueFull, FrameRefused) as error:
            log.error("%s takes no certificate: %s", self._kind.name, error)

    async def close(self) -> None:
        """End the child."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        if self.child is not None:
            await self.child.close()
        for each in self.sockets:
            each.close()

    async def _run(self) -> None:
        loop, kind, tries = asyncio.get_running_loop(), self._kind, 0
        while True:
            began = loop.time()
            try:
                self.child = Child(
                    kind.target,
                    kind.hardening,
                    to_child=kind.to_child,
                    from_child=kind.from_child,
                    on_frame=self._heard,
                    start=self._start,
                )
                self.child.send(kind.serve(descriptors=tuple(each.fileno() for each in self.sockets)))
                self.show(self._pem)
                end = str(await asyncio.shield(self.child.ended))
            except OSError as error:
                end = str(error)
            self.child, self.serving = None, False
            self._on_end()
            tries = 0 if loop.time() - began > STEADY_SECONDS else tries + 1
            seconds = RESTART_SECONDS[min(tries, len(RESTART_SECONDS) - 1)]
            log.error("%s has ended (%s), and is started again in %g s", kind.name, end, seconds)
            await asyncio.sleep(seconds)

    def _heard(self, frame: Frame) -> None:
        if isinstance(frame, Shown) and not frame.problem:
            self.serving = True
        self._on_frame(frame)
