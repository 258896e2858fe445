"""Children, as real processes: what they have of this one, what they may take, and what is heard of their end."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from curation.isolation.channel import Channel, QueueFull
from curation.isolation.child import Child
from curation.isolation.frames import Decoder, Frame, FrameRefused, Wire
from curation.isolation.hardening import Hardening
from curation.isolation.spawn import ChildEnd, Limit
from tests.peers.children import FROM_CHILD, TO_CHILD, Answer, Ask

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked at in /proc")

GENEROUS = 120
MIB = 1 << 20


class Served:
    """A child, and what it has said."""

    def __init__(self, hardening: Hardening, target: str) -> None:
        self.heard: list[Answer] = []
        self.fault: Exception | None = None
        self._news = asyncio.Event()
        self.child = Child(target, hardening, to_child=TO_CHILD, from_child=FROM_CHILD, on_frame=self._hear)

    def _hear(self, frame: Frame) -> None:
        if self.fault is not None:
            raise self.fault
        assert isinstance(frame, Answer)
        self.heard.append(frame)
        self._news.set()

    async def ask(self, ask: Ask) -> bytes:
        before = len(self.heard)
        self.child.send(ask)
        async with asyncio.timeout(GENEROUS):
            while len(self.heard) == before:
                self._news.clear()
                await self._news.wait()
        return self.heard[before].payload

    async def ended(self) -> ChildEnd:
        async with asyncio.timeout(GENEROUS):
            return await asyncio.shield(self.child.ended)


class Nursery:
    def __init__(self) -> None:
        self._served: list[Served] = []

    def start(self, hardening: Hardening | None = None, target: str = "tests.peers.children:served") -> Served:
        served = Served(hardening or Hardening(), target)
        self._served.append(served)
        return served

    async def close(self) -> None:
        for served in self._served:
            await served.child.close()


@pytest.fixture
async def nursery() -> AsyncIterator[Nursery]:
    made = Nursery()
    yield made
    await made.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(GENEROUS):
        while not condition():  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.01)


def proc(pid: int, name: str) -> Path:
    return Path(f"/proc/{pid}/{name}")


def content(pid: int, name: str) -> bytes:
    return proc(pid, name).read_bytes()


def open_files(pid: int) -> dict[int, str]:
    return {int(path.name): str(path.readlink()) for path in proc(pid, "fd").iterdir()}


def runs(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def status(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{field}:"))


@pytest.mark.skipif(os.geteuid() != 0, reason="what is not dumpable is root's to look at")
async def test_a_child_has_nothing_of_its_parent_but_its_channel_and_a_pipe(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/a/secret/place")
    with tempfile.TemporaryFile() as opened, socket.socket() as inherited:
        os.set_inheritable(opened.fileno(), True)
        inherited.set_inheritable(True)
        served = nursery.start()
        await served.ask(Ask(number=1))
    pid = served.child.pid
    names = {entry.partition(b"=")[0] for entry in content(pid, "environ").split(b"\0") if entry}
    assert names <= {b"MALLOC_ARENA_MAX", b"LD_LIBRARY_PATH"}
    assert b"/a/secret/place" not in content(pid, "cmdline")
    files = open_files(pid)
    assert files.pop(0) == os.devnull
    assert files.pop(1) == files[2], "what it prints goes to stderr"
    assert files.pop(2).startswith("pipe:")
    assert [name.partition(":")[0] for name in files.values()] == ["socket"]
    assert str(proc(pid, "cwd").readlink()) == "/"
    assert os.getsid(pid) != os.getsid(0)


async def test_a_child_is_hardened_before_it_is_told_anything(nursery: Nursery) -> None:
    served = nursery.start(Hardening(data_bytes=200 * MIB, nice=7, open_files=50))
    await served.ask(Ask(number=1))
    pid = served.child.pid
    limits = content(pid, "limits").decode()
    for name, most in (("Max data size", 200 * MIB), ("Max core file size", 0), ("Max open files", 50)):
        line = next(line for line in limits.splitlines() if line.startswith(name))
        assert line.removeprefix(name).split()[:2] == [str(most)] * 2, "the hard limit too"
    assert status(pid, "NoNewPrivs") == "1"
    assert os.getpriority(os.PRIO_PROCESS, pid) - os.getpriority(os.PRIO_PROCESS, 0) == min(
        7, 19 - os.getpriority(os.PRIO_PROCESS, 0)
    )
    assert content(pid, "oom_score_adj").strip() == b"1000"
    # What is not dumpable belongs to root in /proc, whoever runs it: nobody else of that user reads it.
    assert _readable_by_its_own_user(pid) is False


def _readable_by_its_own_user(pid: int) -> bool | None:
    """Whether one without the rights of root may read a process of root's; None if this is not root."""
    if os.geteuid() != 0:
        return False
    # Root without any capability is the user, and no more.
    script = (
        "import ctypes, struct\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "head = ctypes.create_string_buffer(struct.pack('Ii', 0x20080522, 0))\n"
        "assert libc.capset(head, ctypes.create_string_buffer(24)) == 0\n"
        f"open('/proc/{pid}/mem', 'rb').close()\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "PermissionError" in done.stderr
    return done.returncode == 0


async def test_descriptors_go_with_a_frame_and_stay_the_senders(nursery: Nursery) -> None:
    served = nursery.start()
    with tempfile.TemporaryFile() as first, tempfile.TemporaryFile() as second:
        for file, content in ((first, b"one"), (second, b"two")):
            file.write(content)
            file.flush()
        ask = Ask(number=1, what="file", descriptors=(first.fileno(), second.fileno()))
        assert await served.ask(ask) == b"one|two"
        assert await served.ask(ask) == b"one|two"


async def test_frames_larger_than_any_socket_takes_at_once_arrive(nursery: Nursery) -> None:
    served = nursery.start()
    payload = os.urandom(300_000)
    for number in range(5):
        served.child.send(Ask(number=number, payload=payload))
    await until(lambda: len(served.heard) == 5)
    assert [(answer.number, answer.payload == payload) for answer in served.heard] == [(n, True) for n in range(5)]


async def test_what_a_child_has_said_before_its_death_is_heard(nursery: Nursery) -> None:
    served = nursery.start()
    served.child.send(Ask(number=150, what="leave"))
    end = await served.ended()
    assert [answer.number for answer in served.heard] == list(range(150))
    assert (end.exit_code, end.limit) == (9, None)


async def test_the_last_4_kib_of_stderr_are_kept_and_no_child_waits_for_it(nursery: Nursery) -> None:
    served = nursery.start()
    assert await served.ask(Ask(number=1, what="noise")) == b"said"
    served.child.kill()
    end = await served.ended()
    assert end.stderr.endswith("x the last words")
    assert len(end.stderr) <= 4096
    assert end.exit_code == -signal.SIGKILL


@pytest.mark.parametrize(("what", "limit"), [("memory", Limit.MEMORY), ("spin", Limit.PROCESSOR_TIME)])
async def test_the_end_of_a_child_says_which_limit_it_was(nursery: Nursery, what: str, limit: Limit) -> None:
    served = nursery.start(Hardening(data_bytes=256 * MIB))
    served.child.send(Ask(number=1, what=what))
    end = await served.ended()
    assert end.limit is limit, str(end)
    assert f"out of {limit}" in str(end)


@pytest.mark.parametrize("fault", ["garbage", "a receiver that fails"])
async def test_a_frame_that_does_not_fit_ends_the_child_and_not_its_parent(nursery: Nursery, fault: str) -> None:
    served = nursery.start()
    if fault == "garbage":
        served.child.send(Ask(number=1, what="garbage"))
    else:
        served.fault = ValueError("an unexpected answer")
        served.child.send(Ask(number=1))
    await served.ended()
    assert isinstance(served.child.fault, FrameRefused if fault == "garbage" else ValueError)


async def test_what_a_child_has_started_ends_with_it(nursery: Nursery) -> None:
    served = nursery.start()
    grandchild = int(await served.ask(Ask(number=1, what="grandchild")))
    assert runs(grandchild)
    served.child.kill()
    await served.ended()
    await until(lambda: not runs(grandchild))


async def test_a_child_that_cannot_be_imported_says_why(nursery: Nursery) -> None:
    served = nursery.start(target="tests.peers.no_such_module:main")
    end = await served.ended()
    assert end.exit_code == 1
    assert "No module named 'tests.peers.no_such_module'" in end.stderr


async def test_a_child_ends_with_its_parent() -> None:
    script = (
        "import asyncio, sys, time\n"
        f"sys.path[:] = {sys.path!r}\n"
        "from curation.isolation.spawn import spawn\n"
        "from curation.isolation.hardening import Hardening\n"
        "child = spawn('tests.peers.children:served', Hardening())\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    assert runs(pid)
    parent.kill()
    await parent.wait()
    await until(lambda: not runs(pid))


# -- the queue -------------------------------------------------------------------------------------------------------


class Deaf:
    """A channel whose other end takes nothing until `hears`."""

    def __init__(self, **bounds: int) -> None:
        self.now = 0.0
        ours, self._theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.ends: list[Exception | None] = []
        self.channel = Channel(
            ours,
            outgoing=TO_CHILD,
            incoming=Wire(Answer),
            on_frame=lambda _: None,
            on_end=self.ends.append,
            monotonic=lambda: self.now,
            **bounds,
        )
        self._theirs.setblocking(False)
        self._heard: list[Ask] = []

    def fill(self) -> None:
        while not self.channel.queued_bytes:
            self.channel.send(Ask(number=-1, payload=b"x" * 2000))

    def overfill(self) -> None:
        for number in (9, 10):
            self.channel.send(Ask(number=number))

    async def hears(self, last: int) -> list[int]:
        loop = asyncio.get_running_loop()
        decoder, found = Decoder(TO_CHILD), list[int]()
        async with asyncio.timeout(GENEROUS):
            while last not in found:
                decoder.feed(await loop.sock_recv(self._theirs, 65_536))
                found.extend(frame.number for frame in decoder.frames() if isinstance(frame, Ask))
        return [number for number in found if number >= 0]

    def close(self) -> None:
        self.channel.close()
        self._theirs.close()

    def hang_up(self) -> None:
        self._theirs.close()


@pytest.fixture
async def deaf() -> AsyncIterator[Deaf]:
    made = Deaf(max_queued_bytes=100_000, max_queued_frames=10)
    yield made
    made.close()


async def test_frames_about_one_object_replace_each_other_while_they_wait(deaf: Deaf) -> None:
    deaf.fill()
    deaf.channel.send(Ask(number=1), replaces="a policy")
    deaf.channel.send(Ask(number=2))
    for number in range(3, 1000):
        deaf.channel.send(Ask(number=number), replaces="a policy")
    deaf.channel.send(Ask(number=1000))
    assert await deaf.hears(1000) == [999, 2, 1000]


async def test_a_queue_is_bounded_in_frames_and_in_bytes(deaf: Deaf) -> None:
    deaf.fill()
    for number in range(9):
        deaf.channel.send(Ask(number=number))  # one more has begun, or waits: it fills the socket
    with pytest.raises(QueueFull):
        deaf.overfill()
    assert set(await deaf.hears(8)) >= set(range(9))
    deaf.fill()
    with pytest.raises(QueueFull):
        deaf.channel.send(Ask(number=20, payload=b"x" * 100_000))


async def test_what_may_leave_soon_leaves_by_itself_and_never_after_what_is_sent_later(deaf: Deaf) -> None:
    deaf.channel.send(Ask(number=1), soon=True)
    deaf.channel.send(Ask(number=2), soon=True)
    assert deaf.channel.queued_bytes > 0
    assert await deaf.hears(2) == [1, 2]
    deaf.channel.send(Ask(number=3), soon=True)
    deaf.channel.send(Ask(number=4))
    assert deaf.channel.queued_bytes == 0, "it has left in this call, with what was to leave soon"
    assert await deaf.hears(4) == [3, 4]
    deaf.channel.send(Ask(number=5), soon=True)
    deaf.channel.send_whole(Ask(number=6), seconds=GENEROUS)
    assert await deaf.hears(6) == [5, 6]
    assert deaf.channel.stalled_seconds() == 0


async def test_so_much_that_may_leave_soon_leaves_at_once_that_no_bound_is_reached_by_it(deaf: Deaf) -> None:
    deaf.channel.send(Ask(number=0, payload=b"x" * 90_000), soon=True)
    assert 0 < deaf.channel.queued_bytes < 90_000, "it has begun to leave"
    for number in (1, 2):
        deaf.channel.send(Ask(number=number, payload=b"x" * 40_000), soon=True)
    assert await deaf.hears(2) == [0, 1, 2]


async def test_many_frames_that_wait_arrive_whole_and_in_order(deaf: Deaf) -> None:
    deaf.fill()
    for number, size in enumerate((0, 5000, 70_000, 0, 10, 3000)):
        deaf.channel.send(Ask(number=number, payload=b"x" * size))
    assert await deaf.hears(5) == [0, 1, 2, 3, 4, 5]


async def test_it_is_known_how_long_the_other_end_has_taken_nothing(deaf: Deaf) -> None:
    assert deaf.channel.stalled_seconds() == 0
    deaf.fill()
    deaf.channel.send(Ask(number=1))
    deaf.now = 5.0
    assert deaf.channel.stalled_seconds() == 5.0
    await deaf.hears(1)
    await until(lambda: deaf.channel.queued_bytes == 0)
    assert deaf.channel.stalled_seconds() == 0


async def test_the_end_of_the_other_side_is_told_once_and_nothing_is_sent_after_it(deaf: Deaf) -> None:
    deaf.fill()
    deaf.hang_up()
    await until(lambda: bool(deaf.ends))
    deaf.channel.send(Ask(number=1))
    await asyncio.sleep(0)
    assert deaf.ends == [None]
    assert deaf.channel.queued_bytes == 0


async def test_a_descriptor_that_waits_may_be_closed_by_its_owner(deaf: Deaf) -> None:
    deaf.fill()
    reading, writing = os.pipe()
    deaf.channel.send(Ask(number=1, descriptors=(writing,)))
    os.close(writing)
    deaf.channel.close()
    assert os.read(reading, 1) == b"", "the copy that waited is closed too"
    os.close(reading)
