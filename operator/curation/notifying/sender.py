"""The process that sends: it has the receiver's URL, the key and the egress client, and nothing of the cluster.

What a receiver answers is read here, within the bounds of the egress client, and nothing of it is kept but its status.
"""

import asyncio
import contextlib
import random
import socket
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Final

from curation.egress.client import EgressClient, OutboundRequest
from curation.egress.errors import AnswerOverBounds, EgressRefused, ResponseTooLarge, Unavailable
from curation.egress.url import CanonicalURL, parse_url
from curation.isolation.channel import Channel
from curation.isolation.frames import Frame
from curation.notifying.notice import CONTENT_TYPE, signed_headers
from curation.notifying.wire import FROM_SENDER, MAX_ERROR, TO_SENDER, Deliver, Receiver, Settled

AT_ONCE: Final = 8
TRIES: Final = 8
FIRST_DELAY_SECONDS: Final = 1.0
LONGEST_DELAY_SECONDS: Final = 60.0
"""With eight tries a receiver may be away for some two minutes."""
ANSWER_SECONDS: Final = 10.0
_ANSWER_BYTES: Final = 16 << 10
_AGAIN: Final = frozenset({408, 425, 429})


def main(channel: socket.socket) -> None:
    """Send what comes in, until the operator ends."""
    asyncio.run(_serve(channel))


async def _serve(sock: socket.socket) -> None:
    ended = asyncio.Event()
    sender = _Sender()
    channel = Channel(
        sock,
        outgoing=FROM_SENDER,
        incoming=TO_SENDER,
        on_frame=sender.received,
        on_end=lambda _: ended.set(),
    )
    sender.channel = channel
    await ended.wait()
    await sender.close()


class _Sender:
    """Sends a bounded number at once; the rest wait in the operator, which hands them out by turns."""

    channel: Channel

    def __init__(self) -> None:
        self._client: EgressClient | None = None
        self._url: CanonicalURL | None = None
        self._key = b""
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def received(self, frame: Frame) -> None:
        if isinstance(frame, Receiver):
            self._configure(frame)
        elif isinstance(frame, Deliver):
            self._spawn(self._deliver(frame))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _renew_trust(self, client: EgressClient) -> None:
        """The authorities may be others by now. If their files are no use, the operator says so, of its own client."""
        with contextlib.suppress(OSError, ValueError):
            await client.trust.renew()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    def _configure(self, receiver: Receiver) -> None:
        self._key = receiver.payload
        if self._client is None:
            self._client = receiver.reach.client()
        else:
            self._spawn(self._renew_trust(self._client))
        self._url = parse_url(receiver.url)

    async def _deliver(self, frame: Deliver) -> None:
        result, error = "given_up", ""
        async with self._slots:
            for attempt in range(TRIES):
                if attempt:
                    longest = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** (attempt - 1))
                    await asyncio.sleep(longest * (0.5 + random.random() / 2))  # noqa: S311 - jitter
                result, error = await self._tried(frame)
                if result != "given_up":
                    break
        with contextlib.suppress(Exception):
            self.channel.send(Settled(number=frame.number, result=result, error=error[:MAX_ERROR]))
        sys.stderr.flush()

    async def _tried(self, frame: Deliver) -> tuple[str, str]:
        assert self._client is not None
        assert self._url is not None
        # Signed at each try: a receiver refuses what is older than some minutes.
        headers = {
            "Content-Type": CONTENT_TYPE,
            **signed_headers(frame.id, frame.payload, self._key, datetime.now(UTC)),
        }
        request = OutboundRequest("POST", self._url, headers, frame.payload, frame.namespace)
        try:
            answer = await self._client.send(request, timeout=ANSWER_SECONDS, max_response_bytes=_ANSWER_BYTES)
            status: int | None = answer.status
        except EgressRefused as refused:
            return "refused", str(refused)
        except (AnswerOverBounds, ResponseTooLarge) as over:
            status = over.status
        except Unavailable as away:
            return "given_up", str(away)
        if status is not None and 200 <= status < 300:
            return "delivered", ""
        if status is None or status >= 500 or status in _AGAIN:
            return "given_up", f"{self._url.origin} answered {status}"
        return "refused", f"{self._url.origin} answered {status}"
