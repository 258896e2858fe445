"""What the operator has of its notices: a bounded line of them, and the process that sends them.

No caller waits, and none fails because of a receiver. The namespaces take turns; one alone may have half of the room.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from curation.egress.reach import Reach
from curation.isolation.child import Child
from curation.isolation.frames import Frame
from curation.isolation.hardening import Hardening
from curation.notifying.notice import Notice, signing_key
from curation.notifying.wire import FROM_SENDER, MAX_BODY_BYTES, TO_SENDER, Deliver, Receiver, Settled
from curation.turns import Rotation

log = logging.getLogger(__name__)

CAPACITY: Final = 1024
"""Notices that wait, or are being sent."""
UNDER_WAY: Final = 32
"""Of these, how many the process has."""
RESTART_SECONDS: Final = (1.0, 60.0)
"""The first and the longest pause before a process that died is started again."""
SILENT_SECONDS: Final = 300.0
"""A process that says nothing of what it is to send for so long is stopped, or hangs, and is replaced. All its tries of
one notice take 203 s at most."""
_TARGET: Final = "curation.notifying.sender:main"
_HARDENING: Final = Hardening(data_bytes=256 << 20, nice=5, open_files=64)

Told = Callable[[Notice, str], None]


@dataclass(frozen=True)
class ReceiverSettings:
    """Where notices go. The key is read from a file, which may be renewed in place."""

    url: str
    key_file: Path
    allow_cidrs: tuple[str, ...] = ()
    deny_cidrs: tuple[str, ...] = ()
    ca_bundle: Path | None = None

    def key(self) -> bytes:
        """Raises OSError and ValueError."""
        return signing_key(self.key_file.read_bytes())


class Notifier:
    """For one event loop, in a thread that lives as long as it does. `start` it, and `close` it."""

    def __init__(self, receiver: ReceiverSettings, on_settled: Told) -> None:
        """`on_settled` hears of each notice once: delivered, refused, given_up or dropped. Raises OSError, ValueError
        for a key that cannot be used.
        """
        self._receiver = receiver
        self._on_settled = on_settled
        self._key = receiver.key()
        self._waiting: Rotation[Notice] = Rotation()
        self._sent: dict[int, Notice] = {}
        self._numbers = itertools.count(1)
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._child: Child | None = None
        self._heard_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        """Begin to send."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="notifier")

    def tell(self, notice: Notice) -> None:
        """Have it sent. Returns at once and never raises."""
        taken = len(self._waiting) + len(self._sent)
        if self._closing or self._waiting.count(notice.namespace) >= (CAPACITY - taken):
            self._settle(notice, "dropped", "too many notices wait")
            return
        self._waiting.add(notice.namespace, notice)
        self._wake.set()

    def renew(self) -> None:
        """Read the key and the authorities anew. Raises OSError and ValueError, after which the old key is in use."""
        self._key = self._receiver.key()
        if self._child is not None:
            self._child.send(self._configuration(), replaces="receiver")

    async def close(self, timeout: float = 2.0) -> None:  # noqa: ASYNC109 (a bound of the flush, not of the caller)
        """Take no more, let what is under way be sent for at most ``timeout`` seconds, and end the process."""
        self._closing = True
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while (len(self._waiting) or self._sent) and self._task is not None and not self._task.done():
                    self._settled.clear()
                    await self._settled.wait()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._child is not None:
            await self._child.close()
        left = len(self._waiting) + len(self._sent)
        if left:
            log.warning("lost %d notices at the end", left)

    async def _run(self) -> None:
        pause = RESTART_SECONDS[0]
        while True:
            await self._wake.wait()
            try:
                child = self._child = Child(
                    _TARGET, _HARDENING, to_child=TO_SENDER, from_child=FROM_SENDER, on_frame=self._heard
                )
            except OSError as error:
                log.warning("the process that sends notices does not start: %s", error)
            else:
                child.send(self._configuration(), replaces="receiver")
                # What a process that died had not settled is sent once more: its receiver may see it twice.
                for number, notice in self._sent.items():
                    self._send(child, number, notice)
                began = asyncio.get_running_loop().time()
                await self._feed(child)
                log.warning("the process that sends notices has ended: %s", child.ended.result())
                self._child = None
                if asyncio.get_running_loop().time() - began > RESTART_SECONDS[1]:
                    pause = RESTART_SECONDS[0]
            await asyncio.sleep(pause)
            pause = min(2 * pause, RESTART_SECONDS[1])

    async def _feed(self, child: Child) -> None:
        """Hand out what waits until the process ends."""
        loop = asyncio.get_running_loop()
        self._heard_at = loop.time()
        while not child.ended.done():
            if not self._sent:
                self._heard_at = loop.time()
            while len(self._sent) < UNDER_WAY and (taken := self._waiting.pop()) is not None:
                number = next(self._numbers)
                self._sent[number] = taken[1]
                self._send(child, number, taken[1])
            self._wake.clear()
            waking = asyncio.create_task(self._wake.wait())
            try:
                either: tuple[asyncio.Future[Any], ...] = (waking, child.ended)
                left = self._heard_at + SILENT_SECONDS - loop.time() if self._sent else None
                await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waking.cancel()
            if self._sent and loop.time() - self._heard_at >= SILENT_SECONDS and not child.ended.done():
                log.warning("the process that sends notices says nothing, and is ended")
                child.kill()
                await asyncio.shield(child.ended)
        self._wake.set()

    def _send(self, child: Child, number: int, notice: Notice) -> None:
        body = notice.body()
        if len(body) > MAX_BODY_BYTES:
            self._sent.pop(number, None)
            self._settle(notice, "dropped", f"it has {len(body)} bytes")
            return
        child.send(Deliver(number=number, id=notice.id, namespace=notice.namespace, payload=body))

    def _heard(self, frame: Frame) -> None:
        assert isinstance(frame, Settled)
        self._heard_at = asyncio.get_running_loop().time()
        notice = self._sent.pop(frame.number, None)
        if notice is not None:
            self._settle(notice, frame.result, frame.error)
        self._wake.set()

    def _settle(self, notice: Notice, result: str, error: str) -> None:
        if result != "delivered":
            log.warning("notice %s about %s was %s: %s", notice.type, notice.path, result.replace("_", " "), error)
        self._on_settled(notice, result)
        self._settled.set()

    def _configuration(self) -> Receiver:
        receiver = self._receiver
        return Receiver(
            url=receiver.url,
            reach=Reach.of(receiver.allow_cidrs, receiver.deny_cidrs, receiver.ca_bundle),
            payload=self._key,
        )
