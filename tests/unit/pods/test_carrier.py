"""The carrier: whom it shows its token, what it keeps over connections, and when it ends."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from wasmtime.component import Component

from curation.guests.frames import Ended, How, Run, Stop
from curation.isolation.frames import Frame
from curation.pods import carrier as carriers
from curation.pods.carrier import DONE, GIVEN_UP, Carrier
from curation.pods.carrier_settings import CarrierSettings
from curation.pods.connection import FrameReader, encoded
from curation.pods.frames import (
    FROM_CARRIER,
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
from curation.wasm.engine import new_engine
from curation.wasm.limits import Limits
from tests.guests import hostile
from tests.guests.wat import Script
from tests.harness.certificates import self_signed
from tests.harness.processes import children
from tests.unit.execution.conftest import GENEROUS

LIMITS = Limits(cpu_seconds=60, wall_seconds=60)
REQUEST = {"method": "GET", "url": "http://a.test/"}


class Visit:
    """One connection of the carrier, of which this test is door and worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._frames = FrameReader(reader, FROM_CARRIER)
        self._writer = writer

    async def heard(self) -> Frame | None:
        async with asyncio.timeout(GENEROUS):
            try:
                return await self._frames.next()
            except (ConnectionError, ssl.SSLError):
                return None

    def say(self, *frames: Frame) -> None:
        for frame in frames:
            self._writer.write(encoded(TO_CARRIER, frame))

    def send_module(self, code: bytes) -> None:
        """In two parts."""
        half = len(code) // 2
        for offset, part in ((0, code[:half]), (half, code[half:])):
            self.say(ModulePart(digest="sha256:1", offset=offset, size=len(code), payload=part))

    def close(self) -> None:
        self._writer.transport.abort()


@dataclass
class Rig:
    settings: CarrierSettings
    carrier: Carrier
    running: "asyncio.Task[int]"
    visits: "asyncio.Queue[Visit]" = field(default_factory=asyncio.Queue)
    kept: list[Visit] = field(default_factory=list)

    async def visit(self) -> Visit:
        async with asyncio.timeout(GENEROUS):
            self.kept.append(await self.visits.get())
        return self.kept[-1]

    async def knocked(self) -> tuple[Visit, Knock]:
        visit = await self.visit()
        knock = await visit.heard()
        assert isinstance(knock, Knock)
        return visit, knock

    async def welcomed(self) -> tuple[Visit, Here]:
        visit, _ = await self.knocked()
        visit.say(Welcome())
        here = await visit.heard()
        assert isinstance(here, Here)
        return visit, here

    async def started(self, wasm: bytes, limits: Limits = LIMITS) -> Visit:
        """Its guest runs."""
        visit, here = await self.welcomed()
        assert here == Here(started=False)
        visit.send_module(compiled(wasm))
        visit.say(Run(run=1, digest="sha256:1", limits=limits, payload=b"{}"))
        return visit

    async def exited(self) -> int:
        async with asyncio.timeout(GENEROUS):
            return await self.running


