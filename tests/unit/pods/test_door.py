"""The door: who may in is joined with its worker, and strangers cost nobody else anything."""

import asyncio
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from curation.isolation.frames import Frame
from curation.isolation.nursery import Nursery
from curation.pods import door as door_process
from curation.pods import door_host
from curation.pods.connection import FrameReader, encoded
from curation.pods.door_host import Door
from curation.pods.frames import FROM_CARRIER, TO_CARRIER, Acknowledged, Here, Knock, Refused, Welcome
from curation.pods.seam import Admitted, Turned
from curation.pods.seam import Knock as Asked
from curation.workers.targets import TEMPLATE
from tests.harness.certificates import self_signed
from tests.unit.execution.conftest import GENEROUS, until
from tests.unit.pods.rigs import SERVER_NAME, listening

EXECUTION = "uid-1.g1.a1/Submit/1"


@dataclass
class Keeper:
    """Lets in whoever shows the token."""

    asked: list[Asked] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    fails: bool = False

    async def judge(self, knock: Asked) -> Admitted | Turned:
        self.asked.append(knock)
        await self.go_on.wait()
        if self.fails:
            raise RuntimeError("a bug of ours")
        if knock.token == "good":
            return Admitted("pod")
        return Turned("it is not its pod", final=knock.token != "later")


@dataclass
class Rig:
    door: Door
    keeper: Keeper
    port: int
    tls: ssl.SSLContext
    joined: dict[str, socket.socket] = field(default_factory=dict)
    strangers: list["Stranger"] = field(default_factory=list)
    awaits: bool = True

    def join(self, execution: str, sock: socket.socket) -> bool:
        if self.awaits:
            if execution in self.joined:
                self.joined[execution].close()
            self.joined[execution] = sock.dup()
            self.joined[execution].setblocking(False)
        return self.awaits

    async def connect(self) -> "Stranger":
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.tls, server_hostname=SERVER_NAME
        )
        self.strangers.append(Stranger(reader, writer))
        return self.strangers[-1]

    async def knock(self, token: bytes = b"good", execution: str = EXECUTION) -> "Stranger":
        made = await self.connect()
        made.say(Knock(execution=execution, payload=token))
        return made

    async def worker(self, execution: str = EXECUTION) -> socket.socket:
        await until(lambda: execution in self.joined)
        return self.joined.pop(execution)


