"""Whether requests that wait are allowed now, as checkers say: asked in the background, and looked up at once.

An answer counts while it is the one to the present question, by what is in force now; an old one neither frees nor
holds a job. Where there is none the question is asked, and the job is woken by the answer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from curation.authz.register import CLUSTER, PolicyRegister
from curation.checking.checkers import CheckerLost, retry_seconds
from curation.checking.questions import MAX_QUESTIONS, MAX_SET_BYTES
from curation.checking.verdict import Asked, Question, Verdict, set_to_wire
from curation.cluster.clock import ServerClock
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.queue import WorkQueue

log = logging.getLogger(__name__)

Judge = Callable[[str, Callable[[], Asked]], Awaitable[list[Verdict]]]
"""See `Checkers.authorize`."""


@dataclass(slots=True)
class _Line:
    """What is asked in one namespace."""

    wanted: dict[Key, Question] = field(default_factory=dict)
    work: asyncio.Task[None] | None = None
    counts: tuple[int, bytes | None] | None = None
    """The revision of what counts, and all that, as it was sent last."""


class Verdicts:
    """For one event loop. Close it."""

    def __init__(self, register: PolicyRegister, clock: ServerClock, queue: WorkQueue[Key], judge: Judge) -> None:
        self._register = register
        self._clock = clock
        self._queue = queue
        self._judge = judge
        self._known: dict[Key, Verdict] = {}
        self._lines: dict[str, _Line] = {}
        self._closed = False

    def of(self, key: Key, question: Question) -> Verdict | None:
        """The answer, if it is known."""
        known, revision = self._known.get(key), self._register.revision(key.namespace)
        return known if known is not None and known.holds(question, revision, self._clock.now()) else None

    def ask(self, key: Key, question: Question) -> Verdict | None:
        """The answer; None if it is not known: then the job is woken by it."""
        known = self.of(key, question)
        if known is None and not self._closed:
            line = self._lines.setdefault(key.namespace, _Line())
            line.wanted[key] = question
            if line.work is None:
                work = self._work(key.namespace, line)
                line.work = asyncio.create_task(work, name=f"judge what waits in {key.namespace}")
        return known

    def forget(self, key: Key) -> None:
        """The job waits for nothing any more."""
        self._known.pop(key, None)
        if (line := self._lines.get(key.namespace)) is not None:
            line.wanted.pop(key, None)

    async def close(self) -> None:
        """Ask nothing more."""
        self._closed = True
        tasks = [line.work for line in self._lines.values() if line.work is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, namespace: str, line: _Line) -> None:
        tries = 0
        try:
            while line.wanted:
                try:
                    await self._judged(namespace, line)
                    tries = 0
                except Exception as error:
                    tries += 1
                    seconds = retry_seconds(tries)
                    said = f"what waits in namespace {namespace} is not judged yet, and is tried again in {seconds:g} s"
                    if isinstance(error, CheckerLost):
                        log.error("%s: %s", said, error)
                    else:
                        log.exception(said)
                    await asyncio.sleep(seconds)
        finally:
            del self._lines[namespace]

    async def _judged(self, namespace: str, line: _Line) -> None:
        wanted, keys = line.wanted, list[Key]()

        def ask() -> Asked:
            keys[:] = list(wanted)[:MAX_QUESTIONS]
            revision, counts = self._counts(namespace, line)
            return Asked(counts, [wanted[key] for key in keys], revision, self._clock.now().timestamp())

        for key, verdict in zip(keys, await self._judge(namespace, ask), strict=False):
            if wanted.get(key) != verdict.question:
                continue  # it asks something else now, or nothing
            if verdict.revision != self._register.revision(namespace):
                wanted[key] = wanted.pop(key)  # what counts has changed meanwhile: asked again, after the others
                continue
            del wanted[key]
            self._known[key] = verdict
            self._queue.add(key)

    def _counts(self, namespace: str, line: _Line) -> tuple[int, bytes | None]:
        """The revision of what counts there, and all that for a checker: written once for all that wait.

        Trap: measured first, since making one text of it takes its time here.
        """
        revision = self._register.revision(namespace)
        if line.counts is None or line.counts[0] != revision:
            sources = [source for place in (namespace, CLUSTER) for source in self._register.policies(place)]
            too_much = sum(len(source.given) for source in sources) > MAX_SET_BYTES
            line.counts = (revision, None if too_much else set_to_wire(self._register, namespace))
        return line.counts
