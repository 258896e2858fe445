"""The listener, as a real process: what it has, what it says, and that one address's flood is its own."""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from curation.admission.messages import FROM_LISTENER, TO_LISTENER, Answer, Ask, Certificate, Known, Serve
from curation.checking.policy_judgement import judge_policy
from curation.isolation.child import Child
from curation.isolation.frames import Frame
from curation.isolation.hardening import Hardening
from curation.isolation.tls_server import Shown
from curation.reconciler.process.webhook import MEMORY_BYTES, OPEN_FILES
from curation.reconciler.runtime.listening import listen
from tests.harness.certificates import self_signed

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked at in /proc")

GENEROUS = 120
GOOD = 'permit (principal == Agent::"m", action, resource == HttpEndpoint::"h.example");'
BAD = GOOD.replace("resource", "resourse")
# Some tenths of a second of a checker.
HEAVY = "".join(f'forbid (principal, action, resource) when {{ context.path like "/{n}" }};' for n in range(900))


class Served:
    def __init__(self, folder: Path) -> None:
        self.pem, _ = self_signed(folder, "127.0.0.1")
        self._sockets = listen("127.0.0.1", 0)
        self.port = self._sockets[0].getsockname()[1]
        self.frames: list[Frame] = []
        self.known = Known.ABSENT
        self._news = asyncio.Event()
        hardening = Hardening(data_bytes=MEMORY_BYTES, open_files=OPEN_FILES)
        target = "curation.admission.listener:main"
        self.child = Child(target, hardening, to_child=TO_LISTENER, from_child=FROM_LISTENER, on_frame=self._hear)
        self.child.send(Serve(descriptors=tuple(each.fileno() for each in self._sockets)))
        self.show(self.pem.with_suffix(".key").read_bytes() + self.pem.read_bytes())

    def show(self, pem: bytes) -> None:
        self.child.send(Certificate(payload=pem))

    def _hear(self, frame: Frame) -> None:
        self.frames.append(frame)
        self._news.set()
        if isinstance(frame, Ask):
            self.child.send(Answer(number=frame.number, known=self.known))

    async def until_shown(self, count: int) -> list[str]:
        async with asyncio.timeout(GENEROUS):
            while len(shown := [each.problem for each in self.frames if isinstance(each, Shown)]) < count:
                self._news.clear()
                await self._news.wait()
        return shown

    async def ask(self, kind: str, spec: Any, **place: str) -> Any:
        """The answer; on a busy machine it may have to be asked for again, as it says."""
        async with asyncio.timeout(GENEROUS):
            while (answer := await self._ask(kind, spec, **place)).get("status", {}).get("code") == 503:
                pass
        return answer

    async def _ask(self, kind: str, spec: Any, *, source: str = "127.0.0.1", namespace: str = "ns") -> Any:
        request = {"uid": "u", "kind": {"kind": kind}, "operation": "CREATE", "namespace": namespace}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
        body = json.dumps({**review, "request": {**request, "object": {"spec": spec}}}).encode()
        context = ssl.create_default_context(cafile=str(self.pem))
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context, local_addr=(source, 0))
        try:
            head = f"POST /review HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            async with asyncio.timeout(GENEROUS):
                answer = await reader.readuntil(b"\r\n\r\n")
                size = next(
                    int(line.split(b":")[1])
                    for line in answer.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                return json.loads(await reader.readexactly(size))["response"]
        finally:
            writer.transport.abort()

    async def close(self) -> None:
        await self.child.close()
        for each in self._sockets:
            each.close()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    made = Served(tmp_path)
    yield made
    await made.close()


async def test_it_judges_policies_and_asks_the_operator_what_it_cannot_know(served: Served) -> None:
    assert (await served.ask("CurationPolicy", {"cedar": GOOD}))["allowed"]
    refused = await served.ask("ClusterCurationPolicy", {"cedar": BAD}, namespace="")
    assert judge_policy(BAD, cluster=True).check.message in refused["status"]["message"]
    job = {"moduleRef": {"name": "m"}}
    assert "no CurationModule m" in (await served.ask("CurationJob", job))["warnings"][0]
    served.known = Known.UNKNOWN
    assert (await served.ask("CurationJob", job))["warnings"] == [], "what is not known is not said"
    served.known = Known.FORBIDDEN
    module = {"credentials": [{"secretKeyRef": {"name": "s", "key": "k"}}]}
    assert "may not read Secret s" in (await served.ask("CurationModule", module))["warnings"][0]


async def test_a_certificate_that_cannot_be_used_leaves_the_one_before_it(served: Served) -> None:
    assert await served.until_shown(1) == [""]
    served.show(b"no certificate")
    assert (await served.until_shown(2))[1] != ""
    assert (await served.ask("CurationPolicy", {"cedar": GOOD}))["allowed"]


async def test_the_flood_of_one_address_keeps_no_other_waiting(served: Served) -> None:
    await served.ask("CurationPolicy", {"cedar": GOOD})
    flooding = True

    async def flood(number: int) -> None:
        while flooding:
            try:
                await served.ask("CurationPolicy", {"cedar": HEAVY}, source="127.0.0.2", namespace=f"n{number}")
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.05)

    floods = [asyncio.create_task(flood(number)) for number in range(4)]
    await asyncio.sleep(0)
    answers = [await served.ask("CurationPolicy", {"cedar": GOOD}) for _ in range(3)]
    flooding = False
    for each in floods:
        each.cancel()
    await asyncio.gather(*floods, return_exceptions=True)
    assert [answer["allowed"] for answer in answers] == [True] * 3


@pytest.mark.skipif(os.geteuid() != 0, reason="what is not dumpable is root's to look at")
async def test_it_has_the_ports_and_a_channel_and_nothing_else_of_the_operator(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.until_shown(1)
    pid = served.child.pid
    names = {entry.partition(b"=")[0] for entry in read(pid, "environ").split(b"\0") if entry}
    assert names <= {b"MALLOC_ARENA_MAX", b"LD_LIBRARY_PATH"}
    kinds = [name.partition(":")[0] for name in files(pid) if name != os.devnull]
    assert set(kinds) <= {"socket", "pipe", "anon_inode"}
    maps = read(pid, "maps")
    assert b"cedarpy" not in maps, "a policy is parsed by its checkers alone"


def read(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def files(pid: int) -> list[str]:
    return [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
