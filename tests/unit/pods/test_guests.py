"""What a worker makes of what a pod says, which may be in anybody's hands: it fits, or the connection ends."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from curation.execution.guest_calls import LONG_BYTES
from curation.execution.in_process import InProcessExecutor
from curation.execution.seam import Ended as ExecutionEnded
from curation.execution.seam import Word
from curation.guests.frames import Ended, How, Run, Stop
from curation.guests.seam import GuestLost, GuestReport, GuestRun, Refusal, Running
from curation.isolation.frames import Decoder, Frame
from curation.pods import guests as pod_guests
from curation.pods import pod_run
from curation.pods.frames import (
    FROM_CARRIER,
    PART_BYTES,
    TO_CARRIER,
    Acknowledged,
    Answer,
    Call,
    Here,
    HostEnded,
    Knock,
    Leaving,
    ModulePart,
)
from curation.pods.guests import PodGuests
from curation.wasm.guest_end import Returned, StopCause, Stopped
from curation.wasm.limits import Limits
from curation.wasm.module_errors import ModuleUnreadable
from tests.guests.wat import Script
from tests.unit.execution.conftest import Rig as ExecutionRig
from tests.unit.execution.conftest import until

GENEROUS = 120
LIMITS = Limits(http_calls=5)
DIGEST = "sha256:1"
MODULE = type("Module", (), {"digest": DIGEST, "path": Path("/nowhere")})()
CODE = os.urandom(PART_BYTES + 1000)
ENDED = Ended(run=1, how=How.OK, payload=b"{}")


@dataclass
class Answers:
    """Answers calls as soon as it may."""

    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[int] = field(default_factory=list)
    earlier: int | None = None
    cut: int = 0

    async def call(self, number: int, request: bytes, seconds: float) -> tuple[bool, str]:
        self.asked.append(number)
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cut += 1
            raise
        return True, f"answer {number}"

    def refused(self, request: str, refusal: Refusal) -> None:
        raise AssertionError("only of guests in this process")

    def resumed(self, calls: int) -> None:
        assert self.earlier is None
        self.earlier = calls

    def unknown(self) -> tuple[bool, str]:
        return False, "unknown"


class Connection:
    """A pod's end of one connection, which says what this test likes."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._decoder = Decoder(TO_CARRIER)
        sock.setblocking(False)

    def say(self, *frames: Frame) -> None:
        for frame in frames:
            encoded = FROM_CARRIER.encode(frame)
            self._socket.sendall(encoded.head + encoded.payload)

    async def heard(self) -> Frame | None:
        """The next frame; None once it has ended."""
        async with asyncio.timeout(GENEROUS):
            while (frame := self._decoder.next()) is None:
                try:
                    data = await asyncio.get_running_loop().sock_recv(self._socket, 65_536)
                except ConnectionError:
                    data = b""
                if not data:
                    return None
                self._decoder.feed(data)
            return frame

    async def module(self) -> bytes:
        """What comes of a module until it is complete."""
        whole = b""
        while True:
            part = await self.heard()
            assert isinstance(part, ModulePart)
            assert (part.digest, part.offset, part.size) == (DIGEST, len(whole), len(CODE))
            whole += part.payload
            if len(whole) == part.size:
                return whole

    async def started(self) -> None:
        """Say that nothing is held, and be told to start the guest."""
        self.say(Here(started=False))
        assert await self.module() == CODE
        assert isinstance(await self.heard(), Run)

    def close(self) -> None:
        self._socket.close()


class Rig:
    def __init__(self, folder: Path) -> None:
        self._file = folder / "artifact"
        self._file.write_bytes(CODE)
        self.answers = Answers()
        self.answers.go_on.set()
        self._connections: list[Connection] = []
        self.guests = self.made()

    def made(self, *, resumed: bool = False, start_seconds: float = 600) -> PodGuests:
        self.guests = PodGuests(LIMITS, resumed=resumed, artifact=self._open, start_seconds=start_seconds)
        return self.guests

    def _open(self, digest: str) -> int:
        assert digest == DIGEST
        return os.open(self._file, os.O_RDONLY)

    def join(self) -> Connection:
        ours, theirs = socket.socketpair()
        self.guests.join(ours)
        self._connections.append(Connection(theirs))
        return self._connections[-1]

    def start(self) -> Running:
        return self.guests.start(GuestRun(MODULE, '{"a": 1}', LIMITS), self.answers)

    async def running(self) -> tuple[Running, Connection]:
        """A run that was started in its pod."""
        running, pod = self.start(), self.join()
        await pod.started()
        return running, pod

    async def close(self) -> None:
        await self.guests.close()
        for each in self._connections:
            each.close()