class Stranger:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._frames = FrameReader(reader, TO_CARRIER)

    def say(self, frame: Frame) -> None:
        self.writer.write(encoded(FROM_CARRIER, frame))

    async def heard(self) -> Frame | None:
        """None: it has closed."""
        async with asyncio.timeout(GENEROUS):
            try:
                return await self._frames.next()
            except (ConnectionError, ssl.SSLError):
                return None

    async def closed(self) -> None:
        assert await self.heard() is None
        self.close()

    def close(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def made(folder: Path, *, certified: bool = True) -> AsyncIterator[Rig]:
    pem, _ = self_signed(folder, SERVER_NAME)
    pair = (pem.read_bytes(), pem.with_suffix(".key").read_bytes())
    tls = ssl.create_default_context(cafile=str(pem))
    nursery, sock, keeper = Nursery(TEMPLATE), listening(), Keeper()
    keeper.go_on.set()
    port = sock.getsockname()[1]
    door = Door(nursery, [sock], keeper, lambda: pair if certified else (b"", b""), lambda *each: one.join(*each))
    one = Rig(door, keeper, port, tls)
    door.start()
    try:
        yield one
    finally:
        keeper.go_on.set()
        await door.close()
        await nursery.close()
        for joined in one.joined.values():
            joined.close()
        for each in one.strangers:
            each.close()
        await asyncio.sleep(0)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with made(tmp_path) as one:
        yield one


async def received(worker: socket.socket, size: int) -> bytes:
    found = b""
    async with asyncio.timeout(GENEROUS):
        while len(found) < size and (data := await asyncio.get_running_loop().sock_recv(worker, 1 << 20)):
            found += data
    return found


async def test_who_may_in_is_joined_with_its_worker_and_bytes_go_both_ways(rig: Rig) -> None:
    pod = await rig.knock()
    assert isinstance(await pod.heard(), Welcome)
    assert rig.keeper.asked == [Asked(EXECUTION, "good")]
    worker = await rig.worker()
    loop = asyncio.get_running_loop()
    big = os.urandom(3 << 20)
    for _ in range(2):
        pod.writer.write(big)
        assert await received(worker, len(big)) == big
        sending = asyncio.create_task(loop.sock_sendall(worker, big))
        async with asyncio.timeout(GENEROUS):
            assert await pod.reader.readexactly(len(big)) == big
        await sending
    pod.close()
    assert await received(worker, 1) == b"", "each end hears that the other one has closed"
    worker.close()


async def test_what_a_worker_says_last_arrives_though_it_closes_at_once(rig: Rig) -> None:
    pod = await rig.knock()
    assert isinstance(await pod.heard(), Welcome)
    worker = await rig.worker()
    worker.sendall(encoded(TO_CARRIER, Acknowledged()))
    worker.close()
    assert isinstance(await pod.heard(), Acknowledged)
    await pod.closed()


async def test_the_operator_keeps_no_end_of_what_is_joined(rig: Rig) -> None:
    await until(lambda: rig.door.pid != 0)
    before = open_descriptors()
    pod = await rig.knock()
    assert isinstance(await pod.heard(), Welcome)
    worker = await rig.worker()
    # This test is the worker, and the pod.
    assert open_descriptors() - before == 2
    pod.close()
    worker.close()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone


@pytest.mark.parametrize(("token", "final"), [(b"bad", True), (b"later", False), (b"\xff\xfe", True)])
async def test_who_may_not_is_told_why_and_whether_to_come_again(rig: Rig, token: bytes, final: bool) -> None:
    pod = await rig.knock(token)
    answer = await pod.heard()
    assert isinstance(answer, Refused)
    assert (bool(answer.why), answer.final) == (True, final)
    await pod.closed()
    assert rig.joined == {}


async def test_one_whose_worker_does_not_await_it_comes_again(rig: Rig) -> None:
    rig.awaits = False
    answer = await (await rig.knock()).heard()
    assert isinstance(answer, Refused)
    assert not answer.final


async def test_a_judgement_that_fails_refuses_for_now(rig: Rig) -> None:
    rig.keeper.fails = True
    answer = await (await rig.knock()).heard()
    assert isinstance(answer, Refused)
    assert not answer.final


async def test_what_is_no_knock_is_closed_and_nobody_is_asked(rig: Rig) -> None:
    for said in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 100,
        encoded(FROM_CARRIER, Here(started=True)),
        encoded(FROM_CARRIER, Knock(execution=EXECUTION)),
        encoded(FROM_CARRIER, Knock(execution="x" * 1025, payload=b"good")),
        encoded(FROM_CARRIER, Knock(execution=EXECUTION, payload=b"good")) + b"more",
        b"\x00\x00\x10\x00\x00\x01\x00\x00\x00",  # a token of 64 KiB
    ):
        stranger = await rig.connect()
        stranger.writer.write(said)
        await stranger.closed()
    assert rig.keeper.asked == []


async def test_who_speaks_before_the_answer_is_closed(rig: Rig) -> None:
    rig.keeper.go_on.clear()
    pod = await rig.knock()
    await until(lambda: rig.keeper.asked != [])
    pod.say(Here(started=True))
    await pod.closed()
    rig.keeper.go_on.set()
    assert isinstance(await (await rig.knock()).heard(), Welcome)


async def test_who_leaves_before_the_answer_is_not_joined_and_may_come_again(rig: Rig) -> None:
    rig.keeper.go_on.clear()
    pod = await rig.knock()
    await until(lambda: rig.keeper.asked != [])
    pod.close()
    again = await rig.knock()
    answer = await again.heard()
    assert isinstance(answer, Refused), "it is being judged"
    assert not answer.final
    rig.keeper.go_on.set()
    await until(lambda: not rig.door._judged)
    assert rig.joined == {}
    assert isinstance(await (await rig.knock()).heard(), Welcome)


async def test_a_stranger_who_knocks_for_an_execution_does_not_keep_its_pod_from_being_judged(rig: Rig) -> None:
    rig.keeper.go_on.clear()
    strangers = [await rig.knock(b"bad-%d" % number) for number in range(3)]
    await until(lambda: len(rig.keeper.asked) == len(strangers))
    pod = await rig.knock()
    await until(lambda: rig.keeper.asked[-1].token == "good")
    rig.keeper.go_on.set()
    assert isinstance(await pod.heard(), Welcome)
    for each in strangers:
        assert isinstance(await each.heard(), Refused)


