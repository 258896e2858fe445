"""Notices reach a real receiver, from a process of their own, signed and in bounds."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from curation.notifying import notifier as module
from curation.notifying.notice import Notice, NoticeType, signing_key
from curation.notifying.notifier import Notifier, ReceiverSettings
from tests.harness.certificates import self_signed
from tests.harness.receiver import KEY, Receiver, receiver

SECONDS = 60.0
DOCS = Path(__file__).parents[3] / "docs"


def notice(name: str = "a", namespace: str = "ns") -> Notice:
    path = f"/apis/curation.dev/v1alpha1/namespaces/{namespace}/curationapprovals/{name}"
    data = {
        "namespace": namespace,
        "name": name,
        "uid": "u",
        "call": "POST https://h:443/p",
        "requesters": ["ann"],
        "see": "it",
    }
    return Notice(f"{name}.pending", NoticeType.APPROVAL_PENDING, namespace, path, name, datetime.now(UTC), data)


class Results:
    """What became of the notices."""

    def __init__(self) -> None:
        self.of: list[tuple[str, str]] = []
        self._changed = asyncio.Event()

    def settled(self, told: Notice, result: str) -> None:
        self.of.append((told.name, result))
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def notifying(
    url: str, tmp_path: Path, *allow: str, ca_bundle: Path | None = None
) -> AsyncIterator[tuple[Notifier, Results, Path]]:
    key = tmp_path / "key"
    key.write_bytes(KEY + b"\n")
    results = Results()
    found = Notifier(ReceiverSettings(url, key, allow or ("127.0.0.0/8",), (), ca_bundle), results.settled)
    found.start()
    try:
        yield found, results, key
    finally:
        await found.close(timeout=0)


async def test_a_notice_arrives_signed_as_a_cloud_event_and_again_until_it_is_taken(tmp_path: Path) -> None:
    with receiver() as there:
        there.statuses = [503, 429, 204]
        async with notifying(there.url, tmp_path) as (telling, results, _):
            told = notice()
            telling.tell(told)
            await results.until(lambda: results.of == [("a", "delivered")])
        assert [event["id"] for event in there.events] == ["a.pending"] * 3
        event = there.events[-1]
        assert (event["specversion"], event["type"]) == ("1.0", "dev.curation.approval.pending")
        assert (event["source"], event["subject"], event["data"]) == (told.path, "a", told.data)
        assert there.unsigned == 0


async def test_a_receiver_is_trusted_as_the_system_of_the_operator_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, context = self_signed(tmp_path, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with receiver(context=context) as there:
        async with notifying(there.url, tmp_path) as (telling, results, _):
            telling.tell(notice())
            await results.until(lambda: results.of == [("a", "delivered")])


async def test_authorities_that_are_renewed_in_place_count_from_then_on(tmp_path: Path) -> None:
    (tmp_path / "next").mkdir()
    authority, context = self_signed(tmp_path, "127.0.0.1")
    following, _ = self_signed(tmp_path / "next", "127.0.0.1")
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(authority.read_bytes())
    with receiver(context=context) as there:
        async with notifying(there.url, tmp_path, ca_bundle=bundle) as (telling, results, _):
            telling.tell(notice())
            await results.until(lambda: results.of == [("a", "delivered")])
            context.load_cert_chain(following, following.with_suffix(".key"))
            bundle.write_bytes(following.read_bytes())
            telling.renew()
            telling.tell(notice("b"))
            await results.until(lambda: results.of[1:] == [("b", "delivered")])


async def test_what_a_receiver_refuses_is_not_sent_again_and_what_the_floor_refuses_not_at_all(tmp_path: Path) -> None:
    with receiver() as there:
        there.statuses = [400]
        async with notifying(there.url, tmp_path) as (telling, results, _):
            telling.tell(notice())
            await results.until(lambda: results.of == [("a", "refused")])
        async with notifying(there.url, tmp_path, "10.0.0.0/8") as (telling, results, _):
            telling.tell(notice("b"))
            await results.until(lambda: results.of == [("b", "refused")])
        assert [event["id"] for event in there.events] == ["a.pending"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda number: number.name)
async def test_a_sender_that_is_killed_or_stopped_is_replaced_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(module, "RESTART_SECONDS", (0.01, 0.1))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.setblocking(False)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        async with notifying(url, tmp_path) as (telling, results, _):
            telling.tell(notice())
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(SECONDS):
                first, _ = await loop.sock_accept(silent)
                assert telling._child is not None
                os.kill(telling._child.pid, number)
                if number == signal.SIGSTOP:
                    telling._heard_at -= module.SILENT_SECONDS
                    telling._wake.set()
                second, _ = await loop.sock_accept(silent)
                with first, second:
                    data = await loop.sock_recv(second, 65536)
                    assert b"webhook-id: a.pending" in data
                    await loop.sock_sendall(second, b"HTTP/1.1 204 No Content\r\n\r\n")
                    await results.until(lambda: results.of == [("a", "delivered")])


async def test_one_namespace_does_not_take_the_room_of_another(tmp_path: Path) -> None:
    async with notifying("http://127.0.0.1:9/", tmp_path) as (telling, results, _):
        assert telling._task is not None
        telling._task.cancel()  # nothing leaves
        for number in range(module.CAPACITY):
            telling.tell(notice(f"n{number}", "noisy"))
        dropped = sum(result == "dropped" for _, result in results.of)
        assert dropped == module.CAPACITY // 2
        telling.tell(notice("one", "quiet"))
        assert ("one", "dropped") not in results.of


async def test_a_renewed_key_signs_what_comes_next(tmp_path: Path) -> None:
    with receiver() as there:
        async with notifying(there.url, tmp_path) as (telling, results, key):
            telling.tell(notice("a"))
            await results.until(lambda: ("a", "delivered") in results.of)
            key.write_bytes(b"short")
            with pytest.raises(ValueError, match="16 to 4096 bytes, this one has 5"):
                telling.renew()
            there.key = b"another key, long enough"
            key.write_bytes(there.key)
            telling.renew()
            telling.tell(notice("b"))
            await results.until(lambda: ("b", "delivered") in results.of)
        assert [event["id"] for event in there.events] == ["a.pending", "b.pending"]


def test_a_key_may_be_written_as_standard_webhooks_do() -> None:
    assert signing_key(b"whsec_c2l4dGVlbiBieXRlcyBhbmQ=\n") == b"sixteen bytes and"
    with pytest.raises(ValueError, match="base64"):
        signing_key(b"whsec_!!")


async def test_the_documented_relay_checks_the_signature_and_tells_the_chat_once(tmp_path: Path) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", (DOCS / "notifications.md").read_text(encoding="utf-8"), re.DOTALL)
    texts: list[bytes] = []

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            texts.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ThreadingHTTPServer(("127.0.0.1", 0), Chat) as chat:
        thread = threading.Thread(target=chat.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        environment = {
            "KEY": KEY.decode(),
            "CHAT_URL": f"http://127.0.0.1:{chat.server_port}/",
            "PORT": str(port),
        }
        relay = subprocess.Popen([sys.executable, "-c", source], env=environment, stderr=subprocess.DEVNULL)  # noqa: ASYNC220
        try:
            async with notifying(f"http://127.0.0.1:{port}/", tmp_path) as (telling, results, _):
                telling.tell(notice())
                telling.tell(notice())
                await results.until(lambda: results.of == [("a", "delivered")] * 2)
            assert len(texts) == 1
            assert b"ns/a waits for a decision: POST https://h:443/p\\nAsked by ann: it" in texts[0]
        finally:
            relay.kill()
            relay.wait()
            chat.shutdown()
            thread.join()


def test_the_receiver_of_these_tests_does_not_take_what_is_not_signed() -> None:
    with receiver() as there:
        assert isinstance(there, Receiver)
        subprocess.run(
            [sys.executable, "-c", f"import urllib.request as u; u.urlopen(u.Request({there.url!r}, b'x'))"], check=True
        )
        assert (there.unsigned, there.events) == (1, [])