async def ended(running: Running) -> GuestReport:
    async with asyncio.timeout(GENEROUS):
        return await running.ended


async def lost(running: Running) -> str:
    with pytest.raises(GuestLost) as found:
        await ended(running)
    return str(found.value)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    yield made
    await made.close()


async def test_a_guest_is_started_with_its_module_and_context_once_its_pod_is_here(rig: Rig) -> None:
    assert not rig.guests.is_ready
    pod = rig.join()
    pod.say(Here(started=False))
    async with asyncio.timeout(GENEROUS):
        await rig.guests.ready()
    running = rig.start()
    assert await pod.module() == CODE
    run = await pod.heard()
    assert isinstance(run, Run)
    assert (run.run, run.digest, run.limits, run.payload) == (1, DIGEST, LIMITS, b'{"a": 1}')
    for number in (1, 4):
        pod.say(Call(number=number, payload=b"{}"))
        answer = await pod.heard()
        assert answer == Answer(number=number, ok=True, payload=f"answer {number}".encode())
    pod.say(ENDED)
    assert (await ended(running)).end == Returned(True, "{}")
    assert rig.answers.earlier is None
    rig.guests.acknowledge()
    assert isinstance(await pod.heard(), Acknowledged)
    assert await pod.heard() is None


HELD = Here(started=True, last_call=2, connection=2)
Said = Callable[[Connection], None]


@pytest.mark.parametrize(
    "frames",
    [
        [Call(number=0)],
        [Call(number=-1)],
        [Call(number=6)],
        [Call(number=1), Call(number=2)],
        [Call(number=1), Call(number=1)],
        [Call(number=1, repeated=True)],
        [Call(number=0, repeated=True)],
        [Here(started=True, connection=2)],
        [Ended(run=2, how=How.OK)],
        [Ended(run=1, how=How.EXCEEDED)],
        [Ended(run=1, how=How.OK, payload=b"\xff")],
        [Knock(execution="x", payload=b"token")],
    ],
    ids=str,
)
async def test_what_does_not_fit_ends_the_connection_and_the_run_goes_on(rig: Rig, frames: list[Frame]) -> None:
    rig.answers.go_on.clear()
    running, pod = await rig.running()
    pod.say(*frames)
    assert await pod.heard() is None
    again = rig.join()
    again.say(Here(started=True, last_call=len(rig.answers.asked), connection=2), ENDED)
    assert (await ended(running)).end == Returned(True, "{}")


@pytest.mark.parametrize("said", [b"", b"\0" * 64, b"\xff" * 64, b"GET / HTTP/1.1\r\n\r\n"])
async def test_bytes_that_are_no_frames_end_the_connection(rig: Rig, said: bytes) -> None:
    running, pod = await rig.running()
    pod._socket.sendall(said)
    if not said:
        pod.close()
    else:
        assert await pod.heard() is None
    assert not running.ended.done()


@pytest.mark.parametrize(
    "here",
    [
        Here(started=True, last_call=6),
        Here(started=True, last_call=-1),
        Here(started=False, last_call=1),
        Here(started=True, connection=0),
        Here(started=True, connection=-1),
    ],
    ids=str,
)
async def test_what_cannot_be_held_ends_the_connection(rig: Rig, here: Here) -> None:
    rig.made(resumed=True)
    pod = rig.join()
    pod.say(here)
    assert await pod.heard() is None
    assert not rig.guests.is_ready


async def test_nothing_is_heard_before_it_was_said_what_is_held_nor_of_a_guest_that_was_not_started(rig: Rig) -> None:
    for frames in ([Call(number=1)], [ENDED], [Here(started=False), Call(number=1)], [Here(started=False), ENDED]):
        pod = rig.join()
        pod.say(*frames)
        assert await pod.heard() is None, frames
    assert rig.answers.asked == []


async def test_a_connection_that_does_not_say_what_it_holds_ends(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_guests, "HERE_SECONDS", 0.05)
    assert await rig.join().heard() is None


