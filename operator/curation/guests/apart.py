"""Has a guest host run guests: the end of its channel that an event loop has, and what is expected of the other end.

Whoever is at the other end may be somebody who broke out of a guest. What does not fit ends it, and so does a run that
has not ended in time; then `on_lost` is called, once.
"""

import asyncio
import itertools
import socket
from collections.abc import Callable
from typing import Final

from curation.guests.frames import (
    FROM_GUEST_HOST,
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
    report_of,
)
from curation.guests.seam import ANSWER_SLACK_SECONDS, Answers, GuestReport, GuestRun, Unopened
from curation.isolation.channel import Channel
from curation.isolation.frames import Frame, FrameRefused

OVERDUE_SECONDS: Final = 15.0
"""How long after its wall limit a run may be said to have ended: a busy machine is late, and a guest host that was
stopped, or is in somebody else's hands, never says it."""
START_SECONDS: Final = 180.0
"""For a guest host to be ready: its template may be still to come, on a machine that has much to do."""


class GuestHostSilent(Exception):
    """It has not said in time what it has to."""


class ApartGuests:
    """See `seam.Guests`."""

    def __init__(self, sock: socket.socket, on_lost: Callable[[Exception | None], None]) -> None:
        """Owns the socket. `on_lost` hears why the guest host is not to be heard any more; None: it has ended."""
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._lost = False
        self._numbers = itertools.count(1)
        self._runs: dict[int, _Running] = {}
        self._calmer = asyncio.Event()
        self._ready = asyncio.Event()
        self._channel = Channel(
            sock,
            outgoing=TO_GUEST_HOST,
            incoming=FROM_GUEST_HOST,
            on_frame=self._hear,
            on_end=self.lose,
            # Trap: bounded by what there is to be said of each run, for all of which memory was admitted: a context
            # and one answer at a time.
            max_queued_bytes=1 << 40,
            max_queued_frames=1 << 20,
        )
        self._starting = self._loop.call_later(START_SECONDS, self._not_started)

    def put(self, digest: str, descriptor: int) -> None:
        """Hand over a compiled module; the descriptor stays the caller's."""
        self.send(PutModule(digest=digest, descriptors=(descriptor,)))

    @property
    def is_ready(self) -> bool:
        """See `seam.Guests`."""
        return self._ready.is_set()

    async def ready(self) -> None:
        """See `seam.Guests`."""
        await self._ready.wait()

    def start(self, run: GuestRun, answers: Answers) -> "_Running":
        """See `seam.Guests`."""
        number = next(self._numbers)
        running = self._runs[number] = _Running(self, number, run, answers)
        context = run.context.encode()
        self.send(Run(run=number, digest=run.module.digest, limits=run.limits, payload=context))
        return running

    def drop(self, digest: str) -> None:
        """See `seam.Guests`."""
        self.send(ModuleGone(digest=digest))

    async def close(self) -> None:
        """See `seam.Guests`. The guest host ends with its channel."""
        while self._runs and not self._lost:
            self._calmer.clear()
            await self._calmer.wait()
        self._starting.cancel()
        self._lost = True
        self._channel.close()

    def send(self, frame: Frame) -> None:
        """Say it, if somebody is there."""
        if not self._lost:
            self._channel.send(frame)

    def forget(self, number: int) -> None:
        """A run has ended."""
        self._runs.pop(number, None)
        self._calmer.set()

    def lose(self, error: Exception | None) -> None:
        """It is not heard any more."""
        if not self._lost:
            self._lost = True
            self._starting.cancel()
            self._channel.close()
            self._calmer.set()
            self._on_lost(error)

    def _not_started(self) -> None:
        if not self.is_ready:
            self.lose(GuestHostSilent(f"the guest host has not begun to work within {START_SECONDS:.0f} s"))

    def _hear(self, frame: Frame) -> None:
        match frame:
            case Ready():
                self._ready.set()
            case Call(run=number) | Ended(run=number):
                running = self._runs.get(number)
                if running is None:
                    raise FrameRefused(f"{frame.NAME}: a run that is not under way")
                running.hear(frame)


class _Running:
    """See `seam.Running`."""

    def __init__(self, guests: ApartGuests, number: int, run: GuestRun, answers: Answers) -> None:
        self._guests = guests
        self._number = number
        self._answers = answers
        self._most_calls = run.limits.http_calls
        self._last_call = 0
        self._answering: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._wall_ends = self._loop.time() + run.limits.wall_seconds
        self._overdue = self._loop.call_at(self._wall_ends + OVERDUE_SECONDS, self._is_overdue)
        self.ended: asyncio.Future[GuestReport] = self._loop.create_future()

    def stop(self, answer: str) -> None:
        self._guests.send(Stop(run=self._number, payload=answer.encode()))

    def abort(self) -> None:
        self._guests.send(Stop(run=self._number, abort=True))

    def hear(self, frame: Frame) -> None:
        """What the guest host says of it. Raises FrameRefused."""
        if isinstance(frame, Call):
            self._called(frame)
        elif isinstance(frame, Ended):
            self._has_ended(frame)

    def _called(self, frame: Call) -> None:
        if not self._last_call < frame.number <= self._most_calls:
            raise FrameRefused(f"call {frame.number} after call {self._last_call}, of {self._most_calls}")
        if self._answering is not None:
            raise FrameRefused(f"call {frame.number} while call {self._last_call} is not answered")
        self._last_call = frame.number
        self._answering = self._loop.create_task(self._answer(frame))

    async def _answer(self, frame: Call) -> None:
        seconds = self._wall_ends - self._loop.time() + ANSWER_SLACK_SECONDS
        try:
            ok, document = await self._answers.call(frame.number, frame.payload, seconds)
        except Exception as error:
            self._fail(error)
            return
        self._answering = None
        self._guests.send(Answer(run=self._number, ok=ok, payload=document.encode("utf-8", "replace")))

    def _has_ended(self, frame: Ended) -> None:
        error: Exception | None = None
        if frame.how is How.UNOPENED:
            error = Unopened(frame.text)
        elif frame.how is How.FAILED:
            error = RuntimeError(frame.text)
        report = report_of(frame) if error is None else None
        self._overdue.cancel()
        if self._answering is not None:
            self._answering.cancel()
        self._guests.forget(self._number)
        if self.ended.done():  # nobody waits for it any more
            return
        if report is not None:
            self.ended.set_result(report)
        elif error is not None:
            self.ended.set_exception(error)

    def _fail(self, error: Exception) -> None:
        """Answering has failed, in this process: the run ends with that, whatever the guest makes of its last call."""
        self._guests.send(Stop(run=self._number, abort=True))
        if not self.ended.done():
            self.ended.set_exception(error)

    def _is_overdue(self) -> None:
        self._guests.lose(GuestHostSilent("the guest host has not said in time that a run has ended"))
