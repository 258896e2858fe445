"""Whether requests that wait are allowed now, as checkers say: asked in the background, and looked up at once.

An answer counts while it is the one to the present question, by what is in force now; an old one neither frees nor
holds a job. Where there is none the question is asked, and the job is woken by the answer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from curation.authz.register import CLUSTER, PolicyRegister
from curation.checking.checkers import CheckerLost
from curation.checking.questions import MAX_QUESTIONS, MAX_SET_BYTES
from curation.checking.verdict import Question, Verdict, set_to_wire
from curation.cluster.clock import ServerClock
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.queue import WorkQueue

log = logging.getLogger(__name__)

_RETRY_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_TOO_MUCH: Final = b" " * (MAX_SET_BYTES + 1)
"""What is sent nowhere, since it is over the bound."""

Ask = Callable[[], tuple[bytes, Sequence[Question], int, float]]


class Judge(Protocol):
    """See `Checkers.authorize`."""

    def __call__(self, namespace: str, ask: Ask, /) -> Awaitable[list[Verdict]]:
        """Verdicts on the first of the questions. Raises CheckerLost."""
        ...


class Verdicts:
    """For one event loop. Close it."""

    def __init__(self, register: PolicyRegister, clock: ServerClock, queue: WorkQueue[Key], judge: Judge) -> None:
        self._register = register
        self._clock = clock
        self._queue = queue
        self._judge = judge
        self._known: dict[Key, Verdict] = {}
        self._wanted: dict[str, dict[Key, Question]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    def of(self, key: Key, question: Question) -> Verdict | None:
        """The answer, if it is known."""
        known, revision = self._known.get(key), self._register.revision(key.namespace)
        return known if known is not None and known.holds(question, revision, self._clock.now()) else None

    def ask(self, key: Key, question: Question) -> Verdict | None:
        """The answer; None if it is not known: then the job is woken by it."""
        known = self.of(key, question)
        if known is None and not self._closed:
            self._wanted.setdefault(key.namespace, {})[key] = question
            if key.namespace not in self._tasks:
                work = self._work(key.namespace)
                self._tasks[key.namespace] = asyncio.create_task(work, name=f"judge what waits in {key.namespace}")
        return known

    def forget(self, key: Key) -> None:
        """The job waits for nothing any more."""
        self._known.pop(key, None)
        self._wanted.get(key.namespace, {}).pop(key, None)

    async def close(self) -> None:
        """Ask nothing more."""
        self._closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, namespace: str) -> None:
        tries = 0
        try:
            while self._wanted[namespace]:
                try:
                    await self._judged(namespace)
                    tries = 0
                except Exception as error:
                    seconds = _RETRY_SECONDS[min(tries, len(_RETRY_SECONDS) - 1)]
                    tries += 1
                    said = f"what waits in namespace {namespace} is not judged yet, and is tried again in {seconds:g} s"
                    if isinstance(error, CheckerLost):
                        log.error("%s: %s", said, error)
                    else:
                        log.exception(said)
                    await asyncio.sleep(seconds)
        finally:
            del self._wanted[namespace], self._tasks[namespace]

    async def _judged(self, namespace: str) -> None:
        wanted, asked = self._wanted[namespace], list[Key]()

        def ask() -> tuple[bytes, Sequence[Question], int, float]:
            asked[:] = list(wanted)[:MAX_QUESTIONS]
            counts = self._counts(namespace) if asked else b""
            revision = self._register.revision(namespace)
            return counts, [wanted[key] for key in asked], revision, self._clock.now().timestamp()

        for key, verdict in zip(asked, await self._judge(namespace, ask), strict=False):
            if wanted.get(key) != verdict.question:
                continue  # it asks something else now, or nothing
            if verdict.revision != self._register.revision(namespace):
                wanted[key] = wanted.pop(key)  # what counts has changed meanwhile: asked again, after the others
                continue
            del wanted[key]
            self._known[key] = verdict
            self._queue.add(key)

    def _counts(self, namespace: str) -> bytes:
        """What counts there, for a checker. Trap: measured first, since making one text of it takes its time here."""
        sources = [source for place in (namespace, CLUSTER) for source in self._register.policies(place)]
        if sum(len(source.given) for source in sources) > MAX_SET_BYTES:
            return _TOO_MUCH
        return set_to_wire(self._register, namespace)