async def test_a_new_connection_takes_the_place_of_the_one_before(rig: Rig) -> None:
    running, pod = await rig.running()
    again = rig.join()
    again.say(Here(started=True, connection=2), ENDED)
    assert await pod.heard() is None
    assert (await ended(running)).end == Returned(True, "{}")


async def test_a_call_in_flight_that_is_repeated_is_answered_once_and_an_answered_one_again(rig: Rig) -> None:
    rig.answers.go_on.clear()
    running, pod = await rig.running()
    pod.say(Call(number=2, payload=b"{}"))
    await until(lambda: rig.answers.asked == [2])
    pod = rig.join()
    pod.say(HELD, Call(number=2, payload=b"{}", repeated=True))
    rig.answers.go_on.set()
    answer = Answer(number=2, ok=True, payload=b"answer 2")
    assert await pod.heard() == answer
    pod = rig.join()
    pod.say(Here(started=True, last_call=2, connection=3), Call(number=2, payload=b"{}", repeated=True))
    assert await pod.heard() == answer, "it may have been lost with the connection"
    pod.say(Call(number=2, payload=b"{}", repeated=True))
    assert await pod.heard() is None, "but on one connection it is not asked for again and again"
    pod = rig.join()
    pod.say(Here(started=True, last_call=4, connection=4), Call(number=4, payload=b"{}", repeated=True))
    assert await pod.heard() == Answer(number=4, ok=True, payload=b"answer 4"), "it was never heard here"
    assert rig.answers.asked == [2, 4]
    assert not running.ended.done()


async def test_who_holds_less_than_was_heard_is_not_heard(rig: Rig) -> None:
    running, pod = await rig.running()
    pod.say(Call(number=3, payload=b"{}"))
    await pod.heard()
    again = rig.join()
    again.say(Here(started=True, last_call=2, connection=2))
    assert await again.heard() is None
    again = rig.join()
    again.say(Here(started=True, last_call=3, connection=1))
    assert await again.heard() is None, "it has been here before"
    assert not running.ended.done()


async def test_a_resumed_guest_is_not_started_again_and_its_call_is_answered_that_nobody_knows(rig: Rig) -> None:
    rig.made(resumed=True)
    pod = rig.join()
    pod.say(Here(started=True, last_call=3, connection=7), Call(number=3, payload=b"{}", repeated=True))
    async with asyncio.timeout(GENEROUS):
        await rig.guests.ready()
    await asyncio.sleep(0)
    running = rig.start()
    assert await pod.heard() == Answer(number=3, ok=False, payload=b"unknown")
    assert (rig.answers.earlier, rig.answers.asked) == (3, [])
    pod.say(Call(number=4, payload=b"{}"))
    assert await pod.heard() == Answer(number=4, ok=True, payload=b"answer 4")
    pod.say(ENDED)
    await ended(running)


async def test_of_a_resumed_guest_only_calls_that_come_later_are_made(rig: Rig) -> None:
    rig.made(resumed=True)
    running, pod = rig.start(), rig.join()
    pod.say(Here(started=True, last_call=3, connection=7), Call(number=2, payload=b"{}"))
    assert await pod.heard() is None
    pod = rig.join()
    pod.say(Here(started=True, last_call=3, connection=8), Call(number=3, payload=b"{}"))
    assert await pod.heard() is None
    assert rig.answers.asked == []
    assert not running.ended.done()


async def test_what_a_resumed_guest_has_come_to_is_heard_before_anybody_has_started_it_here(rig: Rig) -> None:
    rig.made(resumed=True)
    pod = rig.join()
    pod.say(Here(started=True, last_call=3, connection=7), ENDED)
    async with asyncio.timeout(GENEROUS):
        await rig.guests.ready()
    for _ in range(5):
        await asyncio.sleep(0)
    assert (await ended(rig.start())).end == Returned(True, "{}")
    assert rig.answers.earlier == 3


async def test_a_resumed_guest_that_was_not_started_is_started(rig: Rig) -> None:
    rig.made(resumed=True)
    running, pod = await rig.running()
    pod.say(ENDED)
    await ended(running)
    assert rig.answers.earlier is None


async def test_a_module_that_was_cut_off_is_sent_again_from_its_beginning(rig: Rig) -> None:
    running, pod = rig.start(), rig.join()
    pod.say(Here(started=False))
    assert isinstance(await pod.heard(), ModulePart)
    pod.close()
    pod = rig.join()
    pod.say(Here(started=False, connection=2))
    assert await pod.module() == CODE
    assert isinstance(await pod.heard(), Run)
    assert not running.ended.done()


