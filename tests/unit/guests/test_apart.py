"""What a worker makes of what a guest host says, who may be anybody: it fits, or it ends the guest host."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from curation.guests import apart
from curation.guests.apart import ApartGuests, GuestHostSilent
from curation.guests.frames import (
    FROM_GUEST_HOST,
    MAX_TEXT,
    TO_GUEST_HOST,
    Answer,
    Call,
    Ended,
    How,
    Ready,
    ended,
    report_of,
)
from curation.guests.seam import GuestReport, GuestRun, Refusal, RefusedFor, Running, Unopened
from curation.isolation.frames import Decoder, Frame, FrameRefused
from curation.wasm.guest_end import Exceeded, GuestEnd, Returned, StopCause, Stopped, Trapped
from curation.wasm.limits import MAX_LOG_LINES, MAX_REQUEST_BYTES, LimitHit, LimitName, Limits

GENEROUS = 120
LIMITS = Limits(http_calls=3)
MODULE = type("Module", (), {"digest": "sha256:1", "path": Path("/nowhere")})()


class Answers:
    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.asked: list[tuple[int, bytes]] = []
        self.cut = asyncio.Event()

    async def call(self, number: int, request: bytes, seconds: float) -> tuple[bool, str]:
        assert seconds > 0
        self.asked.append((number, request))
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cut.set()
            raise
        return True, f"answer {number}"

    def refused(self, request: str, refusal: Refusal) -> None:
        raise AssertionError("only of guests in this process")

    def resumed(self, calls: int) -> None:
        raise AssertionError("only of guests in pods")

    def unknown(self) -> tuple[bool, str]:
        raise AssertionError("only of guests in pods")


@dataclass
class Rig:
    """A worker's end, and the other one, at which this test says what it likes."""

    guests: ApartGuests
    other: socket.socket
    lost: "asyncio.Future[Exception | None]"
    answers: Answers
    limits: Limits = LIMITS

    def start(self) -> Running:
        return self.guests.start(GuestRun(MODULE, "{}", self.limits), self.answers)

    def say(self, frame: Frame) -> None:
        encoded = FROM_GUEST_HOST.encode(frame)
        self.other.sendall(encoded.head + encoded.payload)

    async def heard(self) -> Exception | None:
        async with asyncio.timeout(GENEROUS):
            return await asyncio.shield(self.lost)

    async def answered(self, number: int) -> None:
        """Until the answer to this call was sent."""
        async with asyncio.timeout(GENEROUS):
            decoder, loop = Decoder(TO_GUEST_HOST), asyncio.get_running_loop()
            while True:
                for frame in decoder.frames():
                    if isinstance(frame, Answer):
                        assert frame.payload == f"answer {number}".encode()
                        return
                decoder.feed(await loop.sock_recv(self.other, 65_536))


@asynccontextmanager
async def made() -> AsyncIterator[Rig]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    lost = asyncio.get_running_loop().create_future()
    guests = ApartGuests(ours, lost.set_result)
    try:
        yield Rig(guests, theirs, lost, Answers())
    finally:
        guests.lose(None)
        theirs.close()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with made() as rig:
        yield rig


async def test_calls_are_answered_one_after_another_and_the_end_is_reported(rig: Rig) -> None:
    rig.say(Ready())
    await rig.guests.ready()
    running = rig.start()
    for number in (1, 3):
        rig.say(Call(run=1, number=number, payload=b"{}"))
        await rig.answered(number)
    rig.say(Ended(run=1, how=How.OK, payload=b"{}", log="info: done"))
    report = await asyncio.wait_for(running.ended, GENEROUS)
    assert (report.end, report.log) == (Returned(True, "{}"), "info: done")
    assert rig.answers.asked == [(1, b"{}"), (3, b"{}")]
    assert not rig.lost.done()


