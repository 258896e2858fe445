"""The time of each of many keys, and the earliest of all: what a timer is set for."""

import heapq
import itertools
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_SPARE: Final = 64


class Times(Generic[K]):
    """Keys whose times change: what another one has replaced is left in the heap until it comes up, within bounds."""

    def __init__(self) -> None:
        self._known: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = itertools.count()

    def __len__(self) -> int:
        return len(self._known)

    @property
    def kept(self) -> int:
        """How many times are held, those that another one has replaced included."""
        return len(self._heap)

    def get(self, key: K) -> float | None:
        """The key's time; None if it has none."""
        return self._known.get(key)

    def set(self, key: K, time: float) -> None:
        """Give the key this time, in the place of any other."""
        self._known[key] = time
        heapq.heappush(self._heap, (time, next(self._sequence), key))
        if len(self._heap) > 2 * len(self._known) + _SPARE:
            # A time that is computed anew again and again would leave one behind each time.
            self._heap = [(time, next(self._sequence), key) for key, time in self._known.items()]
            heapq.heapify(self._heap)

    def drop(self, key: K) -> None:
        """The key has no time any more."""
        self._known.pop(key, None)

    def first(self) -> tuple[float, K] | None:
        """The earliest time, with its key."""
        while self._heap:
            time, _, key = self._heap[0]
            if self._known.get(key) == time:
                return time, key
            heapq.heappop(self._heap)
        return None
