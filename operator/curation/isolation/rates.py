"""How often each stranger may do something: what it costs is bounded before anything is known of whoever asks."""

from collections import OrderedDict
from typing import Final

_KEPT: Final = 1024


class Rates:
    """A token bucket for each address, of those that came last."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What is left of the burst, and when that was so."""

    def may(self, address: str, a_second: float, now: float) -> bool:
        """Whether this address may once more."""
        left, at = self._of.pop(address, (a_second, now))
        left = min(a_second, left + max(0.0, now - at) * a_second)
        if len(self._of) >= _KEPT:
            self._of.popitem(last=False)
        self._of[address] = (max(0.0, left - 1), now) if left >= 1 else (left, now)
        return left >= 1
