"""What is known of the health of this process: a hung watch, a lost lease or a blocked loop is unhealthy."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from curation.cluster.request_labels import Asked

# The server ends a watch after 45 s and it is opened again (see `handlers`), so one without a sign of life for longer
# than this hangs. The kubelet's probe adds at most 10 s.
WATCH_STALE_SECONDS: Final = 75.0
LOOP_STALE_SECONDS: Final = 30.0
_BEAT_SECONDS: Final = 1.0


@dataclass(slots=True)
class _WatchHealth:
    """One watch, with times of the monotonic clock."""

    expected: float
    """Since when."""
    alive: float
    """When it was last known to be."""
    opened: bool = False
    """The server has once let it begin."""


class Health:
    """What is known about the health of this process. The event loop of the work keeps it; other threads read it."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._watches: dict[tuple[str, str], _WatchHealth] = {}
        """By resource and namespace; empty: all of them."""
        self._beat = monotonic()
        self.leading: Callable[[], bool] | None = None
        self.was_leading = False

    @property
    def synced(self) -> bool:
        """Every kind has been listed and is watched."""
        return bool(self._watches) and all(watch.opened for watch in self._known().values())

    def expect(self, resource: str, namespace: str = "") -> None:
        """This kind is watched from now on, in this namespace; empty: in all of them."""
        now = self._monotonic()
        self._watches[resource, namespace] = _WatchHealth(now, now)

    def request(self, asked: Asked, code: str, _seconds: float) -> None:
        """A request to the API server was answered; a watch that was opened is alive."""
        watch = self._watches.get((asked.resource, asked.namespace))
        # Trap: a list need not be the watch's. The sweep lists too, and would hide that a watch hangs.
        if watch is not None and asked.verb == "watch" and code == "200":
            watch.opened = True
            watch.alive = self._monotonic()

    def seen(self, resource: str, namespace: str = "") -> None:
        """A watch has delivered something of a namespace, or its list has come further, however long that takes."""
        watch = self._watches.get((resource, namespace)) or self._watches[resource, ""]
        watch.alive = self._monotonic()

    def ages(self) -> dict[str, float]:
        """Seconds since each kind's watch was last known to be alive; of several watches, the one that lags most."""
        now, found = self._monotonic(), dict[str, float]()
        for (resource, _), watch in self._known().items():
            found[resource] = max(now - watch.alive, found.get(resource, 0.0))
        return found

    def _known(self) -> dict[tuple[str, str], _WatchHealth]:
        """Trap: a thread that iterates over what another one adds to fails. A copy is made in one step."""
        return self._watches.copy()

    async def beat(self) -> None:
        """Beats while the event loop turns."""
        while True:
            self._beat = self._monotonic()
            await asyncio.sleep(_BEAT_SECONDS)

    def problems(self) -> list[str]:
        """What is wrong, one line each."""
        found = [
            f"the watch of {resource} was last alive {age:.0f} s ago"
            for resource, age in sorted(self.ages().items())
            if age > WATCH_STALE_SECONDS
        ]
        blocked = self._monotonic() - self._beat
        if blocked > LOOP_STALE_SECONDS:
            found.append(f"the event loop was blocked for {blocked:.0f} s")
        if self.leading is not None:
            leads = self.leading()
            if self.was_leading and not leads:
                found.append("the lease was lost")
            self.was_leading = self.was_leading or leads
        return found
