"""When each key is due, and one timer for each namespace: it wakes all that are due about then, in one call."""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Rounds(Generic[K]):
    """Keys with the time at which they are due. For one event loop."""

    def __init__(
        self, call: Callable[[Sequence[K]], None], namespace_of: Callable[[K], str], monotonic: Callable[[], float]
    ) -> None:
        """`call` gets the keys of one namespace that are due; they are forgotten before. It must not raise."""
        self._call = call
        self._namespace_of = namespace_of
        self._monotonic = monotonic
        self._due: dict[str, dict[K, tuple[float, float]]] = {}
        """By namespace and key: from when on it may be called, and when it is due."""
        self._timers: dict[str, tuple[float, asyncio.TimerHandle]] = {}
        """By namespace: for when it is set, and what is to be cancelled."""

    def __len__(self) -> int:
        return sum(map(len, self._due.values()))

    def plan(self, key: K, due: float, early: float = 0.0) -> None:
        """Call it when it is due, or up to `early` seconds before, with another of its namespace."""
        namespace = self._namespace_of(key)
        self._due.setdefault(namespace, {})[key] = (due - early, due)
        known = self._timers.get(namespace)
        if known is None or due < known[0]:
            self._set(namespace, due)

    def drop(self, key: K) -> None:
        """Do not call it."""
        namespace = self._namespace_of(key)
        keys = self._due.get(namespace, {})
        keys.pop(key, None)
        if not keys:
            self._clear(namespace)

    def close(self) -> None:
        """Call nothing any more."""
        for namespace in tuple(self._due):
            self._clear(namespace)

    def _clear(self, namespace: str) -> None:
        self._due.pop(namespace, None)
        known = self._timers.pop(namespace, None)
        if known is not None:
            known[1].cancel()

    def _set(self, namespace: str, due: float) -> None:
        known = self._timers.get(namespace)
        if known is not None:
            known[1].cancel()
        delay = max(0.0, due - self._monotonic())
        timer = asyncio.get_running_loop().call_later(delay, self._wake, namespace)
        self._timers[namespace] = (due, timer)

    def _wake(self, namespace: str) -> None:
        del self._timers[namespace]
        keys, now = self._due[namespace], self._monotonic()
        found = [key for key, (may, _) in keys.items() if may <= now]
        for key in found:
            del keys[key]
        if keys:
            # Trap: the earliest may have been dropped or put off since the timer was set; then nothing is due yet.
            self._set(namespace, min(due for _, due in keys.values()))
        else:
            del self._due[namespace]
        if found:
            self._call(found)
