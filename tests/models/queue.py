"""The work queue of one process, in the time of the model: when the one job is to be worked on."""

from collections.abc import Callable
from datetime import datetime, timedelta

from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.queue import BASE_DELAY, MAX_DELAY
from tests.models.documents import KEY


class ModelQueue:
    """See `curation.reconciler.runtime.queue.WorkQueue`. Of other keys than the job's nobody asks."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._ready = False
        self._due: datetime | None = None
        self.failures = 0

    def add(self, key: Key) -> None:
        """Now."""
        self._ready = self._ready or key == KEY

    def add_after(self, key: Key, delay: float) -> None:
        """Later; of several requests the earliest counts."""
        if delay <= 0:
            self.add(key)
        elif key == KEY:
            due = self._now() + timedelta(seconds=delay)
            self._due = min(self._due or due, due)

    def add_rate_limited(self, key: Key) -> None:
        """With backoff."""
        self.failures += 1
        self.add_after(key, min(MAX_DELAY, BASE_DELAY * 2 ** min(self.failures, 20)))

    def drop(self, key: Key) -> None:
        """The job is gone."""
        self.failures, self._due = 0, None

    def take(self) -> bool:
        """Whether the job is to be worked on now; then it is taken."""
        due = self._due is not None and self._due <= self._now()
        if due:
            self._due = None
        taken, self._ready = self._ready or due, False
        return taken
