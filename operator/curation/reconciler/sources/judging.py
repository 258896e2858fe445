"""Versions of policies that wait for a checker's judgement, in the order in which they came.

Meanwhile what was in force stays so. A job of a namespace is not worked on while a policy that counts there waits: what
is applied together with it may be just that. That lasts for a moment, except when this process has just started and
knows of no policy what is in force: then for as long as it takes.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from curation.api.policy import ClusterCurationPolicy, CurationPolicy
from curation.authz.check_result import PolicyCheck
from curation.authz.policy_review import PolicyReview, unknown_texts
from curation.checking.checkers import CheckerLost, Checkers, retry_seconds
from curation.reconciler.runtime.key import Key

log = logging.getLogger(__name__)

HOLD_SECONDS: Final = 5.0
"""How long jobs wait for the judgement of what was applied beside them, also where one edit follows another."""
MAX_WAITING: Final = 4
"""Versions of one policy that wait. Of a longer queue the oldest go, as if nobody had seen them (RevisionsMissed)."""

AnyPolicy = CurationPolicy | ClusterCurationPolicy


class Judging:
    """For one event loop. Close it."""

    def __init__(
        self,
        checkers: Checkers,
        before: Callable[[Key], PolicyReview | None],
        judged: Callable[[Key, AnyPolicy, dict[str, PolicyCheck]], None],
        done: Callable[[Key], None],
        monotonic: Callable[[], float],
    ) -> None:
        """`judged` takes a version and the checks of its texts, `done` says that no version of a key waits any more."""
        self._checkers = checkers
        self._before, self._judged, self._done = before, judged, done
        self._monotonic = monotonic
        self._waiting: dict[Key, deque[AnyPolicy]] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._since: dict[str, float] = {}
        """Since when a policy of the namespace waits, without a break."""
        self._counts: Counter[str] = Counter()
        self._starting = True
        self._first: set[Key] = set()
        """Of those that were read at the start, those that still wait."""

    def take(self, key: Key, policy: AnyPolicy) -> bool:
        """Have a version judged; False if there is no need: all its texts are known, and no version is before it."""
        queue = self._waiting.get(key)
        if queue is None:
            if not unknown_texts(policy, self._before(key)):
                return False
            queue = self._waiting[key] = deque()
            self._counts[key.namespace] += 1
            self._since.setdefault(key.namespace, self._monotonic())
            if self._starting:
                self._first.add(key)
            self._tasks[key] = asyncio.create_task(self._work(key, queue), name=f"judge {key}")
        if queue and _same_revision(queue[-1], policy):
            queue.pop()  # so that edits of labels crowd out no revision
        queue.append(policy)
        if len(queue) > MAX_WAITING:
            queue.popleft()
        return True

    def waits(self, key: Key) -> bool:
        """Whether a version of this policy waits."""
        return key in self._waiting

    def forget(self, key: Key) -> None:
        """The object is gone."""
        if (task := self._tasks.pop(key, None)) is not None:
            task.cancel()
            self._end(key)

    def holding(self, namespace: str) -> dict[str, float]:
        """Where the policies are that the jobs of a namespace wait for, "" is the cluster, and for how many seconds."""
        now, found = self._monotonic(), dict[str, float]()
        for place in {namespace, ""} & self._since.keys():
            # Of what was read at the start there is no bound; that is asked again.
            first = any(key.namespace == place for key in self._first)
            left = HOLD_SECONDS if first else self._since[place] + HOLD_SECONDS - now
            if left > 0:
                found[place] = left
        return found

    def waits_in(self, place: str) -> bool:
        """Whether any policy of a namespace, or with "" of the cluster, waits."""
        return place in self._since

    async def first_judged(self, seconds: float) -> bool:
        """The start is over: wait, so long at most, until all that was read is judged.

        False if some still wait: jobs of their namespaces go on waiting for those.
        """
        self._starting = False
        try:
            async with asyncio.timeout(seconds):
                while self._first and (tasks := [self._tasks[key] for key in self._first]):
                    await asyncio.wait(tasks)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Judge nothing more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, key: Key, queue: deque[AnyPolicy]) -> None:
        while queue:
            policy = queue.popleft()
            try:
                await self._judge(key, policy)
            except Exception:
                log.exception("%s could not be judged; what was in force of it stays so", key)
            self._first.discard(key)
        del self._tasks[key]
        self._end(key)
        self._done(key)

    async def _judge(self, key: Key, policy: AnyPolicy) -> None:
        checks = {text: await self._check(key, text) for text in unknown_texts(policy, self._before(key))}
        self._judged(key, policy, checks)

    async def _check(self, key: Key, text: str) -> PolicyCheck:
        tries = 0
        while True:
            try:
                return (await self._checkers.judge_policy(text, namespace=key.namespace, lint=False)).check
            except CheckerLost as error:
                tries += 1
                seconds = retry_seconds(tries)
                log.error("%s is not judged yet, and is tried again in %g s: %s", key, seconds, error)
                await asyncio.sleep(seconds)

    def _end(self, key: Key) -> None:
        del self._waiting[key]
        self._counts -= Counter([key.namespace])  # drops one at zero
        if not self._counts[key.namespace]:
            del self._since[key.namespace]
        self._first.discard(key)


def _same_revision(one: AnyPolicy, other: AnyPolicy) -> bool:
    first, second = one.metadata, other.metadata
    return (first.uid, first.generation) == (second.uid, second.generation)