async def test_a_pod_that_says_it_was_started_where_nobody_has_is_lost(rig: Rig) -> None:
    running, pod = rig.start(), rig.join()
    pod.say(Here(started=True))
    assert "nobody has asked for" in await lost(running)
    assert await pod.heard() is None


async def test_a_pod_that_begins_anew_is_lost(rig: Rig) -> None:
    running, pod = await rig.running()
    pod.say(Call(number=1, payload=b"{}"))
    await pod.heard()
    rig.join().say(Here(started=False, connection=2))
    assert "begun anew" in await lost(running)


async def test_a_pod_that_another_operator_has_heard_meanwhile_is_lost(rig: Rig) -> None:
    """Two that lead would make its call twice."""
    running, _ = await rig.running()
    rig.join().say(Here(started=True, last_call=1, connection=3), Call(number=1, payload=b"{}", repeated=True))
    assert "another operator" in await lost(running)
    assert rig.answers.asked == []


async def test_a_connection_that_ended_before_it_was_heard_is_no_other_operators(rig: Rig) -> None:
    running, pod = await rig.running()
    rig.join().close()
    pod = rig.join()
    pod.say(Here(started=True, connection=3), ENDED)
    await ended(running)


async def test_a_guest_host_that_has_ended_is_a_run_that_is_lost_and_its_call_is_cut(rig: Rig) -> None:
    rig.answers.go_on.clear()
    running, pod = await rig.running()
    pod.say(Call(number=1, payload=b"{}"))
    await until(lambda: rig.answers.asked == [1])
    pod.say(HostEnded(how="signal 11", over_limit=True))
    with pytest.raises(GuestLost, match="signal 11") as found:
        await ended(running)
    assert found.value.over_limit
    await until(lambda: rig.answers.cut == 1)


@pytest.mark.parametrize(
    ("how", "error"), [(How.UNOPENED, ModuleUnreadable), (How.FAILED, RuntimeError)], ids=["unopened", "failed"]
)
async def test_an_end_that_is_a_failure_of_ours_is_raised(rig: Rig, how: How, error: type[Exception]) -> None:
    running, pod = await rig.running()
    pod.say(Ended(run=1, how=how, text="why" * 1000))
    with pytest.raises(error, match="why") as found:
        await ended(running)
    assert len(str(found.value)) < 1000


async def test_a_stop_reaches_the_pod_and_is_said_again_on_each_connection(rig: Rig) -> None:
    running, pod = await rig.running()
    running.stop("answer")
    running.stop("answer")
    assert await pod.heard() == Stop(run=1, payload=b"answer")
    pod = rig.join()
    pod.say(Here(started=True, connection=2))
    assert await pod.heard() == Stop(run=1, payload=b"answer")
    pod.say(Ended(run=1, how=How.STOPPED, cause=StopCause.KILLED))
    assert (await ended(running)).end == Stopped(StopCause.KILLED)


async def test_one_that_is_stopped_before_its_guest_was_started_ends_at_once(rig: Rig) -> None:
    running = rig.start()
    running.stop("answer")
    assert (await ended(running)).end == Stopped(StopCause.KILLED)
    pod = rig.join()
    pod.say(Here(started=False))
    rig.guests.acknowledge()
    assert isinstance(await pod.heard(), Acknowledged)


async def test_one_that_is_stopped_before_its_pod_has_heard_of_it_is_never_started(rig: Rig) -> None:
    running, pod = await rig.running()
    pod.close()
    running.stop("answer")
    again = rig.join()
    again.say(Here(started=False, connection=2))
    assert (await ended(running)).end == Stopped(StopCause.KILLED)
    rig.guests.acknowledge()
    assert isinstance(await again.heard(), Acknowledged), "and no module, nor a Run"


async def test_one_that_is_stopped_and_does_not_end_is_lost(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_run, "STOP_SECONDS", 0.05)
    running, _ = await rig.running()
    running.stop("answer")
    assert "was stopped" in await lost(running)


async def test_a_pod_that_never_comes_is_lost(rig: Rig) -> None:
    guests = rig.made(start_seconds=0.05)
    with pytest.raises(GuestLost, match="no pod of it has come"):
        async with asyncio.timeout(GENEROUS):
            await guests.ready()
    assert not guests.is_ready
    assert "no pod" in await lost(rig.start())
    assert await rig.join().heard() is None


