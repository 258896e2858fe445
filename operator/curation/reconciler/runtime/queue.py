"""The work queue: one key at a time, de-duplicated, delayed and rate-limited, with the semantics of client-go's.

But for the order: namespaces take turns, so that thousands of keys of one do not hold up those of another.

Our own because kopf never retries event handlers, and because a key must not be worked on twice at once: a job's
decisions are serialised by it. Source of the semantics: k8s.io/client-go/util/workqueue.
"""

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Protocol, TypeVar

from curation.reconciler.runtime.times import Times
from curation.turns import Rotation

K = TypeVar("K", bound=Hashable)

# client-go's DefaultTypedControllerRateLimiter starts at 5 ms; a write that was refused needs no faster retry.
BASE_DELAY = 0.05
MAX_DELAY = 60.0
ALONE_SECONDS = 2.0
"""A namespace is alone once no key of another one was worked on for so long."""


class QueueObserver(Protocol):
    """Is notified of a queue's depth and latency, in seconds."""

    def depth(self, depth: int) -> None:
        """The number of keys that are ready but not taken."""

    def taken(self, waited: float) -> None:
        """A key was taken `waited` seconds after it was ready."""


class WorkQueue(Generic[K]):
    """Keys that need work. Every method is to be called on the event loop."""

    def __init__(
        self,
        observer: QueueObserver | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        namespace_of: Callable[[K], str] = lambda _: "",
        of_one: float = math.inf,
        alone: float = 0,
    ) -> None:
        """`namespace_of` gives the namespace of a key, in whose turn it is worked on.

        Of one namespace at most `of_one` keys are worked on at once, however many workers there are: a server that is
        slow must not have so many requests for it at a time that those for another are slow. While it is alone it may
        have `alone`, if that is more.
        """
        self._observer = observer
        self._of_one = of_one
        self._alone = alone
        self._last = ""
        """The namespace of the key that was taken or given back last."""
        self._seen = -math.inf
        """When that was."""
        self._seen_of_others = -math.inf
        """When one of any other namespace was, the last time."""
        self._alone_again: asyncio.TimerHandle | None = None
        self._at_work: Counter[str] = Counter()
        self._namespace_of = namespace_of
        self._monotonic = monotonic
        self._ready: Rotation[K] = Rotation()
        self._since: dict[K, float] = {}  # ready keys, and those that came again while worked on
        self._active: set[K] = set()
        self._failures: dict[K, int] = {}
        self._due: Times[K] = Times()
        self._wakeup = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, key: K) -> None:
        """Ask for work on a key now."""
        if key in self._since:
            return
        self._since[key] = self._monotonic()
        if key not in self._active:
            self._push(key)

    def add_after(self, key: K, delay: float) -> None:
        """Ask for work on a key in `delay` seconds; of several requests the earliest counts."""
        if delay <= 0:
            self.add(key)
            return
        due = self._monotonic() + delay
        known = self._due.get(key)
        if known is not None and known <= due:
            return
        self._due.set(key, due)
        if self._due.first() == (due, key):
            self._arm()

    def add_rate_limited(self, key: K) -> None:
        """Ask again after a failure: exponential backoff with jitter, capped."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        ceiling = min(MAX_DELAY, BASE_DELAY * 2 ** min(failures, 20))
        self.add_after(key, ceiling * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

    def forget(self, key: K) -> None:
        """The key succeeded: its next failure starts at the base delay again."""
        self._failures.pop(key, None)

    def drop(self, key: K) -> None:
        """The object is gone: forget its failures, and the delays that it still had."""
        self._failures.pop(key, None)
        self._due.drop(key)

    async def get(self) -> K:
        """Take a key; nobody else gets it until `done`."""
        while (found := self._ready.pop(self._may)) is None:
            self._wakeup.clear()
            await self._wakeup.wait()
        namespace, key = found
        self._active.add(key)
        self._at_work[namespace] += 1
        waited = self._see(namespace) - self._since.pop(key)
        if self._observer is not None:
            self._observer.taken(waited)
            self._observer.depth(len(self._ready))
        return key

    def done(self, key: K) -> None:
        """Give a key back; if it was asked for meanwhile it is ready again."""
        if key in self._active:
            self._active.remove(key)
            self._at_work -= Counter([self._namespace_of(key)])  # drops one at zero
            self._see(self._namespace_of(key))
        if key in self._since:
            self._push(key)
        elif self._ready:
            self._wakeup.set()  # there may be room for the next one of its namespace, or one that is alone now

    async def work(self, reconcile: Callable[[K], Awaitable[None]], failed: Callable[[K, Exception], None]) -> None:
        """A worker: takes keys until it is cancelled. After an exception it calls `failed` and asks for the key again.

        Work that raised nothing and asked for no retry has succeeded: the key's next failure starts at the base delay.
        """
        while True:
            key = await self.get()
            failures = self._failures.get(key)
            try:
                await reconcile(key)
                if self._failures.get(key) == failures:
                    self.forget(key)
            except Exception as error:
                failed(key, error)
                self.add_rate_limited(key)
            finally:
                self.done(key)

    def close(self) -> None:
        """Stop the timers."""
        for timer in (self._timer, self._alone_again):
            if timer is not None:
                timer.cancel()
        self._timer = self._alone_again = None

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def delayed(self) -> int:
        """How many delays are kept, those that an earlier one has replaced included."""
        return self._due.kept

    def _may(self, namespace: str) -> bool:
        at_work = self._at_work[namespace]
        if at_work < self._of_one:
            return True
        if at_work >= self._alone or len(self._active) > at_work:
            return False  # if another one is worked on, its `done` has this asked again
        others = self._seen_of_others if namespace == self._last else self._seen
        left = others + ALONE_SECONDS - self._monotonic()
        if left > 0 and self._alone_again is None:
            self._alone_again = asyncio.get_running_loop().call_later(left, self._ask_again)
        return left <= 0

    def _ask_again(self) -> None:
        self._alone_again = None
        self._wakeup.set()

    def _see(self, namespace: str) -> float:
        """One of its keys is taken or given back, now."""
        if namespace != self._last:
            self._last, self._seen_of_others = namespace, self._seen
        self._seen = self._monotonic()
        return self._seen

    def _push(self, key: K) -> None:
        self._ready.add(self._namespace_of(key), key)
        self._wakeup.set()
        if self._observer is not None:
            self._observer.depth(len(self._ready))

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        first = self._due.first()
        if first is not None:
            delay = max(0.0, first[0] - self._monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        now = self._monotonic()
        while (first := self._due.first()) is not None and first[0] <= now:
            self._due.drop(first[1])
            self.add(first[1])
        self._arm()
