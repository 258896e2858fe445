"""When each key is due, and one timer for each namespace: it wakes all that are due about then, in one call."""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from curation.reconciler.runtime.times import Times

K = TypeVar("K", bound=Hashable)


class _Line(Generic[K]):
    """The keys of one namespace."""

    def __init__(self) -> None:
        self.early: Times[K] = Times()
        """From when on each may be called."""
        self.due: Times[K] = Times()
        self.timer: asyncio.TimerHandle | None = None
        self.set_for = 0.0

    def drop(self, key: K) -> None:
        self.early.drop(key)
        self.due.drop(key)

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Rounds(Generic[K]):
    """Keys with the time at which they are due. For one event loop."""

    def __init__(
        self, call: Callable[[Sequence[K]], None], namespace_of: Callable[[K], str], monotonic: Callable[[], float]
    ) -> None:
        """`call` gets the keys of one namespace that are due; they are forgotten before. It must not raise."""
        self._call = call
        self._namespace_of = namespace_of
        self._monotonic = monotonic
        self._lines: dict[str, _Line[K]] = {}

    def __len__(self) -> int:
        return sum(len(line.due) for line in self._lines.values())

    def plan(self, key: K, due: float, early: float = 0.0) -> None:
        """Call it when it is due, or up to `early` seconds before, with another of its namespace."""
        namespace = self._namespace_of(key)
        line = self._lines.get(namespace)
        if line is None:
            line = self._lines[namespace] = _Line()
        line.early.set(key, due - early)
        line.due.set(key, due)
        if line.timer is None or due < line.set_for:
            self._set(namespace, line, due)

    def drop(self, key: K) -> None:
        """Do not call it."""
        namespace = self._namespace_of(key)
        line = self._lines.get(namespace)
        if line is None:
            return
        line.drop(key)
        if not len(line.due):
            line.stop()
            del self._lines[namespace]

    def close(self) -> None:
        """Call nothing any more."""
        for line in self._lines.values():
            line.stop()
        self._lines.clear()

    def _set(self, namespace: str, line: _Line[K], due: float) -> None:
        line.stop()
        delay = max(0.0, due - self._monotonic())
        line.set_for = due
        line.timer = asyncio.get_running_loop().call_later(delay, self._wake, namespace)

    def _wake(self, namespace: str) -> None:
        line, now, found = self._lines[namespace], self._monotonic(), list[K]()
        line.timer = None
        # Not each of them is looked at: those of one namespace may be many, and others wait.
        while (first := line.early.first()) is not None and first[0] <= now:
            found.append(first[1])
            line.drop(first[1])
        following = line.due.first()
        if following is None:
            del self._lines[namespace]
        else:
            # Trap: the earliest may have been dropped or put off since the timer was set; then nothing is due yet.
            self._set(namespace, line, following[0])
        if found:
            self._call(found)
