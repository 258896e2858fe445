"""The worker's side of one guest in a pod: it waits for the pod's connection, outlives it, and takes the next one.

Whoever is at the other end may be anybody: a frame that does not fit ends the connection, and a pod that does not come
back, or never ends, is lost. What the guest has asked for is done once, over however many connections.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from curation.guests.seam import Answers, GuestLost, GuestRun
from curation.isolation.channel import Channel
from curation.isolation.frames import Frame, FrameRefused
from curation.pods.frames import FROM_POD, TO_POD, Acknowledged, Here, Leaving
from curation.pods.pod_run import PodRun
from curation.pods.times import LOST_SECONDS, START_SECONDS
from curation.wasm.limits import Limits

HERE_SECONDS: Final = 30.0
"""For a connection to say what it holds."""
_QUEUED_BYTES: Final = 1 << 30
"""One answer and one part of a module at a time, for all of which memory was admitted."""


class PodGuests:
    """See `guests.seam.Guests`: for one execution. Made with a running loop."""

    def __init__(
        self, limits: Limits, *, resumed: bool, artifact: Callable[[str], int], start_seconds: float = START_SECONDS
    ) -> None:
        """`artifact` gives a descriptor of the compiled module with this digest, which is closed here, or raises.

        `resumed`: the guest may have been started for another worker.
        """
        self._loop = asyncio.get_running_loop()
        self.limits = limits
        self.resumed = resumed
        self.artifact = artifact
        self._start_seconds = start_seconds
        self._channel: Channel | None = None
        self._here: Here | None = None
        """What this connection holds, once it has said so."""
        self._first: Here | None = None
        self._early: Frame | None = None
        """What was said before the run was started here."""
        self._connection = 0
        """Which of the carrier's connections was the last one here."""
        self._joins = 0
        """How many have come since."""
        self._ready = asyncio.Event()
        self._gone = asyncio.Event()
        self._gone.set()
        self._running: PodRun | None = None
        self._lost: GuestLost | None = None
        self._leaving = self._acknowledged = self._given_up = False
        self._silent: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None
        seconds = limits.wall_seconds + LOST_SECONDS if resumed else start_seconds
        self.deadline(seconds, f"no pod of it has come within {seconds:.0f} s")

    # -- guests.seam.Guests ------------------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """See `guests.seam.Guests`."""
        return self._ready.is_set() and self._lost is None

    async def ready(self) -> None:
        """See `guests.seam.Guests`."""
        await self._ready.wait()
        if self._lost is not None:
            raise self._lost

    def start(self, run: GuestRun, answers: Answers) -> PodRun:
        """See `guests.seam.Guests`."""
        assert self._running is None, "a pod has one run"
        running = self._running = PodRun(self, run, answers)
        if self._lost is not None:
            running.fail(self._lost)
            return running
        self.deadline(self._start_seconds, f"its guest has not been started within {self._start_seconds:.0f} s")
        if self._first is not None and self._first.started:
            running.take_over(self._first.last_call)
        if self._here is not None and self._channel is not None:
            running.joined(self._here)
            early, self._early = self._early, None
            if early is not None:
                self._checked(running.hear, early)
        return running

    def drop(self, digest: str) -> None:
        """See `guests.seam.Guests`: it ends with its pod."""

    async def close(self) -> None:
        """See `guests.seam.Guests`."""
        self.lose("the operator stops")

    # -- its pod -----------------------------------------------------------------------------------------------------

    def join(self, sock: socket.socket) -> None:
        """Its pod is at the other end of this socket, which is closed here. The connection before it ends."""
        self.cut()
        if self._given_up or self._leaving:
            sock.close()
            return
        self._joins += 1
        self._gone.clear()
        self._channel = channel = Channel(
            sock,
            outgoing=TO_POD,
            incoming=FROM_POD,
            on_frame=self._hear,
            on_end=lambda _: self.cut(),
            max_queued_bytes=_QUEUED_BYTES,
        )
        self._silent = self._loop.call_later(HERE_SECONDS, self._is_silent, channel)

    def lose(self, cause: str, *, over_limit: bool = False, said: bool = False) -> None:
        """Its guest is lost, which its pod may have said itself; else nothing more is expected of its pod."""
        if self._lost is not None or self._acknowledged:
            return
        self._lost = GuestLost(cause, over_limit=over_limit)
        self._given_up = not said
        self._end()
        if not said:
            self.cut()
        self._ready.set()
        if self._running is not None:
            self._running.fail(self._lost)

    def acknowledge(self) -> None:
        """What was said of its end is settled."""
        self._acknowledged = True
        self._end()
        if self._here is not None:
            self._farewell()

    async def left(self) -> None:
        """Part from a pod that goes on: a call that has come is answered, no other one is taken. Then it is gone."""
        self._leaving = True
        if self._here is None:
            self.cut()
        else:
            self.send(Leaving())
        await self._gone.wait()

    # -- for its run -------------------------------------------------------------------------------------------------

    @property
    def channel(self) -> Channel | None:
        """Its connection, if it has one and has said what it holds."""
        return self._channel if self._here is not None else None

    def send(self, frame: Frame) -> None:
        """Say it, if somebody is there. Raises FrameRefused for a frame over its bounds."""
        if (channel := self.channel) is not None:
            channel.send(frame)

    def deadline(self, seconds: float, why: str) -> None:
        """It is lost then, in place of any time that was said before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self.lose, why)

    def ended(self) -> None:
        """The run has: all that is still to be said is that this was heard."""
        self._end()

    def cut(self) -> None:
        """End this connection. Its pod comes again."""
        channel, self._channel, self._here, self._early = self._channel, None, None, None
        if self._silent is not None:
            self._silent.cancel()
        if channel is not None:
            channel.close()
            if self._running is not None:
                self._running.parted()
        self._gone.set()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _is_silent(self, channel: Channel) -> None:
        if channel is self._channel and self._here is None:
            self.cut()

    def _hear(self, frame: Frame) -> None:
        """Raises FrameRefused, which ends the connection."""
        if isinstance(frame, Here):
            self._take(frame)
        elif self._here is None:
            raise FrameRefused(f"{frame.NAME}: before it was said what is held")
        elif self._acknowledged:
            pass
        elif self._running is not None:
            self._running.hear(frame)
        elif self._early is None and self._here.started:
            self._early = frame
        else:
            raise FrameRefused(f"{frame.NAME}: of a guest that was not started")

    def _take(self, here: Here) -> None:
        if self._here is not None:
            raise FrameRefused("what is held was said before")
        if not 0 <= here.last_call <= self.limits.http_calls or (here.last_call and not here.started):
            raise FrameRefused(f"the last call is {here.last_call}, of {self.limits.http_calls}")
        if here.connection <= self._connection:
            raise FrameRefused(f"connection {here.connection} after connection {self._connection}")
        others, self._joins = here.connection - self._connection > self._joins, 0
        if self._connection and others:
            # Trap: what it was answered there this worker does not know, and might do it again.
            self.lose("its pod has been let in by another operator meanwhile")
            return
        self._connection, self._here = here.connection, here
        self._first = self._first or here
        if self._acknowledged:
            self._farewell()
            return
        self._ready.set()
        if self._running is not None:
            self._running.joined(here)
        else:
            self._end()  # it waits for nothing that its pod does

    def _checked(self, hear: Callable[[Frame], None], frame: Frame) -> None:
        try:
            hear(frame)
        except FrameRefused:
            self.cut()

    def _farewell(self) -> None:
        """Say that its end is settled, and part."""
        self.send(Acknowledged())
        self._closing = self._loop.create_task(self._parting(), name="part from a pod")

    async def _parting(self) -> None:
        if self._channel is not None:
            await self._channel.emptied()
        self.cut()
