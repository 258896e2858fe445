"""How many events an object may have, and how long their text may be."""

from collections.abc import Callable
from typing import Final

from cachetools import LRUCache

# client-go's EventSourceObjectSpamFilter: a burst of 25, then one in 5 minutes, for each object.
BURST: Final = 25
REFILL_SECONDS: Final = 300.0
OBJECTS: Final = 4096


class SpamFilter:
    """A token bucket for each object; the least recently used are forgotten, and so start full."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        burst: int = BURST,
        refill_seconds: float = REFILL_SECONDS,
        objects: int = OBJECTS,
    ) -> None:
        self._monotonic = monotonic
        self._burst = burst
        self._rate = 1 / refill_seconds
        self._buckets: LRUCache[str, tuple[float, float]] = LRUCache(objects)

    def allows(self, uid: str) -> bool:
        """Take a token of this object's bucket, if there is one."""
        now = self._monotonic()
        tokens, since = self._buckets.get(uid, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - since) * self._rate)
        allowed = tokens >= 1
        self._buckets[uid] = (tokens - 1 if allowed else tokens, now)
        return allowed

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._buckets.pop(uid, None)


def fit(text: str, size: int) -> str:
    """The text in at most ``size`` bytes of UTF-8, cut between characters, with an ellipsis where it was cut."""
    raw = text.encode()
    if len(raw) <= size:
        return text
    return raw[: size - 3].decode(errors="ignore") + "..."