async def test_one_address_has_so_many_connections_that_were_not_let_in_and_pods_that_were_are_none_of_them(
    rig: Rig,
) -> None:
    for number in range(door_process.STRANGERS_OF_ONE + 4):
        pod = await rig.knock(execution=f"run-{number}")
        assert isinstance(await pod.heard(), Welcome)
    rig.keeper.go_on.clear()
    waiting = [await rig.knock(execution=f"waits-{number}") for number in range(door_process.STRANGERS_OF_ONE)]
    await until(lambda: len(rig.door._judged) == len(waiting))
    with pytest.raises((ConnectionError, ssl.SSLError)):
        await rig.connect()
    rig.keeper.go_on.set()
    for each in waiting:
        assert isinstance(await each.heard(), Welcome)


async def test_so_many_are_judged_at_once_and_the_others_wait(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_host, "WAITING", 3)
    rig.door._at_once = asyncio.Semaphore(2)
    rig.keeper.go_on.clear()
    waiting = [await rig.knock(execution=f"run-{number}") for number in range(3)]
    await until(lambda: len(rig.door._judged) == 3)
    answer = await (await rig.knock(execution="one more")).heard()
    assert isinstance(answer, Refused)
    assert not answer.final
    assert len(rig.keeper.asked) == 2
    rig.keeper.go_on.set()
    for each in waiting:
        assert isinstance(await each.heard(), Welcome)


async def test_a_door_that_was_killed_is_started_again_with_the_same_socket(rig: Rig) -> None:
    pod = await rig.knock()
    assert isinstance(await pod.heard(), Welcome)
    worker = await rig.worker()
    first = rig.door.pid
    os.kill(first, signal.SIGKILL)
    await pod.closed()
    assert await received(worker, 1) == b""
    worker.close()
    await until(lambda: rig.door.pid not in (0, first))
    assert isinstance(await (await rig.knock()).heard(), Welcome)


async def test_a_door_serves_while_its_process_shows_a_certificate(rig: Rig) -> None:
    await until(lambda: rig.door.serving)
    first, certificate = rig.door.pid, rig.door._certificate
    rig.door._certificate = lambda: (b"", b"")
    rig.door.renew()
    assert rig.door.serving, "it goes on with the one before"
    os.kill(first, signal.SIGKILL)
    await until(lambda: rig.door.pid not in (0, first))
    assert not rig.door.serving
    rig.door._certificate = certificate
    rig.door.renew()
    await until(lambda: rig.door.serving)


async def test_without_a_certificate_connections_wait_until_there_is_one(tmp_path: Path) -> None:
    async with made(tmp_path, certified=False) as rig:
        await until(lambda: rig.door.pid != 0)
        knocking = asyncio.create_task(rig.knock())
        _, pending = await asyncio.wait({knocking}, timeout=0.2)
        assert pending
        folder = tmp_path
        pair = ((folder / f"{SERVER_NAME}.pem").read_bytes(), (folder / f"{SERVER_NAME}.key").read_bytes())
        rig.door._certificate = lambda: pair
        rig.door.renew()
        assert isinstance(await (await knocking).heard(), Welcome)


async def test_another_certificate_is_shown_to_those_that_come_later(rig: Rig, tmp_path: Path) -> None:
    (folder := tmp_path / "other").mkdir()
    pem, _ = self_signed(folder, SERVER_NAME)
    rig.door._certificate = lambda: (b"no certificate", b"no key")
    rig.door.renew()
    assert isinstance(await (await rig.knock()).heard(), Welcome), "one that is none changes nothing"
    rig.door._certificate = lambda: (pem.read_bytes(), pem.with_suffix(".key").read_bytes())
    rig.door.renew()
    tls = rig.tls
    rig.tls = ssl.create_default_context(cafile=str(pem))
    async with asyncio.timeout(GENEROUS):
        while True:
            try:
                pod = await rig.knock()
            except ssl.SSLError:
                continue  # it has not heard of it yet
            break
    assert isinstance(await pod.heard(), Welcome)
    rig.tls = tls
    with pytest.raises(ssl.SSLError):
        await rig.connect()


async def test_an_older_protocol_is_not_spoken(rig: Rig) -> None:
    rig.tls.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await rig.connect()
