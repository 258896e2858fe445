"""The listener's process: TLS connections in, verdicts out. It holds a certificate's key, and nothing of the cluster.

A policy is judged by checkers of its own. What it must know of the cluster (is there such a module?) it asks the
operator, and goes without where that takes too long: that is for warnings only.
"""

import asyncio
import itertools
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Final

from curation.admission import reviews
from curation.admission.connections import Connections
from curation.admission.messages import (
    FROM_LISTENER,
    TO_LISTENER,
    Answer,
    Ask,
    Certificate,
    Fact,
    Known,
    Reviewed,
    Serve,
)
from curation.admission.reviews import NotAReview, Review
from curation.checking.checkers import CHECKERS_AT_ONCE, EVERYWHERE, CheckerLost, Checkers
from curation.isolation.channel import Channel, QueueFull
from curation.isolation.frames import Frame, FrameRefused
from curation.isolation.tls_server import Accepting
from curation.turns import AwaitedTurns

PATH: Final = b"/review"
JUDGE_SECONDS: Final = 2.5
"""For the judgement of a policy: the API server waits for 3 s."""
FACT_SECONDS: Final = 1.0
WARM_SECONDS: Final = 20.0
MAX_ASKED: Final = 64
"""Questions to the operator at once."""


def main(channel: socket.socket) -> None:
    """Serve until the operator closes the channel."""
    asyncio.run(_Listener(channel).run())


class _Line:
    """The judgements of one address: one at a time."""

    def __init__(self) -> None:
        self.turns = AwaitedTurns(1, first=EVERYWHERE)
        self.users = 0


class _Listener:
    def __init__(self, channel: socket.socket) -> None:
        self._channel_socket = channel
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._connections = Connections(self._context, PATH, self._answered)
        self._accepting = Accepting(self._context, self._connections.accept, self._say)
        self._asked: dict[int, asyncio.Future[Known]] = {}
        self._numbers = itertools.count(1)
        # Each address in turn, and within one each namespace: else whoever floods names as many as he likes.
        self._turns = AwaitedTurns(CHECKERS_AT_ONCE)
        self._lines: dict[str, _Line] = {}

    async def run(self) -> None:
        ended = asyncio.Event()
        # The socket is the caller's too, and closed by it.
        self._channel = Channel(
            self._channel_socket.dup(),
            outgoing=FROM_LISTENER,
            incoming=TO_LISTENER,
            on_frame=self._told,
            on_end=lambda _: ended.set(),
        )
        self._checkers = Checkers(idle_seconds=2 * WARM_SECONDS)
        warm = asyncio.create_task(self._stay_warm())
        await ended.wait()
        self._accepting.end()
        warm.cancel()
        await self._checkers.close()

    async def _stay_warm(self) -> None:
        """Keep one checker: the API server waits for no start of a process."""
        while True:
            with suppress(CheckerLost):
                await self._checkers.judge_policy("", namespace="")
            await asyncio.sleep(WARM_SECONDS)

    def _told(self, frame: Frame) -> None:
        match frame:
            case Serve() | Certificate():
                self._accepting.told(frame)
            case Answer():
                if (waiting := self._asked.pop(frame.number, None)) is not None and not waiting.done():
                    waiting.set_result(frame.known)

    def _say(self, frame: Frame) -> None:
        with suppress(QueueFull, FrameRefused):  # an operator that is busy needs no more of it
            self._channel.send(frame)

    async def _answered(self, body: bytes, address: str) -> tuple[HTTPStatus, bytes]:
        try:
            review = reviews.parsed(body)
        except NotAReview as error:
            return HTTPStatus.BAD_REQUEST, str(error)[:500].encode()
        if review.probes:
            return HTTPStatus.OK, reviews.allowed(review.uid, [reviews.REACHED])
        if review.judged:
            verdict, answer = await self._judged(review, address)
        else:
            warnings = await self._warnings(review)
            verdict, answer = "warned" if warnings else "allowed", reviews.allowed(review.uid, warnings)
        self._say(Reviewed(kind=review.kind if review.kind in reviews.KINDS else "other", verdict=verdict))
        return HTTPStatus.OK, answer

    async def _judged(self, review: Review, address: str) -> tuple[str, bytes]:
        namespace = review.namespace if review.kind == "CurationPolicy" else ""
        try:
            async with asyncio.timeout(JUDGE_SECONDS), self._turn(address, namespace):
                judgement = await self._checkers.judge_policy(review.cedar, namespace=namespace)
        except TimeoutError:
            why = f"since that takes more than {JUDGE_SECONDS:g} s just now"
            return "unanswered", reviews.unanswered(review, why)
        except CheckerLost as error:
            return "unanswered", reviews.unanswered(review, f"since there is no checker ({str(error)[:300]})")
        verdict = ("warned" if judgement.warnings else "allowed") if judgement.check.valid else "refused"
        return verdict, reviews.judged(review, judgement)

    @asynccontextmanager
    async def _turn(self, address: str, namespace: str) -> AsyncIterator[None]:
        """Wait until it is the turn of this address, and within it of this namespace."""
        line = self._lines.setdefault(address, _Line())
        line.users += 1
        try:
            async with line.turns.turn(namespace), self._turns.turn(address):
                yield
        finally:
            line.users -= 1
            if not line.users:
                self._lines.pop(address, None)

    async def _warnings(self, review: Review) -> list[str]:
        found = [*review.deprecated, *(each for each in (reviews.input_warning(review.input_bytes),) if each)]
        if review.module and await self._known(Fact.MODULE, review.namespace, review.module) is Known.ABSENT:
            found.append(
                f"spec.moduleRef: there is no CurationModule {review.module} in this namespace yet: the job waits"
            )
        for field, name in review.secrets:
            known = await self._known(Fact.SECRET, review.namespace, name)
            if known is Known.FORBIDDEN:
                found.append(
                    f"{field}: the operator may not read Secret {name}: grant it that with a Role and a "
                    "RoleBinding in this namespace, as manifests/components/secrets does"
                )
            elif known is Known.ABSENT:
                found.append(f"{field}: there is no Secret {name} in this namespace yet")
        return found

    async def _known(self, fact: Fact, namespace: str, name: str) -> Known:
        if len(self._asked) >= MAX_ASKED:
            return Known.UNKNOWN
        number = next(self._numbers)
        waiting: asyncio.Future[Known] = asyncio.get_running_loop().create_future()
        self._asked[number] = waiting
        try:
            self._say(Ask(number=number, fact=fact, namespace=namespace, name=name))
            async with asyncio.timeout(FACT_SECONDS):
                return await waiting
        except TimeoutError:
            return Known.UNKNOWN
        finally:
            self._asked.pop(number, None)