HOSTILE: dict[str, Callable[[], list[Frame]]] = {
    "a number that does not rise": lambda: [Call(run=1, number=0)],
    "more calls than the module may make": lambda: [Call(run=1, number=4)],
    "a call of a run that is not under way": lambda: [Call(run=2, number=1)],
    "a call while another waits": lambda: [Call(run=1, number=1), Call(run=1, number=2)],
    "an end of a run that is not under way": lambda: [Ended(run=7, how=How.OK)],
    "a second end": lambda: [Ended(run=1, how=How.OK), Ended(run=1, how=How.OK)],
    "a call after the end": lambda: [Ended(run=1, how=How.OK), Call(run=1, number=1)],
    "a result that is no text": lambda: [Ended(run=1, how=How.OK, payload=b"\xff")],
    "a limit that is none": lambda: [Ended(run=1, how=How.EXCEEDED, text="much")],
    "a stop without a cause": lambda: [Ended(run=1, how=How.STOPPED)],
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_what_does_not_fit_ends_the_guest_host(rig: Rig, what: str) -> None:
    rig.answers.go_on.clear()
    rig.start()
    for frame in HOSTILE[what]():
        rig.say(frame)
    assert isinstance(await rig.heard(), FrameRefused)


@pytest.mark.parametrize(
    "said",
    [
        b"\xff" * 64,
        b"\0\0\0\x10\0\0\0\0\0" + b'{"frame":"fork"}',
        (20).to_bytes(4) + (1 << 30).to_bytes(4) + b"\0" + b'{"frame":"ended"}   ',
        (34).to_bytes(4) + (MAX_REQUEST_BYTES + 1).to_bytes(4) + b"\0" + b'{"frame":"call","run":1,"number":1}',
    ],
    ids=["noise", "a frame of another wire", "a result without end", "a request over its bound"],
)
async def test_bytes_that_are_no_frame_end_the_guest_host_before_they_are_waited_for(rig: Rig, said: bytes) -> None:
    rig.start()
    rig.other.sendall(said)
    assert isinstance(await rig.heard(), FrameRefused)


async def test_a_guest_host_that_sends_descriptors_ends_or_they_are_closed(rig: Rig) -> None:
    encoded = FROM_GUEST_HOST.encode(Ready())
    socket.send_fds(rig.other, [encoded.head], [rig.other.fileno()])
    await asyncio.wait_for(rig.guests.ready(), GENEROUS)
    assert not rig.lost.done(), "nobody has asked for them: the kernel has closed them"


async def test_a_run_that_has_not_ended_in_time_ends_the_guest_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "OVERDUE_SECONDS", 0.0)
    async with made() as rig:
        rig.limits = Limits(wall_seconds=0.05)
        rig.start()
        assert isinstance(await rig.heard(), GuestHostSilent)


async def test_a_guest_host_that_does_not_begin_to_work_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "START_SECONDS", 0.05)
    async with made() as rig:
        assert isinstance(await rig.heard(), GuestHostSilent)


async def test_a_call_that_its_guest_does_not_wait_for_any_more_is_cut(rig: Rig) -> None:
    rig.answers.go_on.clear()
    running = rig.start()
    rig.say(Call(run=1, number=1))
    rig.say(Ended(run=1, how=How.EXCEEDED, limit=LimitName.WALL_SECONDS, text="2 s", allowed="1 s"))
    report = await asyncio.wait_for(running.ended, GENEROUS)
    assert report.end == Exceeded(LimitHit(LimitName.WALL_SECONDS, "2 s", "1 s"))
    if rig.answers.asked:
        await asyncio.wait_for(rig.answers.cut.wait(), GENEROUS)


async def test_an_artifact_that_cannot_be_opened_is_no_end_of_the_guest_host(rig: Rig) -> None:
    running = rig.start()
    rig.say(Ended(run=1, how=How.UNOPENED, text="gone"))
    with pytest.raises(Unopened, match="gone"):
        await asyncio.wait_for(running.ended, GENEROUS)
    assert not rig.lost.done()


@pytest.mark.parametrize(
    "end",
    [
        Returned(True, "{}"),
        Returned(False, "no"),
        Trapped("unreachable", "main"),
        Trapped("unreachable"),
        Exceeded(LimitHit(LimitName.MEMORY, "a lot", "1Mi")),
        *map(Stopped, StopCause),
    ],
)
def test_an_end_is_read_as_it_was_said(end: GuestEnd) -> None:
    report = GuestReport(end, "error: last", Refusal(RefusedFor.HTTP_CALLS, 65), 0.5, 1.5)
    assert report_of(ended(1, report)) == report


def test_texts_of_any_length_are_cut_where_they_are_said() -> None:
    report = GuestReport(Trapped("x" * 5_000_000, "y" * 5_000_000))
    FROM_GUEST_HOST.encode(ended(1, report))
    cut = report_of(ended(1, report)).end
    assert cut == Trapped("x" * MAX_TEXT, "y" * MAX_TEXT)


def test_a_log_is_kept_within_its_bounds_whoever_wrote_it() -> None:
    log = "\n".join(f"shout: {number}\x1b[31m" for number in range(1000))
    read = report_of(Ended(run=1, how=How.OK, log=log)).log.split("\n")
    assert len(read) == MAX_LOG_LINES
    assert read[-1] == "info: 999 [31m"
