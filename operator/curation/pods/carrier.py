"""The carrier: the first process of a guest's pod. It has the pod's token and its connection; the guest is apart of it.

It knocks at the door until it is let in, hands on what worker and guest host say to each other, and keeps what a
connection that breaks must not lose: whether the guest was started, the call that has no answer, the end. It believes
the guest host nothing, which is a process without any right.
"""

import asyncio
import logging
import random
import signal
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

from curation.guests import frames as guest_frames
from curation.guests.frames import FROM_GUEST_HOST, TO_GUEST_HOST, Ended, PutModule, Ready, Run, Stop
from curation.guests.targets import GUEST_HOST
from curation.isolation.cgroup import memory_kills
from curation.isolation.channel import Channel
from curation.isolation.companion import Companion
from curation.isolation.frames import Frame, FrameRefused
from curation.isolation.hardening import be_unreadable, gain_no_privileges
from curation.isolation.spawn import Spawned, Start, spawn
from curation.pods.carrier_settings import CarrierSettings
from curation.pods.connection import FrameReader, encoded, notice_absence
from curation.pods.first import GUEST_HOST_LIMITS
from curation.pods.frames import (
    FROM_CARRIER,
    ONLY_RUN,
    TO_CARRIER,
    Acknowledged,
    Answer,
    Call,
    Here,
    HostEnded,
    Knock,
    Leaving,
    ModulePart,
    Refused,
    Welcome,
)
from curation.pods.received_module import ReceivedModule
from curation.pods.times import LOST_SECONDS

log = logging.getLogger(__name__)

DONE, GIVEN_UP, TERMINATED = 0, 1, 128 + signal.SIGTERM
"""Exit codes: its end is settled; nobody wants it, or wanted it in time; its pod is ended."""
CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 90.0
"""For the door to say whether it may in: a review of its token, and a write."""
START_SECONDS: Final = 900.0
"""For which it knocks before it was let in for the first time."""
FIRST_WAIT, LAST_WAIT = 0.1, 5.0
STEADY_SECONDS: Final = 2.0
"""A connection that has lasted for so long was none of many that fail at once."""
HOST_SECONDS: Final = 1.0
"""For a guest host that has closed its channel to end by itself."""
_QUEUED_BYTES: Final = 1 << 30


class _TurnedAway(Exception):
    """For good."""