def compiled(wasm: bytes) -> bytes:
    with new_engine() as engine, Component(engine, wasm) as component:
        return bytes(component.serialize())


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(carriers, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(carriers, "LAST_WAIT", 0.05)
    pem, tls = self_signed(tmp_path, "door.test")
    visits: asyncio.Queue[Visit] = asyncio.Queue()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.put_nowait(Visit(reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    token = tmp_path / "token"
    token.write_text("one\n")
    port = server.sockets[0].getsockname()[1]
    settings = CarrierSettings("127.0.0.1", port, "door.test", pem.read_text(), "uid-1.g1.a1/Submit/1", token)
    carrier = Carrier(settings)
    running = asyncio.create_task(carrier.run())
    made = Rig(settings, carrier, running, visits)
    yield made
    carrier._finish(GIVEN_UP, "the test has ended")
    await asyncio.gather(running, return_exceptions=True)
    server.close()
    while not visits.empty():
        visits.get_nowait().close()
    for each in made.kept:
        each.close()
    await asyncio.sleep(0)


async def test_a_guest_runs_and_its_end_is_said_until_it_is_settled(rig: Rig) -> None:
    visit = await rig.started(Script().call(REQUEST).ok({"a": 1}))
    call = await visit.heard()
    assert isinstance(call, Call)
    assert (call.number, call.repeated) == (1, False)
    visit.say(Answer(number=1, ok=True, payload=b'{"status": 200, "headers": {}, "body": ""}'))
    end = await visit.heard()
    assert isinstance(end, Ended)
    assert (end.how, end.payload) == (How.OK, b'{"a": 1}')
    for number in (2, 3):
        visit.close()
        visit, here = await rig.welcomed()
        assert here == Here(started=True, last_call=1, connection=number)
        assert await visit.heard() == end
    visit.say(Acknowledged())
    assert await rig.exited() == DONE


async def test_a_call_without_an_answer_is_said_again_on_the_next_connection(rig: Rig) -> None:
    visit = await rig.started(Script().call(REQUEST).ok({}))
    call = await visit.heard()
    assert isinstance(call, Call)
    visit.close()
    visit, here = await rig.welcomed()
    assert here == Here(started=True, last_call=1, connection=2)
    again = await visit.heard()
    assert isinstance(again, Call)
    assert (again.number, again.repeated, again.payload) == (1, True, call.payload)
    visit.say(Answer(number=7, ok=True, payload=b"{}"), Answer(number=1, ok=False, payload=b"{}"))
    assert isinstance(await visit.heard(), Ended), "an answer to another call is none"


async def test_a_worker_that_leaves_is_asked_for_nothing_more_and_a_call_it_was_not_asked_is_no_repeated_one(
    rig: Rig,
) -> None:
    visit = await rig.started(Script().call(REQUEST, times=2).ok({}))
    assert isinstance(await visit.heard(), Call)
    visit.say(Leaving(), Answer(number=1, ok=False, payload=b"{}"))
    assert await visit.heard() is None
    visit, here = await rig.welcomed()
    assert here == Here(started=True, last_call=1, connection=2)
    call = await visit.heard()
    assert isinstance(call, Call)
    assert (call.number, call.repeated) == (2, False)


async def test_a_worker_that_leaves_while_nothing_is_asked_is_left_at_once(rig: Rig) -> None:
    visit, _ = await rig.welcomed()
    visit.say(Leaving())
    assert await visit.heard() is None
    await rig.welcomed()


async def test_its_token_is_read_anew_for_each_connection(rig: Rig) -> None:
    visit, knock = await rig.knocked()
    assert knock == Knock(execution="uid-1.g1.a1/Submit/1", payload=b"one")
    rig.settings.token_file.write_text("two")
    visit.close()
    visit, knock = await rig.knocked()
    assert knock.payload == b"two"


async def test_who_is_turned_away_comes_again_unless_that_is_final(rig: Rig) -> None:
    for _ in range(3):
        visit, _ = await rig.knocked()
        visit.say(Refused(why="not yet", final=False))
    visit, _ = await rig.knocked()
    visit.say(Refused(why="never", final=True))
    assert await rig.exited() == GIVEN_UP


@pytest.mark.parametrize("who", ["another authority's", "another name's"])
async def test_its_token_is_shown_to_nobody_but_the_door(rig: Rig, tmp_path: Path, who: str) -> None:
    (folder := tmp_path / "other").mkdir()
    name = "door.test" if who == "another authority's" else "other.test"
    pem, tls = self_signed(folder, name)
    heard: list[bytes] = []
    tried = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    authority = rig.settings.authority if name == "door.test" else pem.read_text()
    port = server.sockets[0].getsockname()[1]
    settings = CarrierSettings(
        "127.0.0.1", port, "door.test", authority, rig.settings.execution, rig.settings.token_file
    )
    other = Carrier(settings)
    visit = other._visit

    async def visited(address: str) -> bool:
        found = await visit(address)
        tried.set()
        return found

    other._visit = visited  # type: ignore[method-assign]
    running = asyncio.create_task(other.run())
    async with asyncio.timeout(GENEROUS):
        await tried.wait()
    other._finish(GIVEN_UP, "the test has ended")
    await running
    server.close()
    assert not any(heard)


async def test_every_address_of_the_door_is_tried(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def addresses() -> list[str]:
        return ["127.0.0.2", "127.0.0.1", "127.0.0.3"]

    monkeypatch.setattr(rig.carrier, "_addresses", addresses)
    await rig.knocked()


PART = ModulePart(digest="sha256:1", offset=0, size=4, payload=b"code")


@pytest.mark.parametrize(
    "frames",
    [
        [Welcome()],
        [Refused(why="", final=True)],
        [Run(run=1, digest="sha256:1", limits=LIMITS, payload=b"{}")],
        [PART, Run(run=2, digest="sha256:1", limits=LIMITS, payload=b"{}")],
        [PART, Run(run=1, digest="sha256:2", limits=LIMITS, payload=b"{}")],
        [ModulePart(digest="sha256:1", offset=1, size=4, payload=b"ode")],
        [ModulePart(digest="sha256:1", offset=0, size=4, payload=b"codes")],
        [ModulePart(digest="sha256:1", offset=0, size=4)],
        [ModulePart(digest="sha256:1", offset=0, size=0)],
        [ModulePart(digest="sha256:1", offset=0, size=1 << 40, payload=b"code")],
        [ModulePart(digest="sha256:1", offset=0, size=9, payload=b"code"), ModulePart(digest="b", offset=4, size=9)],
    ],
    ids=lambda frames: "-".join(frame.NAME for frame in frames),
)
async def test_what_does_not_fit_ends_the_connection_and_it_comes_again(rig: Rig, frames: list[Frame]) -> None:
    visit, _ = await rig.welcomed()
    visit.say(*frames)
    assert await visit.heard() is None
    visit, here = await rig.welcomed()
    assert here == Here(started=False, connection=2)


async def test_a_guest_is_started_once(rig: Rig) -> None:
    wasm = Script().call(REQUEST).ok({})
    visit = await rig.started(wasm)
    assert isinstance(await visit.heard(), Call)
    visit.send_module(compiled(wasm))
    assert await visit.heard() is None
    _, here = await rig.welcomed()
    assert here.started


async def test_a_guest_that_spins_is_interrupted_by_a_stop(rig: Rig) -> None:
    visit = await rig.started(Script().call(REQUEST).ends_with(hostile.SPIN))
    assert isinstance(await visit.heard(), Call)
    visit.say(Answer(number=1, ok=False, payload=b"{}"), Stop(run=1, payload=b"{}"))
    end = await visit.heard()
    assert isinstance(end, Ended)
    assert end.how is How.STOPPED


async def test_code_that_is_none_is_an_end(rig: Rig) -> None:
    visit, _ = await rig.welcomed()
    visit.send_module(b"no code at all")
    visit.say(Run(run=1, digest="sha256:1", limits=LIMITS, payload=b"{}"))
    end = await visit.heard()
    assert isinstance(end, Ended)
    assert end.how is How.UNOPENED


async def test_a_guest_host_that_is_killed_is_said_until_that_is_settled(rig: Rig) -> None:
    visit = await rig.started(Script().call(REQUEST).ok({}))
    assert isinstance(await visit.heard(), Call)
    rig.carrier._host._spawned.kill()
    end = await visit.heard()
    assert isinstance(end, HostEnded)
    assert "signal 9" in end.how
    assert not end.over_limit
    visit.close()
    visit, here = await rig.welcomed()
    assert here.started
    assert await visit.heard() == end, "and no call any more"
    visit.say(Acknowledged())
    assert await rig.exited() == DONE


async def test_a_guest_host_that_the_kernel_has_killed_for_want_of_memory_is_over_its_limit(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a node that does not end the whole container then, whose pod says nothing of it."""
    visit = await rig.started(Script().call(REQUEST).ok({}))
    assert isinstance(await visit.heard(), Call)
    monkeypatch.setattr(carriers, "memory_kills", lambda: rig.carrier._memory_kills + 1)
    rig.carrier._host._spawned.kill()
    end = await visit.heard()
    assert isinstance(end, HostEnded)
    assert end.over_limit
    assert "want of memory" in end.how


async def test_a_guest_host_that_is_killed_before_its_guest_was_started_ends_it(rig: Rig) -> None:
    await rig.welcomed()
    rig.carrier._host._spawned.kill()
    assert await rig.exited() == GIVEN_UP


async def test_it_gives_up_when_nobody_has_listened_for_long(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carriers, "LOST_SECONDS", 0.2 - LIMITS.wall_seconds)
    visit = await rig.started(Script().call(REQUEST).ok({}))
    assert isinstance(await visit.heard(), Call)
    await asyncio.sleep(0.3)
    assert not rig.running.done(), "somebody listens"
    visit.close()
    assert await rig.exited() == GIVEN_UP


async def test_nothing_is_left_of_it(rig: Rig) -> None:
    await rig.started(Script().call(REQUEST).ok({}))
    guest_host = rig.carrier._host.pid
    assert guest_host in children(os.getpid())
    rig.carrier._finish(GIVEN_UP, "the test has ended")
    await rig.exited()
    assert guest_host not in children(os.getpid())


GOOD = {
    "CURATION_DOOR": "door.operator.svc:9445",
    "CURATION_DOOR_SERVER_NAME": "door.operator.svc",
    "CURATION_EXECUTION": "uid-1.g1.a1/Submit/1",
    "CURATION_TOKEN_FILE": "/token",
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"CURATION_DOOR": ""}, "CURATION_DOOR is not set"),
        ({"CURATION_DOOR": "door"}, "CURATION_DOOR: 'door' is not host:port"),
        ({"CURATION_DOOR": "door:0"}, "host:port"),
        ({"CURATION_DOOR": "door:65536"}, "host:port"),
        ({"CURATION_DOOR": ":1"}, "host:port"),
        ({"CURATION_DOOR_SERVER_NAME": ""}, "CURATION_DOOR_SERVER_NAME is not set"),
        ({"CURATION_DOOR_AUTHORITY": "no PEM"}, "CURATION_DOOR_AUTHORITY"),
        ({"CURATION_EXECUTION": ""}, "CURATION_EXECUTION is not set"),
        ({"CURATION_TOKEN_FILE": ""}, "CURATION_TOKEN_FILE is not set"),
    ],
)
def test_an_environment_that_is_no_use_is_refused_with_its_variable(
    tmp_path: Path, changes: dict[str, str], says: str
) -> None:
    pem, _ = self_signed(tmp_path, "door.test")
    good = {**GOOD, "CURATION_DOOR_AUTHORITY": pem.read_text()}
    read = CarrierSettings.of(good)
    assert (read.host, read.port) == ("door.operator.svc", 9445)
    assert CarrierSettings.of({**good, "CURATION_DOOR": "[::1]:9445"}).host == "::1"
    with pytest.raises(ValueError, match=says):
        CarrierSettings.of({**good, **changes})


@pytest.mark.parametrize("token", ["", "  \n", "x" * ((16 << 10) + 1)])
def test_a_token_that_is_none_is_not_shown(tmp_path: Path, token: str) -> None:
    (file := tmp_path / "token").write_text(token)
    with pytest.raises(OSError, match="no token"):
        CarrierSettings("a", 1, "a", "", "x", file).token()