async def test_a_pod_that_comes_and_does_not_start_its_guest_is_lost(rig: Rig) -> None:
    rig.made(start_seconds=0.2)
    running = rig.start()
    assert "has not been started within" in await lost(running)


async def test_a_pod_that_is_away_for_longer_than_its_run_may_take_is_lost(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_run, "LOST_SECONDS", 0.2 - LIMITS.wall_seconds)
    running, pod = await rig.running()
    pod.close()
    assert "has not said within" in await lost(running)


async def test_a_pod_that_is_here_and_does_not_end_in_time_is_lost_however_often_it_comes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_run, "OVERDUE_SECONDS", 0.2 - LIMITS.wall_seconds)
    running, _ = await rig.running()
    assert "in time" in await lost(running)


async def test_who_parts_from_a_pod_answers_its_call_and_waits_until_it_has_gone(rig: Rig) -> None:
    rig.answers.go_on.clear()
    running, pod = await rig.running()
    pod.say(Call(number=1, payload=b"{}"))
    await until(lambda: rig.answers.asked == [1])
    parting = asyncio.create_task(rig.guests.left())
    assert isinstance(await pod.heard(), Leaving)
    assert not parting.done()
    rig.answers.go_on.set()
    assert isinstance(await pod.heard(), Answer)
    pod.close()
    async with asyncio.timeout(GENEROUS):
        await parting
    assert await rig.join().heard() is None, "it comes to whoever leads next"
    assert not running.ended.done()


async def test_a_worker_that_drains_still_gives_a_pod_the_long_answer_to_the_call_that_is_on_the_wire(
    rig: Rig, in_process: ExecutionRig
) -> None:
    rig.guests = PodGuests(LIMITS, resumed=False, artifact=lambda _: rig._open(DIGEST))
    wide, script = in_process.executor, Script().ok({})
    executor = InProcessExecutor(
        wide.store, wide.gate, wide.sender, in_process.stock, guests_of=lambda request: rig.guests
    )
    heard: list[Word] = []
    executor.start(replace(in_process.request(script), in_pod=True), lambda _, word: heard.append(word))
    pod = rig.join()
    pod.say(Here(started=False))
    while not isinstance(await pod.heard(), Run):
        pass
    document = {"method": "POST", "url": in_process.peer.url(f"/hold?size={2 * LONG_BYTES}"), "headers": {}}
    pod.say(Call(number=1, payload=json.dumps(document).encode()))
    await in_process.peer.reached("/hold")
    parting = asyncio.create_task(rig.guests.left())
    assert isinstance(await pod.heard(), Leaving)
    await executor.drain(0)
    in_process.peer.go_on.set()
    answer = await pod.heard()
    assert isinstance(answer, Answer)
    assert answer.ok
    assert len(answer.payload) > LONG_BYTES
    pod.close()
    await parting
    assert not [word for word in heard if isinstance(word, ExecutionEnded)]


async def test_a_failure_to_answer_ends_the_run_with_it_and_its_guest_is_interrupted(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(number: int, request: bytes, seconds: float) -> tuple[bool, str]:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(rig.answers, "call", fails)
    running, pod = await rig.running()
    pod.say(Call(number=1, payload=b"{}"))
    with pytest.raises(RuntimeError, match="a bug of ours"):
        await ended(running)
    assert await pod.heard() == Stop(run=1, abort=True)


async def test_a_pod_that_takes_nothing_holds_one_part_of_its_module_in_memory(rig: Rig) -> None:
    rig.start()
    pod = rig.join()
    pod.say(Here(started=False))
    await until(lambda: rig.guests.channel is not None and rig.guests.channel.queued_bytes > 0)
    for _ in range(50):
        await asyncio.sleep(0)
    assert rig.guests.channel is not None
    assert rig.guests.channel.queued_bytes <= PART_BYTES + 1024


async def test_a_pod_whose_guest_host_has_ended_is_told_when_that_is_settled_also_if_it_comes_again(rig: Rig) -> None:
    running, pod = await rig.running()
    pod.say(HostEnded(how="signal 9"))
    await lost(running)
    pod = rig.join()
    pod.say(Here(started=True, connection=2), HostEnded(how="signal 9"))
    await until(lambda: rig.guests.channel is not None)
    rig.guests.acknowledge()
    assert isinstance(await pod.heard(), Acknowledged)
    assert await pod.heard() is None