class Carrier:
    """Made with a running loop, in the thread that lives as long as the guest host."""

    def __init__(self, settings: CarrierSettings, *, start: Start = spawn) -> None:
        """`start` gives the guest host. Raises OSError where there can be none, and ValueError for no authorities."""
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._tls = settings.tls()
        self._done: asyncio.Future[int] = self._loop.create_future()
        self._say: Callable[[Frame], None] | None = None
        """Says something to the worker; None while there is none."""
        self._hang_up: Callable[[], None] = lambda: None
        self._leaving = False
        self._connections = 0
        self._module: ReceivedModule | None = None
        self._started = False
        self._call: Call | None = None
        """The call that has no answer."""
        self._call_said = False
        self._last_said = 0
        self._end: Ended | HostEnded | None = None
        self._patience = START_SECONDS
        self._giving_up: asyncio.TimerHandle | None = None
        self._memory_kills = memory_kills()
        self._host = Companion(GUEST_HOST, GUEST_HOST_LIMITS, start=start)
        self._guest = Channel(
            self._host.channel,
            outgoing=TO_GUEST_HOST,
            incoming=FROM_GUEST_HOST,
            on_frame=self._hear_guest,
            on_end=self._host_has_ended,
            max_queued_bytes=_QUEUED_BYTES,
        )
        self._host_ending: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Carry until it has nothing more to do: the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._finish, TERMINATED, "it is told to stop")
        self._be_patient()
        knocking = self._loop.create_task(self._knock_on(), name="knock")
        knocking.add_done_callback(self._has_stopped_knocking)
        try:
            return await self._done
        finally:
            knocking.cancel()
            await asyncio.gather(knocking, return_exceptions=True)
            self._guest.close()
            await self._host.ended(0)
            if self._module is not None:
                self._module.close()

    def _finish(self, code: int, why: str) -> None:
        if not self._done.done():
            log.info("%s: %s", "done" if code == DONE else "giving up", why)
            self._done.set_result(code)

    def _has_stopped_knocking(self, knocking: asyncio.Task[None]) -> None:
        if not knocking.cancelled() and (error := knocking.exception()) is not None:
            self._finish(GIVEN_UP, str(error) if isinstance(error, _TurnedAway) else repr(error))

    def _be_patient(self) -> None:
        """From now on nobody listens."""
        if self._giving_up is not None:
            self._giving_up.cancel()
        why = f"no worker has listened for {self._patience:.0f} s"
        self._giving_up = self._loop.call_later(self._patience, self._finish, GIVEN_UP, why)

    # -- the way to its worker ---------------------------------------------------------------------------------------

    async def _knock_on(self) -> None:
        """Be with the worker whenever that is possible. Raises _TurnedAway."""
        wait = FIRST_WAIT
        while True:
            for address in await self._addresses():
                began = self._loop.time()
                if await self._visit(address):
                    self._be_patient()
                    if self._loop.time() - began > STEADY_SECONDS:
                        wait = FIRST_WAIT
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - they are not to come at once
            wait = min(LAST_WAIT, 2 * wait)

    async def _addresses(self) -> list[str]:
        try:
            found = await self._loop.getaddrinfo(self._settings.host, self._settings.port, type=socket.SOCK_STREAM)
        except OSError as error:
            log.warning("the door's name is not resolved: %s", error)
            return []
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        random.shuffle(addresses)  # pods that are many come to each in turn
        return addresses

    async def _visit(self, address: str) -> bool:
        """Knock there, and carry while the connection lasts. Whether it was let in. Raises _TurnedAway."""
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(
                    address, self._settings.port, ssl=self._tls, server_hostname=self._settings.server_name
                )
            notice_absence(writer.get_extra_info("socket"))
            heard = FrameReader(reader, TO_CARRIER)
            async with asyncio.timeout(ANSWER_SECONDS):
                knock = Knock(execution=self._settings.execution, payload=self._settings.token())
                writer.write(encoded(FROM_CARRIER, knock))
                answer = await heard.next()
            match answer:
                case Welcome():
                    log.info("let in by %s", address)
                    await self._carry(heard, writer)
                    return True
                case Refused(why=why, final=True):
                    raise _TurnedAway(f"{address} turns it away for good: {why[:512]}")
                case Refused(why=why):
                    log.info("%s does not let it in now: %s", address, why[:512])
                case None:
                    log.info("%s has closed", address)
                case _:
                    raise FrameRefused(f"{answer.NAME} is no answer to a knock")
        except (OSError, ssl.SSLError, TimeoutError, FrameRefused) as error:
            log.warning("the connection to %s has failed: %s", address, error or type(error).__name__)
        finally:
            if writer is not None:
                writer.transport.abort()
        return False

    async def _carry(self, heard: FrameReader, writer: asyncio.StreamWriter) -> None:
        """Say what is held, then hand on what comes, until the connection ends."""
        if self._giving_up is not None:
            self._giving_up.cancel()
        self._connections += 1
        self._leaving = False
        self._say = partial(_write, writer)
        self._hang_up = writer.transport.abort
        try:
            self._say(Here(started=self._started, last_call=self._last_said, connection=self._connections))
            self._say_call()
            self._say_end()
            while (frame := await heard.next()) is not None:
                self._hear_worker(frame)
        except (OSError, ssl.SSLError, FrameRefused) as error:
            log.warning("the connection has ended: %s", error or type(error).__name__)
        finally:
            self._say, self._hang_up = None, lambda: None

    def _say_call(self) -> None:
        call = self._call
        if call is None or self._say is None or self._leaving:
            return
        self._say(replace(call, repeated=self._call_said))
        self._call_said, self._last_said = True, call.number

    def _say_end(self) -> None:
        if self._end is not None and self._say is not None and not self._leaving:
            self._say(self._end)

    # -- what is said to it ------------------------------------------------------------------------------------------

    def _hear_worker(self, frame: Frame) -> None:
        """Raises FrameRefused, and OSError where there is no memory for a module."""
        match frame:
            case ModulePart():
                self._take_part(frame)
            case Run():
                self._start(frame)
            case Answer(number=number):
                if self._call is not None and self._call.number == number:  # else it was answered twice
                    self._call = None
                    answer = guest_frames.Answer(run=ONLY_RUN, ok=frame.ok, payload=frame.payload)
                    self._tell_guest(answer)
                    self._part()
            case Stop():
                self._tell_guest(frame)
            case Leaving():
                self._leaving = True
                self._part()
            case Acknowledged():
                self._finish(DONE, "its end is settled")
            case _:
                raise FrameRefused(f"{frame.NAME}: after it was let in")

    def _part(self) -> None:
        """If the worker leaves: do so once nothing is expected of it."""
        if self._leaving and (self._call is None or not self._call_said):
            self._hang_up()

    def _take_part(self, part: ModulePart) -> None:
        if self._started:
            raise FrameRefused("a module comes after its guest was started")
        if part.offset == 0:
            if self._module is not None:
                self._module.close()
            self._module = ReceivedModule(part.digest, part.size)
        if self._module is None:
            raise FrameRefused("a module does not begin at its beginning")
        self._module.take(part)

    def _start(self, run: Run) -> None:
        if self._started or run.run != ONLY_RUN:
            raise FrameRefused("a guest is started twice")
        if self._module is None or not self._module.complete or self._module.digest != run.digest:
            raise FrameRefused("a guest is started without its module")
        self._tell_guest(PutModule(digest=run.digest, descriptors=(self._module.sealed(),)))
        self._tell_guest(run)
        self._module.close()
        self._module = None
        self._started = True
        self._patience = run.limits.wall_seconds + LOST_SECONDS
        log.info("its guest is started")

    def _tell_guest(self, frame: Frame) -> None:
        if self._end is None:
            self._guest.send(frame)

    # -- the guest host ----------------------------------------------------------------------------------------------

    def _hear_guest(self, frame: Frame) -> None:
        """Raises FrameRefused, which ends the guest host."""
        match frame:
            case Ready():
                pass
            case guest_frames.Call(run=run, number=number):
                if not self._started or run != ONLY_RUN or self._call is not None or self._end is not None:
                    raise FrameRefused(f"call {number} at a time when there can be none")
                self._call, self._call_said = Call(number=number, payload=frame.payload), False
                self._say_call()
            case Ended(run=run):
                if not self._started or run != ONLY_RUN or self._end is not None:
                    raise FrameRefused("an end at a time when there can be none")
                self._call, self._end = None, frame
                self._say_end()

    def _host_has_ended(self, error: Exception | None) -> None:
        if self._end is None and not self._done.done():
            self._host_ending = self._loop.create_task(self._say_how(error), name="end of the guest host")

    async def _say_how(self, error: Exception | None) -> None:
        end = await self._host.ended(HOST_SECONDS if error is None else 0)
        how = str(error or end)
        if not self._started:
            self._finish(GIVEN_UP, f"the guest host has ended before its guest was started: {how}")
            return
        log.error("the guest host has ended: %s", how)
        self._call = None
        # Where the kernel does not end the whole container for it, the pod does not say so.
        no_memory = end.exit_code == -signal.SIGKILL and memory_kills() > self._memory_kills
        if no_memory:
            how = f"{how}, by the kernel for want of memory"
        over_limit = no_memory or end.limit is not None
        self._end = HostEnded(how=how[: guest_frames.MAX_TEXT], over_limit=over_limit)
        self._say_end()


def _write(writer: asyncio.StreamWriter, frame: Frame) -> None:
    """What it says at a time is bounded by itself: one call, or one end."""
    with suppress(RuntimeError):  # it has closed, which whoever reads is told
        writer.write(encoded(FROM_CARRIER, frame))


def main(settings: CarrierSettings, guest_host: Spawned) -> int:
    """Carry one guest, in this guest host: the exit code."""
    gain_no_privileges()
    be_unreadable()

    async def carry() -> int:
        return await Carrier(settings, start=lambda *_: guest_host).run()

    return asyncio.run(carry())
